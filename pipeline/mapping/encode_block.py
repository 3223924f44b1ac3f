"""What one Dask task does once series are made: encode a block's pixels and classify them."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from models.encoder.checkpoint import load_checkpoint
from models.encoder.inference import PixelEncoder, device_at_hand, one_core_a_thread
from models.errors import CheckpointError
from pipeline.classification.classify import Answers, answers_of
from pipeline.classification.embedding_files import keep_embeddings, quantised
from pipeline.grid.cells import Cell
from pipeline.mapping.prepare import Run
from pipeline.observations.cube import Block
from pipeline.observations.read_band import BandSeries
from pipeline.observations.series_block import SeriesBlock, batches_of, in_steps
from pipeline.product.ledger import NODATA_CLASS, NODATA_CONFIDENCE
from pipeline.raster.read_stats import ReadStats
from pipeline.settings.map import MapSettings

# A process's blocks take turns on its GPU; on the CPU each thread encodes its own.
_GPU_TURN = threading.Lock()


@dataclass(frozen=True)
class BlockMap:
    """The classes of a block, best first: value uint8/uint16, confidence uint8, both (k, y, x).

    `stats` are those of encoding and classifying, `read` those of its series by band and place
    (bands of 20 m are shared by several blocks). `kept` is the name and
    the STAC fields of the file of its embeddings, if they are kept.
    """

    block: Block
    classes: np.ndarray
    confidence: np.ndarray
    stats: ReadStats
    read: Mapping[str, ReadStats]
    kept: Mapping[str, Any] | None = None


def map_block(
    block: Block,
    places: Sequence[Block],
    owned: np.ndarray,
    cell: Cell,
    run: Run,
    *parts: BandSeries,
) -> BlockMap:
    """Encode and classify a block's pixels; write their embeddings, if they are kept.

    `parts` are the series of the checkpoint's bands, in its order, each of the part of the cell
    that `places` says, which holds the block; `owned` is bool (y, x) of the whole cell.
    """
    encoder = _encoder(run.checkpoint, run.checkpoint_fingerprint, run.settings.batch_size)
    series = SeriesBlock(
        tuple(_cut(part, place, block) for part, place in zip(parts, places, strict=True)),
        (block.height, block.width),
    )
    ranks = (run.settings.top_k, *series.shape)
    classes = np.full(ranks, NODATA_CLASS, run.vocabulary.dtype)
    confidence = np.full(ranks, NODATA_CONFIDENCE, np.uint8)
    answers = answers_of(run.vocabulary, run.text, run.card.logit_scale, encoder.device)
    keep = run.settings.keep_embeddings
    dim = run.card.architecture.embedding_dim if keep else 0
    embeddings = np.zeros((*series.shape, dim), np.int8)
    seconds = {"encode": 0.0, "classify": 0.0}
    batches = batches_of(series, owned[block.slices()], encoder.batch_size)
    for done in _one_behind(_answered(batches, encoder, answers, seconds, run.settings)):
        place = done.place.cpu().numpy().T
        classes[: len(place), done.rows, done.columns] = answers.values[place]
        confidence[: len(place), done.rows, done.columns] = done.share.cpu().numpy().T
        if done.stored is not None:
            embeddings[done.rows, done.columns] = done.stored.cpu().numpy()
    bands = run.card.preprocessing.bands
    read = {
        f"{band} at {place.row}, {place.column}": part.stats
        for band, place, part in zip(bands, places, parts, strict=True)
    }
    kept = keep_embeddings(run.store, run.manifest, cell, block, embeddings) if keep else None
    return BlockMap(block, classes, confidence, ReadStats(seconds=seconds), read, kept)


@dataclass(frozen=True)
class _Answered:
    """A batch: its pixels, what `Answers.of` says of them, their embeddings if they are kept."""

    rows: np.ndarray
    columns: np.ndarray
    place: torch.Tensor
    share: torch.Tensor
    stored: torch.Tensor | None


def _answered(
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    encoder: PixelEncoder,
    answers: Answers,
    seconds: dict[str, float],
    settings: MapSettings,
) -> Iterator[_Answered]:
    """The batches once they are under way; adds to `seconds`."""
    turn = _GPU_TURN if encoder.device.type == "cuda" else nullcontext()
    one_core_a_thread()
    began = time.perf_counter()
    for rows, columns, pixels in batches:
        with turn:
            embeddings = encoder.embed(in_steps(pixels, settings.steps))
            encoded = time.perf_counter()
            place, share = answers.of(embeddings, settings.top_k)
            stored = quantised(embeddings) if settings.keep_embeddings else None
            ended = time.perf_counter()
        seconds["encode"] += encoded - began
        seconds["classify"] += ended - encoded
        yield _Answered(rows, columns, place, share, stored)
        began = time.perf_counter()


def _one_behind(batches: Iterable[_Answered]) -> Iterator[_Answered]:
    """Each batch once the next is begun: a GPU computes while its last results are fetched."""
    former: _Answered | None = None
    for batch in batches:
        if former is not None:
            yield former
        former = batch
    if former is not None:
        yield former


@lru_cache(maxsize=2)
def _encoder(path: str, fingerprint: str, batch_size: int | None) -> PixelEncoder:
    """The checkpoint's encoder in this process; it must still be what the run began with."""
    checkpoint = load_checkpoint(path)
    if checkpoint.fingerprint != fingerprint:
        raise CheckpointError(
            path,
            "it is not the checkpoint that the run began with",
            "Put that one back, or map into another folder",
        )
    return PixelEncoder(checkpoint, device_at_hand(), batch_size)


def _cut(part: BandSeries, place: Block, block: Block) -> np.ndarray:
    """The part of a series that belongs to `block`; the series covers `place`."""
    n = part.resolution // 10
    row, column = (block.row - place.row) // n, (block.column - place.column) // n
    return part.series[:, row : row + block.height // n, column : column + block.width // n]
