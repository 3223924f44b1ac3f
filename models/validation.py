"""What a validation tells of a training: loss, and retrieval both ways, over all processes."""

from dataclasses import dataclass

import torch

from models.errors import PretrainingError
from models.processes import Processes
from models.retrieval import retrieved

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
