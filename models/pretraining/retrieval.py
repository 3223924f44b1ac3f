"""Retrieval: the rank at which a query finds a right entry of a gallery."""

from collections.abc import Callable

import torch

RECALL_AT = (1, 5, 10)
"""The k of recall@k."""

_AT_ONCE = 512  # queries compared at once, so that memory grows with the gallery alone


def retrieval_ranks(
    queries: torch.Tensor, gallery: torch.Tensor, right_of: Callable[[slice], torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rank the right entries of each query.

    Wrong entries that are as similar as the best right one come before it, so that embeddings that
    are all the same find nothing.

    Args:
        queries: float (n, dim) of unit length.
        gallery: float (m, dim) of unit length.
        right_of: Returns which entries are right for a slice of the queries, bool (…, m): for
            each query one or more.

    Returns:
        The rank of the best right entry, from 1, and the number of right entries: int64 (n,) each.
    """
    none = torch.empty(0, dtype=torch.long, device=queries.device)
    ranks, counts = [none], [none]
    for start in range(0, len(queries), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        similar, right = queries[part] @ gallery.T, right_of(part)
        best = similar.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        ranks.append(1 + ((similar >= best) & ~right).sum(dim=1))
        counts.append(right.sum(dim=1))
    return torch.cat(ranks), torch.cat(counts)
