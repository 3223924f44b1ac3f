"""The accuracy of a finished map, measured at reference points."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.vocabulary.labels import Level, MatchedLabels
from pipeline.evaluation.area_accuracy import FEWEST, AreaAccuracy
from pipeline.evaluation.compared_points import compare_points
from pipeline.evaluation.map_labels import PointClasses
from pipeline.evaluation.sample_file import SampleRecord
from pipeline.io.store import Store, public_url
from pipeline.point_series.point_file import PointsError
from pipeline.product.cell_report import class_hectares
from pipeline.product.committed_cells import mapped_items
from pipeline.product.ledger import read_run


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
    compared = compare_points(store, manifest, items, points, label, level, mapping)
    vocabulary = compared.vocabulary
    try:
        accuracy = compared.accuracy(class_hectares(items))
    except ValueError as error:
        raise PointsError(
            str(points), f"{error} (of {FEWEST} that a variance takes)", "Give more points"
        ) from None
    return MapResults(
        about={
            "run": public_url(store.root),
            "fingerprint": manifest.fingerprint,
            "period": manifest.years,
            "vocabulary": vocabulary.name,
            "title": vocabulary.title,
            "points": points.name,
            "label": label,
            "level": compared.classes.matched.level,
            "cells": len(items),
            "attribution": manifest.attribution,
        },
        points=PointsUsed(
            given=len(compared.reference),
            used=accuracy.points,
            left_out=int(compared.usable.sum()) - accuracy.points,
            **compared.unused,
        ),
        classes=compared.classes,
        accuracy=accuracy,
        sample=compared.sample,
    )
