"""The accuracy of a finished map, measured at reference points."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.vocabulary.labels import Level, MatchedLabels, match_labels
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError
from pipeline.evaluation.area_accuracy import FEWEST, AreaAccuracy, area_accuracy
from pipeline.evaluation.map_points import OUTSIDE, classes_at, is_mapped
from pipeline.io.store import Store, public_url
from pipeline.point_series.point_file import PointsError, ReferencePoints, read_reference
from pipeline.product.cell_report import class_hectares
from pipeline.product.layers import NODATA_CLASS
from pipeline.product.ledger import mapped_items, read_run
from pipeline.product.manifest import run_vocabulary


@dataclass(frozen=True)
class PointsUsed:
    """Counts of the points: of `given` points, `used` are compared with the map.

    Attributes:
        no_place: Points without coordinates.
        outside: Points in no finished cell.
        left_out: Points in classes of the map that have too few points.
    """

    given: int
    used: int
    no_place: int
    outside: int
    on_nodata: int
    no_label: int
    unknown_label: int
    left_out: int


@dataclass(frozen=True, eq=False)
class MapResults:
    """A map's accuracy, and what it was measured with."""

    about: Mapping[str, Any]
    points: PointsUsed
    labels: MatchedLabels
    accuracy: AreaAccuracy

    @property
    def names(self) -> tuple[str, ...]:
        """The compared classes, at the level of the labels."""
        return tuple(entry.name for entry in self.accuracy.by_class)


def evaluate_run(run: str, points: Path, label: str, level: Level | None = None) -> MapResults:
    """Compare the finished cells of a run with reference points.

    Strata are the map's classes; their areas are those of the map's pixels on the ellipsoid (each
    pixel belongs to one cell, so it counts once). Labels are classes of the run's vocabulary, or
    their parents: then the accuracy is that of parents, and the strata stay the map's classes.

    Args:
        run: The run's folder.
        points: The file of points.
        label: The column of their classes.
        level: Compare classes or parents; None for the level of the labels.

    Raises:
        OutputError: There is no map.
        PointsError: No point lies on the map with a known label, or there are too few.
    """
    store = Store(run)
    manifest = read_run(store)
    items = mapped_items(store, manifest)
    place = public_url(store.root)
    if not items:
        raise OutputError(place, "no cell of this run is finished", "Map it first")
    vocabulary = run_vocabulary(store, manifest)
    reference = read_reference(points, label)
    matched = match_labels(reference.labels, vocabulary, _level(vocabulary, level, points))
    values = classes_at(store, items, reference.lon, reference.lat)
    unused = _unused(reference, values, matched)
    usable = matched.known & is_mapped(values)
    if not usable.any():
        unknown = f", for one {next(iter(matched.unknown))!r}" if matched.unknown else ""
        raise PointsError(
            str(points),
            f"none of its {len(reference)} points can be compared with the map in {place} "
            f"({unused['outside'] + unused['no_place']} lie outside of it, {unused['on_nodata']} "
            f"on nodata, {unused['no_label'] + unused['unknown_label']} have no label that it "
            f"knows{unknown})",
            "Give points that lie on the map, with labels of its vocabulary",
        )
    try:
        accuracy = _accuracy(
            vocabulary, matched.level, class_hectares(items), values[usable], matched.index[usable]
        )
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
        labels=matched,
        accuracy=accuracy,
    )


def _accuracy(
    vocabulary: Vocabulary,
    level: Level,
    hectares: Mapping[int, float],
    values: np.ndarray,
    reference: np.ndarray,
) -> AreaAccuracy:
    """The accuracy of points' mapped class values; `reference` are places at `level`."""
    names, class_of_stratum = _compared(vocabulary, level)
    legend = vocabulary.legend
    place = {entry.value: k for k, entry in enumerate(legend)}
    stratum = np.array([place[int(value)] for value in values])
    return area_accuracy(
        stratum=stratum,
        mapped=class_of_stratum[stratum],
        reference=reference,
        hectares=np.array([hectares.get(entry.value, 0.0) for entry in legend]),
        strata=tuple(entry.name for entry in legend),
        classes=names,
        class_of_stratum=class_of_stratum,
    )


def _unused(
    reference: ReferencePoints, values: np.ndarray, matched: MatchedLabels
) -> dict[str, int]:
    """Counts of the points that cannot be compared, by the reason's name in `PointsUsed`."""
    no_place = ~(np.isfinite(reference.lon) & np.isfinite(reference.lat))
    blank = np.array([not label for label in reference.labels])
    mapped = is_mapped(values)
    reasons = {
        "no_place": no_place,
        "outside": (values == OUTSIDE) & ~no_place,
        "on_nodata": values == NODATA_CLASS,
        "no_label": mapped & blank,
        "unknown_label": mapped & ~blank & ~matched.known,
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
