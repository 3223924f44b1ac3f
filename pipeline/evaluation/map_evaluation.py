"""The accuracy of a finished map, measured at reference points."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.vocabulary.vocabulary import Vocabulary, make_vocabulary
from pipeline.errors import OutputError
from pipeline.evaluation.area_accuracy import FEWEST, AreaAccuracy, area_accuracy
from pipeline.evaluation.labels import Level, MatchedLabels, match_labels
from pipeline.evaluation.map_points import (
    OUTSIDE,
    ReferencePoints,
    classes_at,
    is_mapped,
    read_reference,
)
from pipeline.io.store import Store, public_url
from pipeline.layout import VOCABULARY_FILE
from pipeline.point_series.point_file import PointsError
from pipeline.product.cell_report import class_hectares
from pipeline.product.layers import NODATA_CLASS
from pipeline.product.ledger import finished_items, read_run


@dataclass(frozen=True)
class PointsUsed:
    """Where the points went: of `given`, `used` tell of the map.

    `no_place`: without coordinates; `outside` of every finished cell; `on_nodata`; `no_label`;
    `unknown_label`; `left_out` lie in classes of the map with too few points.
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
    """A map's accuracy, with what is compared: `names` are the classes, at the labels' level."""

    about: Mapping[str, Any]
    names: tuple[str, ...]
    points: PointsUsed
    labels: MatchedLabels
    accuracy: AreaAccuracy


def evaluate_run(run: str, points: Path, label: str, level: Level | None = None) -> MapResults:
    """Compare the finished cells of a run with reference points.

    Strata are the map's classes, their areas those of the map's own pixels on the ellipsoid (each
    pixel belongs to one cell, so it counts once). Labels are classes of the run's vocabulary, or
    their parents: then accuracy is that of parents, and the strata stay the map's classes. Raises
    OutputError where there is no map, PointsError where no point tells of it.
    """
    store = Store(run)
    manifest = read_run(store)
    items = finished_items(store, manifest.fingerprint)
    given = public_url(store.root)
    if not items:
        raise OutputError(given, "no cell of this run is finished", "Map it first")
    vocabulary = _vocabulary(store)
    reference = read_reference(points, label)
    matched = match_labels(reference.labels, vocabulary, _level(vocabulary, level, points))
    values = classes_at(store, items, reference.lon, reference.lat)
    hectares = class_hectares(items)
    usable = matched.known & is_mapped(values)
    if not usable.any():
        raise PointsError(
            str(points),
            f"none of its {len(reference)} points tells of the map in {given} "
            f"({_reasons(reference, values, matched)})",
            "Give points that lie on the map, with labels of its vocabulary",
        )
    legend = vocabulary.legend
    strata = tuple(entry.name for entry in legend)
    place = {entry.value: k for k, entry in enumerate(legend)}
    names, class_of_stratum = _compared(vocabulary, matched.level)
    stratum = np.array([place[int(value)] for value in values[usable]])
    try:
        accuracy = area_accuracy(
            stratum=stratum,
            mapped=class_of_stratum[stratum],
            reference=matched.index[usable],
            hectares=np.array([hectares.get(entry.value, 0.0) for entry in legend]),
            strata=strata,
            classes=names,
            class_of_stratum=class_of_stratum,
        )
    except ValueError as error:
        raise PointsError(
            str(points), f"{error} (of {FEWEST} that a variance takes)", "Give more points"
        ) from None
    no_place = ~(np.isfinite(reference.lon) & np.isfinite(reference.lat))
    blank = np.array([not label for label in reference.labels])
    mapped = is_mapped(values)
    return MapResults(
        about={
            "run": given,
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
        names=names,
        points=PointsUsed(
            given=len(reference),
            used=accuracy.points,
            no_place=int(no_place.sum()),
            outside=int(((values == OUTSIDE) & ~no_place).sum()),
            on_nodata=int((values == NODATA_CLASS).sum()),
            no_label=int((mapped & blank).sum()),
            unknown_label=int((mapped & ~blank & ~matched.known).sum()),
            left_out=int(usable.sum()) - accuracy.points,
        ),
        labels=matched,
        accuracy=accuracy,
    )


def _vocabulary(store: Store) -> Vocabulary:
    try:
        return make_vocabulary(
            json.loads(store.read(VOCABULARY_FILE)), public_url(store.path(VOCABULARY_FILE))
        )
    except (FileNotFoundError, ValueError) as error:
        raise OutputError(
            public_url(store.path(VOCABULARY_FILE)),
            f"the run's vocabulary cannot be read ({type(error).__name__})",
            "Put the file back, or map again",
        ) from error


def _level(vocabulary: Vocabulary, level: Level | None, points: Path) -> Level | None:
    """The level of the comparison: a map of parents knows no classes."""
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
    """The names of what is compared, and into which of them each entry of the legend goes."""
    legend = vocabulary.legend
    if level == "class" or vocabulary.level == "parent":
        return tuple(entry.name for entry in legend), np.arange(len(legend))
    parents = [parent.name for parent in vocabulary.parents]
    extra = [entry.name for entry in legend[len(vocabulary.classes) :]]  # none of these
    lifted = [*vocabulary.parent_index, *range(len(parents), len(parents) + len(extra))]
    return (*parents, *extra), np.array(lifted, np.int64)


def _reasons(reference: ReferencePoints, values: np.ndarray, matched: MatchedLabels) -> str:
    on_map = is_mapped(values)
    unknown = list(matched.unknown)
    parts = [
        f"{int((values == OUTSIDE).sum())} lie outside of it",
        f"{int((values == NODATA_CLASS).sum())} on nodata",
        f"{int((on_map & ~matched.known).sum())} have no label that it knows",
    ]
    named = f", for one {unknown[0]!r}" if unknown else ""
    return ", ".join(parts) + named
