"""The classes of a whole run, summed over its cells: area, confidence, most frequent runner-up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.vocabulary.vocabulary_class import VocabularyParent
from pipeline.product.cell_report import CellReport


@dataclass(frozen=True)
class ClassArea:
    """A class of a run.

    Attributes:
        name: Its name.
        code: Its code.
        value: Its value in the rasters.
        colour: "#rrggbb".
        hectares: Its area on the ellipsoid.
        share: Its share of the mapped area in percent.
        confidence: The mean confidence of its pixels in percent; None where none was counted.
        little: Percent of its pixels whose confidence is below 50 %; None as `confidence`.
        runner_up: The most frequent second rank, and in what percent of the class's pixels it
            was found; None where there is none.
    """

    name: str
    code: str | None
    value: int
    colour: str
    hectares: float
    share: float
    confidence: float | None = None
    little: float | None = None
    runner_up: tuple[str, float] | None = None


def class_areas(
    legend: Sequence[VocabularyParent],
    hectares: Mapping[int, float],
    reports: Sequence[CellReport],
) -> tuple[ClassArea, ...]:
    """The classes of a legend, the largest first.

    Cells of early versions have not counted confidence: what is said of it is of the others.

    Args:
        legend: The classes.
        hectares: Their areas by value (`pipeline.product.cell_report.class_hectares`).
        reports: The finished cells.
    """
    total = sum(hectares.values()) or 1.0
    names = {entry.value: entry.name for entry in legend}
    areas = []
    for entry in legend:
        confidence, little = _confidence(entry.value, reports)
        areas.append(
            ClassArea(
                name=entry.name,
                code=entry.code,
                value=entry.value,
                colour=entry.colour,
                hectares=hectares.get(entry.value, 0.0),
                share=100 * hectares.get(entry.value, 0.0) / total,
                confidence=confidence,
                little=little,
                runner_up=_runner_up(entry.value, names, reports),
            )
        )
    return tuple(sorted(areas, key=lambda area: -area.hectares))


def little_share(reports: Sequence[CellReport]) -> float | None:
    """Percent of all pixels whose confidence is below 50 %; None where none was counted."""
    counted = [report for report in reports if report.confidence is not None]
    pixels = sum(sum(report.pixels.values()) for report in counted)
    little = sum(one.little for report in counted for one in (report.confidence or {}).values())
    return 100 * little / pixels if pixels else None


def _confidence(value: int, reports: Sequence[CellReport]) -> tuple[float | None, float | None]:
    pixels, total, little = 0, 0.0, 0
    for report in reports:
        if report.confidence is not None and (one := report.confidence.get(value)) is not None:
            count = report.pixels.get(value, 0)
            pixels, total, little = pixels + count, total + one.mean * count, little + one.little
    return (total / pixels, 100 * little / pixels) if pixels else (None, None)


def _runner_up(
    value: int, names: Mapping[int, str], reports: Sequence[CellReport]
) -> tuple[str, float] | None:
    counts: Counter[int] = Counter()
    pixels = 0
    for report in reports:
        if report.runners_up is not None:
            counts.update(report.runners_up.get(value, {}))
            pixels += report.pixels.get(value, 0)
    found = [(count, -other) for other, count in counts.items() if other in names and count]
    if not found or not pixels:
        return None
    count, other = max(found)  # of two as frequent, the lower value
    return names[-other], 100 * count / pixels
