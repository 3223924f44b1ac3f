"""The measures of a validation over all processes: loss, and recall in both directions."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from models.errors import PretrainingError
from models.pretraining.collectives import Processes
from models.pretraining.memory_bank import depict_the_same
from models.pretraining.retrieval import RECALL_AT, retrieval_ranks

_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Embedded:
    """n points: `pixels` and `ground` float32 (n, dim), of unit length, and `keys` int64 (n,)."""

    pixels: torch.Tensor
    ground: torch.Tensor
    keys: torch.Tensor


def validation_measures(
    own: Embedded, processes: Processes, scale: float, both_ways: bool
) -> dict[str, float]:
    """Loss and recall of the points of all processes; every process gets the same.

    Args:
        own: The points of this process.
        processes: Those of the training.
        scale: The multiplier of cosines in the loss.
        both_ways: Whether the loss is the mean of both directions, or that of pixel → ground.

    Returns:
        `points`; `loss`, the cross-entropy of each pixel's own ground embedding against all that
        do not depict the same; and `recall_at_1_pixel_to_ground` and so on for 5, 10 and
        `ground_to_pixel`: the share of pixels that find, among the first k, their own ground
        embedding or one that depicts the same.

    Raises:
        PretrainingError: No process has a point.
    """
    gathered = processes.gathered_unequal
    pixels, ground, keys = gathered(own.pixels), gathered(own.ground), gathered(own.keys)
    if not len(keys):
        raise PretrainingError("the validation", "it has no point", "Give it some")
    count = torch.tensor([len(own.keys)], device=keys.device)
    first = int(processes.gathered(count)[: processes.rank].sum())
    places = torch.arange(first, first + len(own.keys), device=keys.device)

    def same(part: slice) -> torch.Tensor:
        """Which points depict the same as some of this process's, themselves included."""
        return depict_the_same(own.keys[part], keys).scatter(1, places[part, None], True)

    sums: dict[str, torch.Tensor] = {}
    losses = []
    for way, queries, gallery in (
        ("pixel_to_ground", own.pixels, ground),
        ("ground_to_pixel", own.ground, pixels),
    ):
        ranks, _ = retrieval_ranks(queries, gallery, same)
        sums |= {f"recall_at_{k}_{way}": (ranks <= k).sum() for k in RECALL_AT}
        losses.append(_loss(queries, gallery, own, places, keys, scale))
    sums["loss"] = torch.stack(losses).mean() if both_ways else losses[0]
    total = processes.sum(torch.stack([value.double() for value in sums.values()]))
    means = dict(zip(sums, (total / len(keys)).tolist(), strict=True))
    return {"points": float(len(keys)), **means}


def _loss(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    own: Embedded,
    places: torch.Tensor,
    keys: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """The sum of cross-entropies of each query's own entry against those of other keys."""
    total = torch.zeros((), dtype=torch.double, device=queries.device)
    for start in range(0, len(queries), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        same = depict_the_same(own.keys[part], keys).scatter(1, places[part, None], False)
        logits = (queries[part] @ gallery.T * scale).masked_fill(same, -torch.inf)
        total += F.cross_entropy(logits, places[part], reduction="none").double().sum()
    return total
