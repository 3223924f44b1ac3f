"""The accuracy of a finished map, measured at reference points."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.vocabulary.labels import Level, MatchedLabels
from models.vocabulary.vocabulary import NONE, Vocabulary
from pipeline.errors import OutputError
from pipeline.evaluation.area_accuracy import FEWEST, AreaAccuracy, area_accuracy
from pipeline.evaluation.map_labels import PointClasses, match_points, read_label_mapping
from pipeline.evaluation.map_points import OUTSIDE, classes_at, is_mapped
from pipeline.evaluation.sample_file import SampleRecord, read_sample_record
from pipeline.io.store import Store, public_url
from pipeline.point_series.point_file import PointsError, ReferencePoints, read_reference
from pipeline.product.cell_report import class_hectares
from pipeline.product.committed_cells import mapped_items
from pipeline.product.layers import NODATA_CLASS
from pipeline.product.ledger import read_run
from pipeline.product.manifest import run_vocabulary


@dataclass(frozen=True)
class PointsUsed:
    """Counts of the points: of `given` points, `used` are compared with the map.

    Attributes:
        no_place: Points without coordinates.
        outside: Points in no finished cell.
        no_class: Points whose label the mapping of labels leaves out.
        left_out: Points in classes of the map that have too few points.
    """

    given: int
    used: int
    no_place: int
    outside: int
    on_nodata: int
    no_label: int
    no_class: int
    unknown_label: int
    left_out: int


@dataclass(frozen=True, eq=False)
class MapResults:
    """A map's accuracy, and what it was measured with.

    Attributes:
        sample: How the points were drawn, where `timesen sample` drew them.
    """

    about: Mapping[str, Any]
    points: PointsUsed
    classes: PointClasses
    accuracy: AreaAccuracy
    sample: SampleRecord | None = None

    @property
    def labels(self) -> MatchedLabels:
        """The points' labels."""
        return self.classes.matched

    @property
    def names(self) -> tuple[str, ...]:
        """The compared classes, at the level of the labels."""
        return tuple(entry.name for entry in self.accuracy.by_class)


@dataclass(frozen=True, eq=False)
class _Strata:
    """What the points were drawn from: the names and areas of strata, and each point's.

    Attributes:
        of_point: int64 (n,), places among the strata; −1 for a point in none.
        value: The strata's class values on the map that is evaluated; None where they are those of
            another map.
    """

    names: tuple[str, ...]
    hectares: np.ndarray
    of_point: np.ndarray
    value: np.ndarray | None


def evaluate_run(
    run: str,
    points: Path,
    label: str,
    level: Level | None = None,
    mapping: Path | None = None,
) -> MapResults:
    """Compare the finished cells of a run with reference points.

    Strata are the map's classes; their areas are those of the map's pixels on the ellipsoid (each
    pixel belongs to one cell, so it counts once). Points of `timesen sample` keep the strata that
    they were drawn from, and their areas then, also where that was another map. Labels are classes
    of the run's vocabulary, or their parents: then the accuracy is that of parents, and the strata
    stay the map's classes.

    Args:
        run: The run's folder.
        points: The file of points.
        label: The column of their classes.
        level: Compare classes or parents; None for the level of the labels.
        mapping: A table of the classes that labels mean (`read_label_mapping`).

    Raises:
        OutputError: There is no map.
        DatasetError: The table of labels is unreadable.
        PointsError: No point lies on the map with a known label, there are too few, or labels or
            points contradict what is known of them.
    """
    store = Store(run)
    manifest = read_run(store)
    items = mapped_items(store, manifest)
    place = public_url(store.root)
    if not items:
        raise OutputError(place, "no cell of this run is finished", "Map it first")
    vocabulary = run_vocabulary(store, manifest)
    table = None if mapping is None else read_label_mapping(mapping, vocabulary)
    reference = read_reference(points, label)
    sample = read_sample_record(points)
    level = _level(vocabulary, level, points)
    classes = match_points(reference.labels, vocabulary, level, table)
    matched = classes.matched
    values = classes_at(store, items, reference.lon, reference.lat)
    unused = _unused(reference, values, classes)
    usable = matched.known & is_mapped(values)
    if not usable.any():
        unknown = f", for one {next(iter(matched.unknown))!r}" if matched.unknown else ""
        unlabelled = sum(unused[name] for name in ("no_label", "no_class", "unknown_label"))
        near = next(iter(classes.near.values()), None)
        unknown += f" (did you mean {near}?)" if near else ""
        raise PointsError(
            str(points),
            f"none of its {len(reference)} points can be compared with the map in {place} "
            f"({unused['outside'] + unused['no_place']} lie outside of it, {unused['on_nodata']} "
            f"on nodata, {unlabelled} have no label that it knows{unknown})",
            "Give points that lie on the map, with labels of its vocabulary",
        )
    hectares = class_hectares(items)
    if sample is None:
        strata = _map_strata(vocabulary, hectares, values)
    else:
        own = sample.fingerprint == manifest.fingerprint
        strata = _sample_strata(sample, points, reference, values, own=own)
    # Of points of another map's strata, those off this map say how much of a stratum it covers.
    counted = matched.known & (strata.of_point >= 0)
    try:
        accuracy = _accuracy(vocabulary, classes, hectares, strata, values, counted)
    except ValueError as error:
        raise PointsError(
            str(points), f"{error} (of {FEWEST} that a variance takes)", "Give more points"
        ) from None
    return MapResults(
        about={
            "run": place,
            "fingerprint": manifest.fingerprint,
            "period": manifest.years,
            "vocabulary": vocabulary.name,
            "title": vocabulary.title,
            "points": points.name,
            "label": label,
            "level": matched.level,
            "cells": len(items),
            "attribution": manifest.attribution,
        },
        points=PointsUsed(
            given=len(reference),
            used=accuracy.points,
            left_out=int(usable.sum()) - accuracy.points,
            **unused,
        ),
        classes=classes,
        accuracy=accuracy,
        sample=sample,
    )


