"""Retrieval: how often a pixel finds its own ground embedding among others, and the reverse."""

import torch
from torch.nn import functional as F

from models.memory_bank import depict_the_same

_AT_ONCE = 1024


def retrieved(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    own: torch.Tensor,
    query_keys: torch.Tensor,
    keys: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How many of the gallery come before each query's own entry, and the query's loss.

    `queries` float (n, dim) and `gallery` (m, dim) of unit length; `own` int64 (n,) is each query's
    entry in the gallery. Entries that carry the query's key (int64 (n,) and (m,)) are no others.
    Returns int64 (n,), 0 = found first, and float (n,): the cross-entropy of cosines × `scale`. Of
    entries that are as similar as the own one, all come before it: an encoder that tells nothing
    apart finds nothing.
    """
    before, losses = [own.new_zeros(0)], [queries.new_zeros(0)]
    for start in range(0, len(queries), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        similar = queries[part] @ gallery.T
        rows = torch.arange(len(similar), device=similar.device)
        same = depict_the_same(query_keys[part], keys)
        same[rows, own[part]] = False
        similar = similar.masked_fill(same, -torch.inf)
        as_near = similar >= similar[rows, own[part]][:, None]
        before.append(as_near.sum(dim=1) - 1)
        losses.append(F.cross_entropy(similar * scale, own[part], reduction="none"))
    return torch.cat(before), torch.cat(losses)
