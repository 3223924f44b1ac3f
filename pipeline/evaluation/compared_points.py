"""Reference points beside a map: what they are compared with, and what they stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.vocabulary.labels import Level
from models.vocabulary.vocabulary import NONE, Vocabulary
from pipeline.errors import OutputError
from pipeline.evaluation.area_accuracy import AreaAccuracy, area_accuracy
from pipeline.evaluation.map_labels import PointClasses, match_points, read_label_mapping
from pipeline.evaluation.map_points import OUTSIDE, classes_at, is_mapped
from pipeline.evaluation.sample_file import SampleRecord, read_sample_record
from pipeline.evaluation.transition_labels import joined_labels, transition_labels
from pipeline.io.store import Store, public_url
from pipeline.point_series.point_file import PointsError, ReferencePoints, read_reference
from pipeline.product.layers import NODATA_CLASS
from pipeline.product.manifest import RunManifest, run_vocabulary


@dataclass(frozen=True, eq=False)
class _Strata:
    """What the points were drawn from: the names of strata, and each point's.

    Attributes:
        of_point: int64 (n,), places among the strata; −1 for a point in none.
        value: The strata's class values on the map that is evaluated; None where they are those of
            another map.
        hectares: Their areas when the points were drawn; None where they are those of the map.
    """

    names: tuple[str, ...]
    of_point: np.ndarray
    value: np.ndarray | None
    hectares: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ComparedPoints:
    """Reference points beside the map of a run.

    Attributes:
        vocabulary: The map's classes.
        reference: The points.
        values: The mapped class values at the points, int64 (n,), 0 or less for none.
        classes: The classes of their labels.
        usable: Which points have a known label and lie on the map, bool (n,).
        counted: Which points estimates are made of, bool (n,): of those of another map's strata,
            the ones off this map say how much of a stratum it covers.
        unused: Counts of the other points, by the reason's name in `PointsUsed`.
        sample: How the points were drawn, where `timesen sample` drew them.
    """

    vocabulary: Vocabulary
    reference: ReferencePoints
    values: np.ndarray
    classes: PointClasses
    usable: np.ndarray
    counted: np.ndarray
    unused: Mapping[str, int]
    sample: SampleRecord | None
    _strata: _Strata

    @property
    def of_this_map(self) -> bool:
        """Whether the strata are the map's classes, so that a part of the map can be estimated."""
        return self._strata.value is not None

    def accuracy(
        self, hectares: Mapping[int, float], within: np.ndarray | None = None
    ) -> AreaAccuracy:
        """Estimate the accuracy of the map, or of a part of it.

        Points that were drawn at random within strata are so within the part of a stratum, too.

        Args:
            hectares: The mapped area by class value, of the map or of the part.
            within: Which points lie in the part, bool (n,); None for the whole map. A part takes
                `of_this_map`.

        Raises:
            ValueError: No stratum has `FEWEST` points.
        """
        counted = self.counted if within is None else self.counted & within
        strata, classes = self._strata, self.classes
        names, lifted = compared_classes(self.vocabulary, classes.matched.level)
        if classes.none_named and NONE not in names:  # the map has no such class, the land has
            names = (*names, NONE)
        legend = self.vocabulary.legend
        class_of_value = {entry.value: int(lifted[k]) for k, entry in enumerate(legend)}
        mapped_hectares = None
        if strata.value is None:
            mapped_hectares = np.zeros(len(names))
            for value, area in hectares.items():
                if value in class_of_value:
                    mapped_hectares[class_of_value[value]] += area
        own = strata.value if strata.value is not None else np.full(len(strata.names), NODATA_CLASS)
        areas = strata.hectares
        if areas is None or within is not None:
            areas = np.array([hectares.get(int(value), 0.0) for value in own])
        return area_accuracy(
            stratum=strata.of_point[counted],
            mapped=np.array([class_of_value.get(int(value), -1) for value in self.values[counted]]),
            reference=classes.matched.index[counted],
            hectares=areas,
            strata=strata.names,
            classes=names,
            class_of_stratum=np.array([class_of_value.get(int(value), -1) for value in own]),
            mapped_hectares=mapped_hectares,
        )


def compare_points(
    store: Store,
    manifest: RunManifest,
    items: Sequence[Mapping[str, Any]],
    points: Path,
    label: str,
    level: Level | None = None,
    mapping: Path | None = None,
) -> ComparedPoints:
    """Read reference points, their labels, and the map at the points.

    Args:
        store: The run's folder.
        manifest: The run.
        items: The STAC items of its finished cells.
        points: As of `evaluate_run`, like the other arguments.
        label: The column of their classes; of a map of changes, "before,after" names two columns,
            and one holds transitions, "forest → town".
        level: Compare classes or parents; None for the level of the labels.
        mapping: A table of the classes that labels mean.

    Raises as `evaluate_run`.
    """
    place = public_url(store.root)
    if not items:
        raise OutputError(place, "no cell of this run is finished", "Map it first")
    vocabulary = run_vocabulary(store, manifest)
    table = None if mapping is None else read_label_mapping(mapping, vocabulary)
    two = label.split(",") if manifest.derived_kind == "change" else [label]
    reference = read_reference(points, two[0].strip())
    if manifest.derived_kind == "change":
        labels = reference.labels
        if len(two) == 2:
            labels = joined_labels(labels, read_reference(points, two[1].strip()).labels)
        reference = replace(reference, labels=transition_labels(labels, vocabulary, level))
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
    if sample is None:
        strata = _map_strata(vocabulary, values)
    else:
        own = sample.fingerprint == manifest.fingerprint
        strata = _sample_strata(sample, points, reference, values, own=own)
    return ComparedPoints(
        vocabulary=vocabulary,
        reference=reference,
        values=values,
        classes=classes,
        usable=usable,
        counted=matched.known & (strata.of_point >= 0),
        unused=unused,
        sample=sample,
        _strata=strata,
    )


def _map_strata(vocabulary: Vocabulary, values: np.ndarray) -> _Strata:
    """The classes of the map as strata of points with these mapped values."""
    legend = vocabulary.legend
    place = {entry.value: k for k, entry in enumerate(legend)}
    return _Strata(
        names=tuple(entry.name for entry in legend),
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


def compared_classes(vocabulary: Vocabulary, level: Level) -> tuple[tuple[str, ...], np.ndarray]:
    """The classes or parents that points are compared with.

    Returns:
        Their names, and the place among them of each entry of the vocabulary's legend, int64.
    """
    legend = vocabulary.legend
    if level == "class" or vocabulary.level == "parent":
        return tuple(entry.name for entry in legend), np.arange(len(legend))
    parents = [parent.name for parent in vocabulary.parents]
    extra = [entry.name for entry in legend[len(vocabulary.classes) :]]  # none of these
    lifted = [*vocabulary.parent_index, *range(len(parents), len(parents) + len(extra))]
    return (*parents, *extra), np.array(lifted, np.int64)
