"""The areas of a run's classes by zone: as mapped, as expected, as reference points say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.vocabulary.labels import Level
from models.vocabulary.vocabulary import NONE, Vocabulary
from pipeline.areas.class_areas import ClassAreas
from pipeline.areas.zones import Zones
from pipeline.evaluation.area_accuracy import AreaAccuracy, Estimate
from pipeline.evaluation.compared_points import ComparedPoints, compared_classes

WHOLE = "whole run"
"""The name of the zone where no zones are given."""
_GREY = "#bdbdbd"


@dataclass(frozen=True)
class ClassHectares:
    """The area of a class in a zone, in hectares.

    Attributes:
        name: The class, or the parent where reference points are compared with parents.
        value: Its value on the map; None for land that is none of the map's classes.
        colour: "#rrggbb".
        mapped: What is mapped as it.
        expected: The sum of the pixels' area × its probability; None where it was not asked for.
        adjusted: The estimate by reference points; None without any, or where they are too few.
        points: The reference points that are of it in this zone; None without any.
    """

    name: str
    value: int | None
    colour: str
    mapped: float
    expected: float | None = None
    adjusted: Estimate | None = None
    points: int | None = None


@dataclass(frozen=True)
class ZoneAreas:
    """The areas of the classes in a zone, in hectares.

    Attributes:
        name: The zone, or `WHOLE`.
        hectares: The zone's own area; None for the whole run.
        classes: The classes that occur, in the order of the legend.
        unranked: What is expected of classes whose probabilities were not kept.
        estimated: The area that the adjusted areas add up to: that of the strata with enough
            points. None where nothing could be estimated, or without points.
        left_out: The areas of the other strata by name, the largest first.
    """

    name: str
    hectares: float | None
    classes: tuple[ClassHectares, ...]
    unranked: float | None = None
    estimated: float | None = None
    left_out: tuple[tuple[str, float], ...] = ()

    @property
    def mapped(self) -> float:
        """The part of the zone that has a class."""
        return sum(entry.mapped for entry in self.classes)


def zone_areas(
    areas: ClassAreas,
    vocabulary: Vocabulary,
    zones: Zones | None = None,
    points: ComparedPoints | None = None,
    level: Level = "class",
) -> tuple[ZoneAreas, ...]:
    """Put areas by zone and class into words, and adjust them by reference points.

    Adjusted areas are the stratified estimates of Olofsson et al. 2014 (`area_accuracy`). In a zone
    they are made of its own points and its own mapped areas: points that are a random sample of a
    class are one of the class's part in the zone, too. So a zone needs points of its own.

    Args:
        areas: The sums over the map.
        vocabulary: The map's classes.
        zones: The zones of the sums; None for the whole run.
        points: Reference points, which bring their own level.
        level: Sum up classes, or their parents.

    Raises ValueError where the classes have no parents.
    """
    names: Sequence[str] = (WHOLE,) if zones is None else zones.names
    own = None if zones is None else zones.hectares()
    shown = level if points is None else points.classes.matched.level
    titles, lifted = compared_classes(vocabulary, shown)
    labels = _labels(vocabulary, titles, shown)
    found = []
    for number, name in enumerate(names):
        accuracy = _accuracy(areas, vocabulary, zones, number, points)
        found.append(
            ZoneAreas(
                name=name,
                hectares=None if own is None else float(own[number]),
                classes=_classes(areas, number, lifted, labels, accuracy, points is not None),
                unranked=None if areas.unranked is None else float(areas.unranked[number]),
                estimated=None if accuracy is None else accuracy.hectares,
                left_out=() if accuracy is None else tuple(accuracy.left_out.items()),
            )
        )
    return tuple(found)


def _labels(
    vocabulary: Vocabulary, titles: Sequence[str], level: Level
) -> list[tuple[str, int | None, str]]:
    """Name, value and colour of the compared classes; the last is land that is none of them."""
    entries = {entry.name: entry for entry in vocabulary.legend}
    if level == "parent":  # a class and a parent may share a name
        entries |= {entry.name: entry for entry in vocabulary.parents}
    known: list[tuple[str, int | None, str]] = [
        (title, entries[title].value, entries[title].colour) for title in titles
    ]
    return known if NONE in titles else [*known, (NONE, None, _GREY)]


def _accuracy(
    areas: ClassAreas,
    vocabulary: Vocabulary,
    zones: Zones | None,
    number: int,
    points: ComparedPoints | None,
) -> AreaAccuracy | None:
    """What points say of a zone; None without any, or where no stratum has enough of them."""
    if points is None or (zones is not None and not points.of_this_map):
        return None
    hectares = dict(zip(areas.values.tolist(), areas.mapped[number].tolist(), strict=True))
    reference, within = points.reference, None
    if zones is not None:
        within = zones.holding(number, reference.lon, reference.lat)
    try:
        return points.accuracy(hectares, within)
    except ValueError:
        return None


def _classes(
    areas: ClassAreas,
    zone: int,
    lifted: np.ndarray,
    labels: Sequence[tuple[str, int | None, str]],
    accuracy: AreaAccuracy | None,
    with_points: bool,
) -> tuple[ClassHectares, ...]:
    mapped = np.bincount(lifted, areas.mapped[zone], len(labels))
    expected = None
    if areas.expected is not None:
        expected = np.bincount(lifted, areas.expected[zone], len(labels))
    by_name = {} if accuracy is None else {entry.name: entry for entry in accuracy.by_class}
    found = []
    for k, (name, value, colour) in enumerate(labels):
        entry = by_name.get(name)
        if not (
            mapped[k] or (expected is not None and expected[k]) or (entry and entry.area.value)
        ):
            continue
        found.append(
            ClassHectares(
                name=name,
                value=value,
                colour=colour,
                mapped=float(mapped[k]),
                expected=None if expected is None else float(expected[k]),
                adjusted=None if entry is None else entry.area,
                points=(0 if entry is None else entry.reference_points) if with_points else None,
            )
        )
    return tuple(found)
