"""The measures of a validation over all processes: loss, and recall in both directions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from models.errors import PretrainingError
from models.pretraining.batch import NO_KEY
from models.pretraining.collectives import Processes
from models.pretraining.memory_bank import depict_the_same
from models.pretraining.retrieval import RECALL_AT, retrieval_ranks

_AT_ONCE = 1024
_SameOf = Callable[[slice], torch.Tensor]  # which entries are true of a slice of the queries


@dataclass(frozen=True, eq=False)
class Embedded:
    """n points.

    `pixels` and `ground` are float32 (n, dim), of unit length. `keys` int64 (n,) say what the
    ground embeddings depict, and `subjects` int64 (n, k) all that is or may be true of the points.
    """

    pixels: torch.Tensor
    ground: torch.Tensor
    keys: torch.Tensor
    subjects: torch.Tensor

    @classmethod
    def joined(cls, parts: Sequence["Embedded"], dim: int, device: torch.device) -> "Embedded":
        """The points of all parts; those with fewer subjects get NO_KEY."""
        none = torch.empty(0, dim, device=device)
        no_key = torch.empty(0, dtype=torch.long, device=device)
        width = max((part.subjects.shape[1] for part in parts), default=0)

        def wide(part: "Embedded") -> torch.Tensor:
            return F.pad(part.subjects, (0, width - part.subjects.shape[1]), value=NO_KEY)

        return cls(
            torch.cat([none, *(part.pixels for part in parts)]),
            torch.cat([none, *(part.ground for part in parts)]),
            torch.cat([no_key, *(part.keys for part in parts)]),
            torch.cat([no_key.reshape(0, width), *(wide(part) for part in parts)]),
        )


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
        carry none of its keys; and `recall_at_1_pixel_to_ground` and so on for 5, 10 and
        `ground_to_pixel`: the share of pixels that find, among the first k, their own ground
        embedding or one that carries any of their keys.

    Raises:
        PretrainingError: No process has a point.
    """
    gathered = processes.gathered_unequal
    pixels, ground, keys = gathered(own.pixels), gathered(own.ground), gathered(own.keys)
    if not len(keys):
        raise PretrainingError("the validation", "it has no point", "Give it some")
    subjects = gathered(_of_one_width(own.subjects, processes))
    count = torch.tensor([len(own.keys)], device=keys.device)
    first = int(processes.gathered(count)[: processes.rank].sum())
    places = torch.arange(first, first + len(own.keys), device=keys.device)

    def true_of_pixels(part: slice) -> torch.Tensor:
        return depict_the_same(own.subjects[part], keys)

    def true_of_ground(part: slice) -> torch.Tensor:
        return depict_the_same(subjects, own.keys[part]).T

    sums: dict[str, torch.Tensor] = {}
    losses = []
    for way, queries, gallery, same in (
        ("pixel_to_ground", own.pixels, ground, true_of_pixels),
        ("ground_to_pixel", own.ground, pixels, true_of_ground),
    ):
        ranks, _ = retrieval_ranks(queries, gallery, _with_own(same, places))
        sums |= {f"recall_at_{k}_{way}": (ranks <= k).sum() for k in RECALL_AT}
        losses.append(_loss(queries, gallery, same, places, scale))
    sums["loss"] = torch.stack(losses).mean() if both_ways else losses[0]
    total = processes.sum(torch.stack([value.double() for value in sums.values()]))
    means = dict(zip(sums, (total / len(keys)).tolist(), strict=True))
    return {"points": float(len(keys)), **means}


def _of_one_width(subjects: torch.Tensor, processes: Processes) -> torch.Tensor:
    """The subjects as wide as those of all processes; one without points knows no width."""
    width = torch.tensor([subjects.shape[1]], device=subjects.device)
    lacking = int(processes.gathered(width).max()) - subjects.shape[1]
    return F.pad(subjects, (0, lacking), value=NO_KEY)


def _with_own(same: _SameOf, places: torch.Tensor) -> _SameOf:
    """The same, and each query's own entry, which is at its place."""
    return lambda part: same(part).scatter(1, places[part, None], True)


def _loss(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    same_of: _SameOf,
    places: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """The sum of cross-entropies of each query's own entry against those that are wrong."""
    total = torch.zeros((), dtype=torch.double, device=queries.device)
    for start in range(0, len(queries), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        same = same_of(part).scatter(1, places[part, None], False)
        logits = (queries[part] @ gallery.T * scale).masked_fill(same, -torch.inf)
        total += F.cross_entropy(logits, places[part], reduction="none").double().sum()
    return total
