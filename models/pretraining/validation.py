"""What a validation tells of a training: loss, and retrieval both ways, over all processes.

Retrieval: how often a pixel finds its own ground embedding among others, and the reverse.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from models.errors import PretrainingError
from models.pretraining.collectives import Processes
from models.pretraining.memory_bank import depict_the_same

RANKS = (1, 5, 10)
"""The k of recall@k."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """n points: `pixels` and `ground` float32 (n, dim), of unit length, and `keys` int64 (n,)."""

    pixels: torch.Tensor
    ground: torch.Tensor
    keys: torch.Tensor


def measured(
    own: Embedded, processes: Processes, scale: float, both_ways: bool
) -> dict[str, float]:
    """Loss and recall of all processes' points, of which `own` are this one's; the same on each.

    The loss is that of pixel → ground, or the mean of both ways, at cosines × `scale`. Raises
    PretrainingError where no process has a point.
    """
    gathered = processes.gathered_unequal
    pixels, ground, keys = gathered(own.pixels), gathered(own.ground), gathered(own.keys)
    if not len(keys):
        raise PretrainingError("the validation", "it has no point", "Give it some")
    count = torch.tensor([len(own.keys)], device=keys.device)
    first = int(processes.gathered(count)[: processes.rank].sum())
    places = torch.arange(first, first + len(own.keys), device=keys.device)
    sums: dict[str, torch.Tensor] = {}
    losses = []
    for way, queries, gallery in (
        ("pixel_to_ground", own.pixels, ground),
        ("ground_to_pixel", own.ground, pixels),
    ):
        before, loss = retrieved(queries, gallery, places, own.keys, keys, scale)
        losses.append(loss.double().sum())
        sums |= {f"recall_at_{k}_{way}": (before < k).sum() for k in RANKS}
    sums["loss"] = torch.stack(losses).mean() if both_ways else losses[0]
    total = processes.sum(torch.stack([value.double() for value in sums.values()]))
    means = dict(zip(sums, (total / len(keys)).tolist(), strict=True))
    return {"points": float(len(keys)), **means}


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
