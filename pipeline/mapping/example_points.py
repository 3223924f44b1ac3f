"""Labelled points of the user's own, whose pixels adjust the words of a run."""

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from models.vocabulary.labels import UNMATCHED, MatchedLabels, match_labels
from models.vocabulary.vocabulary import Vocabulary
from pipeline.classification.examples import MOST_EXAMPLES
from pipeline.grid.places import Places
from pipeline.grid.region import Region
from pipeline.point_series.point_file import PointsError, read_reference

_LISTED = 8  # unknown labels that an error names
_NEAREST = 3  # classes that it names for each


@dataclass(frozen=True, eq=False)
class ExamplePoints:
    """Examples in the region to map.

    Attributes:
        places: Where they are.
        classes: int64 (n,), places in `Vocabulary.classes`.
        label: The column that they are from.
        given: How many points the file holds.
        unlabelled: How many of these have no label.
        outside: How many lie outside the region, or have no place.
    """

    places: Places
    classes: np.ndarray
    label: str
    given: int
    unlabelled: int
    outside: int

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def fingerprint(self) -> str:
        """Their number, and a hash over places and classes."""
        digest = hashlib.sha256()
        for array in (self.places.lon, self.places.lat, self.classes):
            digest.update(np.ascontiguousarray(array).tobytes())
        return f"{len(self)} {digest.hexdigest()[:12]}"


def read_example_points(
    path: Path, label: str, vocabulary: Vocabulary, region: Region
) -> ExamplePoints:
    """The points of a file that have a label and lie in the region.

    Labels are names or codes of the vocabulary's classes, whatever their case.

    Raises:
        PointsError: The file is unreadable or lacks the column, a label is no class, no point lies
            in the region, or there are too many.
    """
    points = read_reference(path, label)
    matched = match_labels(points.labels, vocabulary, "class")
    if matched.unknown:
        raise _unknown_labels(path, label, matched, vocabulary)
    inside = np.isfinite(points.lon) & np.isfinite(points.lat)
    lon, lat = points.lon[inside], points.lat[inside]
    inside[inside] = region.indexed.ask(shapely.intersects_xy, lon, lat)
    labelled = matched.index != UNMATCHED
    used = inside & labelled
    if not used.any():
        raise PointsError(
            str(path),
            f"none of its {len(points)} points can be an example ({int((~inside).sum())} lie "
            f"outside the region or have no place, {int((~labelled).sum())} have no label)",
            "Give points within the region, with a class",
        )
    if int(used.sum()) > MOST_EXAMPLES:
        raise PointsError(
            str(path),
            f"{int(used.sum()):,} examples, and at most {MOST_EXAMPLES:,} can be used",
            "Give some of them, of all classes",
        )
    return ExamplePoints(
        places=Places(points.lon[used], points.lat[used]),
        classes=matched.index[used],
        label=label,
        given=len(points),
        unlabelled=int((~labelled).sum()),
        outside=int((labelled & ~inside).sum()),
    )


def _unknown_labels(
    path: Path, label: str, matched: MatchedLabels, vocabulary: Vocabulary
) -> PointsError:
    names = {entry.name.casefold(): entry.name for entry in vocabulary.classes}
    shown = []
    for text, count in list(matched.unknown.items())[:_LISTED]:
        near = difflib.get_close_matches(text.casefold(), names, _NEAREST, cutoff=0.5)
        hint = f", did you mean {' or '.join(names[name] for name in near)}?" if near else ""
        shown.append(f"{text!r} ({count} points{hint})")
    more = len(matched.unknown) - len(shown)
    listed = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
    classes = ", ".join(entry.name for entry in vocabulary.classes[:_LISTED])
    others = len(vocabulary.classes) - _LISTED
    return PointsError(
        str(path),
        f"its column {label!r} holds labels that are no class of the map: {listed}",
        f"Name a class or its code: {classes}" + (f" and {others} more" if others > 0 else ""),
    )