def _map_strata(
    vocabulary: Vocabulary, hectares: Mapping[int, float], values: np.ndarray
) -> _Strata:
    """The classes of the map as strata of points with these mapped values."""
    legend = vocabulary.legend
    place = {entry.value: k for k, entry in enumerate(legend)}
    return _Strata(
        names=tuple(entry.name for entry in legend),
        hectares=np.array([hectares.get(entry.value, 0.0) for entry in legend]),
        of_point=np.array([place.get(int(value), -1) for value in values], np.int64),
        value=np.array([entry.value for entry in legend]),
    )


def _sample_strata(
    sample: SampleRecord,
    points: Path,
    reference: ReferencePoints,
    values: np.ndarray,
    *,
    own: bool,
) -> _Strata:
    """The strata of a sample; `own` is whether it was drawn from this map."""
    drawn = sample.point_values(reference.ids, str(points))
    if own:
        moved = np.flatnonzero(is_mapped(values) & (values != drawn))
        if len(moved):
            raise PointsError(
                str(points),
                f"{len(moved)} of its points lie no more in the class in which they were drawn, "
                f"for one that of id {reference.ids[moved[0]]}: they were moved",
                "Take their places from lon and lat, or a copy of the file as it was written",
            )
    value = np.array([stratum.value for stratum in sample.strata])
    place = {int(each): k for k, each in enumerate(value)}
    return _Strata(
        names=tuple(stratum.name for stratum in sample.strata),
        hectares=np.array([stratum.hectares for stratum in sample.strata]),
        of_point=np.array([place[int(each)] for each in drawn], np.int64),
        value=value if own else None,
    )


def _accuracy(
    vocabulary: Vocabulary,
    classes: PointClasses,
    hectares: Mapping[int, float],
    strata: _Strata,
    values: np.ndarray,
    counted: np.ndarray,
) -> AreaAccuracy:
    """The accuracy at the counted points, bool (n,), of mapped class values, 0 or less for none."""
    names, lifted = _compared(vocabulary, classes.matched.level)
    if classes.none_named and NONE not in names:  # the map has no such class, the land has
        names = (*names, NONE)
    class_of_value = {entry.value: int(lifted[k]) for k, entry in enumerate(vocabulary.legend)}
    mapped_hectares = None
    if strata.value is None:
        mapped_hectares = np.zeros(len(names))
        for value, area in hectares.items():
            if value in class_of_value:
                mapped_hectares[class_of_value[value]] += area
    own = strata.value if strata.value is not None else np.full(len(strata.names), NODATA_CLASS)
    return area_accuracy(
        stratum=strata.of_point[counted],
        mapped=np.array([class_of_value.get(int(value), -1) for value in values[counted]]),
        reference=classes.matched.index[counted],
        hectares=strata.hectares,
        strata=strata.names,
        classes=names,
        class_of_stratum=np.array([class_of_value.get(int(value), -1) for value in own]),
        mapped_hectares=mapped_hectares,
    )


def _unused(
    reference: ReferencePoints, values: np.ndarray, classes: PointClasses
) -> dict[str, int]:
    """Counts of the points that cannot be compared, by the reason's name in `PointsUsed`."""
    no_place = ~(np.isfinite(reference.lon) & np.isfinite(reference.lat))
    mapped, blank = is_mapped(values), classes.blank
    reasons = {
        "no_place": no_place,
        "outside": (values == OUTSIDE) & ~no_place,
        "on_nodata": values == NODATA_CLASS,
        "no_label": mapped & blank,
        "no_class": mapped & classes.left_out,
        "unknown_label": mapped & ~blank & ~classes.left_out & ~classes.matched.known,
    }
    return {name: int(which.sum()) for name, which in reasons.items()}


def _level(vocabulary: Vocabulary, level: Level | None, points: Path) -> Level | None:
    """The level of the comparison: a map of parents has no classes."""
    if vocabulary.level == "parent":
        if level == "class":
            raise PointsError(
                str(points), "the map shows parents of classes", "Leave --level out, or say parent"
            )
        return "parent"
    if level == "parent" and not vocabulary.parents:
        raise PointsError(str(points), "the map's classes have no parents", "Leave --level out")
    return level


def _compared(vocabulary: Vocabulary, level: Level) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of the compared classes, and the place among them of each entry of the legend."""
    legend = vocabulary.legend
    if level == "class" or vocabulary.level == "parent":
        return tuple(entry.name for entry in legend), np.arange(len(legend))
    parents = [parent.name for parent in vocabulary.parents]
    extra = [entry.name for entry in legend[len(vocabulary.classes) :]]  # none of these
    lifted = [*vocabulary.parent_index, *range(len(parents), len(parents) + len(extra))]
    return (*parents, *extra), np.array(lifted, np.int64)
