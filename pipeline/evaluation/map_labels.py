"""The classes of a map that the labels of reference points mean, by name or by a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.near_names import did_you_mean, nearest_name
from models.vocabulary.labels import UNMATCHED, Level, MatchedLabels, match_labels, text_of
from models.vocabulary.vocabulary import NONE, Vocabulary
from pipeline.io.tables import read_columns
from pipeline.point_series.point_file import PointsError

_LABEL, _CLASS = "label", "class"


@dataclass(frozen=True)
class LabelMapping:
    """What a table says of labels.

    Attributes:
        file: The table's name.
        classes: The class of the map by label, as both are written; None where the points with
            this label are left out.
    """

    file: str
    classes: Mapping[str, str | None]


@dataclass(frozen=True, eq=False)
class PointClasses:
    """The classes of n points' labels.

    Attributes:
        matched: The classes; the place behind the last class, or the last parent, is that of land
            that is none of the map's classes.
        blank: Which points have no label: bool (n,).
        left_out: Which points have a label that the mapping leaves out: bool (n,).
        none_named: Whether any label says that the land is none of the map's classes.
        near: For unknown labels, the known label that may be meant.
        mapping: The mapping of labels, if there is one.
        mapped: The number of points of each label of the mapping that occurs, the most frequent
            first.
    """

    matched: MatchedLabels
    blank: np.ndarray
    left_out: np.ndarray
    none_named: bool
    near: Mapping[str, str]
    mapping: LabelMapping | None = None
    mapped: Mapping[str, int] | None = None


def read_label_mapping(path: Path, vocabulary: Vocabulary) -> LabelMapping:
    """Read a table with the columns `label` and `class`; several labels may mean one class.

    Raises:
        DatasetError: The table is unreadable, or lacks a column.
        PointsError: A class is unknown to the vocabulary, or a label has two classes.
    """
    columns = read_columns(path, (_LABEL, _CLASS))
    classes: dict[str, str | None] = {}
    spellings: dict[str, str] = {}
    for label, name in zip(columns[_LABEL], columns[_CLASS], strict=True):
        if label is None and name is None:
            continue
        if label is None:
            raise PointsError(
                str(path), f"the class {name!r} stands in a row without a label", "Name its label"
            )
        first = spellings.setdefault(label.casefold(), label)
        if first in classes and classes[first] != name:
            both = " and ".join(repr(each or "") for each in (classes[first], name))
            raise PointsError(
                str(path), f"the label {label!r} has two classes, {both}", "Keep one of these rows"
            )
        classes[first] = name
    wanted = {
        name for name in classes.values() if name is not None and not _is_none(name, vocabulary)
    }
    known = {
        name
        for level in _levels(vocabulary)
        for name, place in zip(
            sorted(wanted), match_labels(sorted(wanted), vocabulary, level).index, strict=True
        )
        if place != UNMATCHED
    }
    if unknown := sorted(wanted - known):
        names = class_names(vocabulary)
        told = ", ".join(f"{name!r}{did_you_mean(name, names)}" for name in unknown)
        raise PointsError(
            str(path),
            f"the map has no class {told}",
            f"Its classes are {', '.join(names)}",
        )
    return LabelMapping(path.name, classes)


def match_points(
    labels: Sequence[str | None],
    vocabulary: Vocabulary,
    level: Level | None,
    mapping: LabelMapping | None = None,
) -> PointClasses:
    """Find the classes of points' labels.

    With a mapping, its labels alone are known: a class's own name is none unless it is listed.
    "none of these" is land of none of the map's classes.

    Args:
        labels: The points' labels.
        vocabulary: The map's classes.
        level: Compare classes or parents; None for the level of the labels.
        mapping: The classes of the labels, where they are not the map's own.
    """
    texts = [text_of(label) for label in labels]
    blank = np.array([not text for text in texts], bool)
    if mapping is None:
        names: Sequence[str] = class_names(vocabulary)
        meant: list[str | None] = list(texts)
        left_out = np.zeros(len(texts), bool)
        unlisted: Counter[str] = Counter()
        mapped = None
    else:
        names = list(mapping.classes)
        listed = {label.casefold(): label for label in mapping.classes}
        found = [listed.get(text.casefold()) for text in texts]
        meant = [None if label is None else mapping.classes[label] for label in found]
        left_out = np.array([k is not None and mapping.classes[k] is None for k in found], bool)
        pairs = zip(texts, found, strict=True)
        unlisted = Counter(text for text, label in pairs if text and label is None)
        mapped = dict(Counter(label for label in found if label is not None).most_common())
    none = np.array([text is not None and _is_none(text, vocabulary) for text in meant], bool)
    matched = match_labels(
        [None if is_none else text for text, is_none in zip(meant, none, strict=True)],
        vocabulary,
        level,
    )
    entries = vocabulary.parents if matched.level == "parent" else vocabulary.classes
    unknown = {**matched.unknown, **dict(unlisted.most_common())}
    near = {label: nearest_name(label, names) for label in unknown}
    return PointClasses(
        matched=replace(
            matched,
            index=np.where(none, len(entries), matched.index),
            unknown=unknown,
            blank=int(blank.sum()),
        ),
        blank=blank,
        left_out=left_out,
        none_named=bool(none.any()),
        near={label: name for label, name in near.items() if name is not None},
        mapping=mapping,
        mapped=mapped,
    )


def class_names(vocabulary: Vocabulary) -> tuple[str, ...]:
    """The names that a point of a map may be labelled with, at the map's own level."""
    entries = vocabulary.parents if vocabulary.level == "parent" else vocabulary.classes
    names = [entry.name for entry in entries]
    return (*names, NONE) if _is_none(NONE, vocabulary) else tuple(names)


def unknown_lines(classes: PointClasses, most: int = 8) -> list[str]:
    """Sentences on the labels that are unknown and may be misspelt, the most frequent first."""
    counts = classes.matched.unknown
    return [
        f"label {label!r} of {counts[label]:,} points is unknown (did you mean {name}?)"
        for label, name in list(classes.near.items())[:most]
    ]


def _levels(vocabulary: Vocabulary) -> tuple[Level, ...]:
    if vocabulary.level == "parent":
        return ("parent",)
    return ("class", "parent") if vocabulary.parents else ("class",)


def _is_none(text: str, vocabulary: Vocabulary) -> bool:
    """Whether a label means land of no class; a class of the vocabulary may have that name."""
    entries = (*vocabulary.classes, *vocabulary.parents)
    return text.strip().casefold() == NONE and all(
        entry.name.strip().casefold() != NONE for entry in entries
    )
