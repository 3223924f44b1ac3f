"""Retrieval between series and ground views: recall among the first k."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix

from models.pretraining.batch import NO_KEY
from models.pretraining.retrieval import RECALL_AT, retrieval_ranks


@dataclass(frozen=True)
class Recall:
    """Share of `queries` that find a right entry among the first k of a `gallery`.

    `recall` by k; `chance` is the recall of an arbitrary order; `median_rank` counts from 1.
    """

    queries: int
    gallery: int
    recall: dict[int, float]
    chance: dict[int, float]
    median_rank: float


@dataclass(frozen=True)
class Retrieval:
    """Both directions: from series to ground views (`to_ground`), and back (`to_series`)."""

    to_ground: Recall
    to_series: Recall


def retrieval(
    series: np.ndarray, ground: np.ndarray, keys: np.ndarray, first: Sequence[int] = RECALL_AT
) -> Retrieval:
    """The recall of pairs; each row of `series` and `ground` is a pair.

    A query's right entries are its own partner and all that depict the same (share a key). Ground
    embeddings that are equal and depict the same (a description of many points) are one entry of
    their gallery. An entry that is as similar as a wrong one comes after it, so that embeddings
    that are all equal find nothing.

    Args:
        series: float32 (n, dim), unit length.
        ground: float32 (n, dim), unit length.
        keys: int64 (n, k), the subjects of a row's ground views; `NO_KEY` is equal to nothing.
        first: The k of the recalls.
    """
    same = _incidence(keys)
    chosen, entry = _distinct(ground, keys)
    to_ground = _recall(series, ground[chosen], same, _of_entries(same, entry), first)
    return Retrieval(to_ground, _recall(ground, series, same, same.T.tocsr(), first))


def _incidence(keys: np.ndarray) -> csr_matrix:
    """The subjects of each row: bool (n, distinct keys + n), the last n being each row itself."""
    n = len(keys)
    row, column = np.nonzero(keys != NO_KEY)
    values, place = np.unique(keys[row, column], return_inverse=True)
    rows = np.concatenate((row, np.arange(n)))
    columns = np.concatenate((place, len(values) + np.arange(n)))
    shape = (n, len(values) + n)
    return coo_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=shape).tocsr()


def _distinct(ground: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A row of each distinct entry, int64 (m,), and each row's entry, int64 (n,).

    A row without keys is an entry of its own.
    """
    _, place = np.unique(ground, axis=0, return_inverse=True)
    alone = (keys == NO_KEY).all(axis=1)
    own = np.where(alone, np.arange(len(keys)), NO_KEY)
    subjects = np.column_stack((place.ravel(), keys, own))
    _, chosen, entry = np.unique(subjects, axis=0, return_index=True, return_inverse=True)
    return chosen, entry.ravel()


def _of_entries(same: csr_matrix, entry: np.ndarray) -> csr_matrix:
    """The subjects of entries, from each row's entry int64 (n,): (distinct keys + n, entry)."""
    n = len(entry)
    member = coo_matrix((np.ones(n, np.int32), (np.arange(n), entry)))
    return (same.T @ member).tocsr()


def _recall(
    queries: np.ndarray,
    gallery: np.ndarray,
    same: csr_matrix,
    depicted: csr_matrix,
    first: Sequence[int],
) -> Recall:
    """The recall, from the subjects of queries `same` (query, …) and entries `depicted`."""
    ranks, counts = retrieval_ranks(
        torch.from_numpy(queries),
        torch.from_numpy(gallery),
        lambda part: torch.from_numpy((same[part] @ depicted).toarray() > 0),
    )
    rank, right = ranks.numpy(), counts.numpy()
    return Recall(
        queries=len(queries),
        gallery=len(gallery),
        recall={k: float((rank <= k).mean()) for k in first},
        chance={k: _chance(right, len(gallery), k) for k in first},
        median_rank=float(np.median(rank)),
    )


def _chance(right: np.ndarray, gallery: int, k: int) -> float:
    """1 − the share of orders whose first k hold none of the right entries (hypergeometric)."""
    drawn = np.arange(min(k, gallery))
    missed = np.clip((gallery - right[:, None] - drawn) / (gallery - drawn), 0, 1).prod(axis=1)
    return float(1 - missed.mean())
