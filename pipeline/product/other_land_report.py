"""What to say of classes whose pixels are nearer to other land than to any word of the map."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.vocabulary.vocabulary_class import VocabularyParent
from pipeline.product.cell_report import CellReport

_TOLD = 0.25  # of a class's pixels; of fewer nothing is said, since words are never exact
_NAMED = 0.05  # of a class's pixels; land that fewer are nearer to is not named


@dataclass(frozen=True)
class OtherLandShare:
    """A class of the map, and the share of its pixels that are nearer to other land, 0 … 1.

    Attributes:
        name: The class.
        share: Of its pixels, those that are nearer to other land than to any word of the map.
        lands: Names and shares of the lands that most of them are nearest to, the largest first.
    """

    name: str
    share: float
    lands: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        lands = ", ".join(f"{land} ({share:.0%})" for land, share in self.lands)
        sentence = (
            f"{self.name}: {self.share:.0%} of its pixels are nearer to other land than to any "
            f"word of the map: {lands}"
        )
        return sentence.replace("%", " %")


def other_land_shares(
    reports: Iterable[CellReport], legend: Sequence[VocabularyParent]
) -> tuple[OtherLandShare, ...]:
    """The classes of which a quarter or more is nearer to other land, by that share.

    `legend` names the values of the map.
    """
    pixels: Counter[int] = Counter()
    others: dict[int, Counter[str]] = {}
    for report in reports:
        if report.other_land is None:
            continue
        pixels.update(report.pixels)
        for value, names in report.other_land.items():
            others.setdefault(value, Counter()).update(names)
    told = []
    for entry in legend:
        counts, total = others.get(entry.value, Counter()), pixels[entry.value]
        if counts.total() < _TOLD * max(total, 1):
            continue
        lands = tuple(
            (name, count / total)
            for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
            if count >= _NAMED * total
        )
        told.append(OtherLandShare(entry.name, counts.total() / total, lands))
    return tuple(sorted(told, key=lambda one: (-one.share, one.name)))


ADVICE = (
    "A word always finds land: of the map's words one is the nearest, also where none is right. "
    "Name what is missing as a class, or as background (--background)."
)
"""What to do about it."""
