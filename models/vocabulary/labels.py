"""The matching of labels with classes of a vocabulary: by name, code, number or parent."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.vocabulary.vocabulary import Vocabulary
from models.vocabulary.vocabulary_class import VocabularyParent

UNMATCHED = -1
"""The place of a label that names no class."""

Level = Literal["class", "parent"]

_FINER = re.compile(r"(\d|\.|x\d)[\w.]*", re.IGNORECASE)  # what follows "B" in "B11" and "Bx1"
_BEGINS_FINER = re.compile(r"[A-Za-z].*|\d{2,}")


@dataclass(frozen=True, eq=False)
class MatchedLabels:
    """The classes of labels in a vocabulary.

    Attributes:
        index: int64 (n,), places in `vocabulary.classes`, or in `vocabulary.parents` at `level`
            "parent"; or `UNMATCHED`.
        unknown: Counts of the labels that name no class, the most frequent first.
        blank: The number of empty labels.
        finer: Labels that were taken for the class whose code they refine ("B11" → "Cropland", of
            code B).
    """

    index: np.ndarray
    level: Level
    unknown: Mapping[str, int]
    blank: int
    finer: Mapping[str, str]

    @property
    def known(self) -> np.ndarray:
        """Which labels name a class: bool (n,)."""
        return self.index != UNMATCHED


def match_labels(
    labels: Iterable[str | None], vocabulary: Vocabulary, level: Level | None = None
) -> MatchedLabels:
    """Match labels with classes; case and the spaces around them do not matter.

    A label is a class's name, its code, its number where it has no code, or a finer code of a
    nomenclature whose codes begin with their parent's (LUCAS, EUNIS, CORINE). The codes and numbers
    3 and 3.0 are the same, unless a code is written as 3.0. Labels may also name
    parents: then all are compared as parents. With `level` None, this is so if more labels name
    only a parent than name a class. At `level` "class", labels of parents are unknown.
    """
    texts = [text_of(label) for label in labels]
    counts = Counter(texts)
    blank = counts.pop("", 0)
    of_class = {label: _place(label, vocabulary.classes) for label in counts}
    of_parent = {label: _place(label, vocabulary.parents) for label in counts}
    if level is None:
        alone = sum(
            counts[label]
            for label, place in of_parent.items()
            if place != UNMATCHED and of_class[label] == UNMATCHED
        )
        classes = sum(counts[label] for label, place in of_class.items() if place != UNMATCHED)
        level = "parent" if alone > classes else "class"
    if level == "parent":
        lifted = vocabulary.parent_index
        places = {
            label: of_parent[label] if place == UNMATCHED else int(lifted[place])
            for label, place in of_class.items()
        }
    else:
        places = of_class
    shown: Sequence[VocabularyParent] = (
        vocabulary.parents if level == "parent" else vocabulary.classes
    )
    return MatchedLabels(
        index=np.array([places.get(text, UNMATCHED) for text in texts], np.int64),
        level=level,
        unknown={label: n for label, n in counts.most_common() if places[label] == UNMATCHED},
        blank=blank,
        finer={
            label: shown[place].name
            for label, place in places.items()
            if place != UNMATCHED and not _is_exact(label, vocabulary)
        },
    )


def text_of(label: str | None) -> str:
    """A label without the spaces around it; empty where there is none."""
    return "" if label is None else label.strip()


def _is_exact(label: str, vocabulary: Vocabulary) -> bool:
    keys = {key for entry in (*vocabulary.classes, *vocabulary.parents) for key in _keys(entry)}
    return bool({label.casefold(), _whole(label)} & keys)


def _keys(entry: VocabularyParent) -> tuple[str, str]:
    """An entry's name and its code or number, without case."""
    other = str(entry.value) if entry.code is None else entry.code
    return entry.name.strip().casefold(), other.casefold()


def _whole(label: str) -> str:
    """A label without ".0", which tables give to whole numbers in a column with an empty cell."""
    found = re.fullmatch(r"(\d+)\.0+", label)
    return found[1] if found else label


def _place(label: str, entries: Sequence[VocabularyParent]) -> int:
    """The place of the entry that a label names: by name, else by code, else by a finer code."""
    wanted = label.casefold()
    keys = [_keys(entry) for entry in entries]
    for sought, which in ((wanted, 0), (wanted, 1), (_whole(label), 1)):
        for place, key in enumerate(keys):
            if key[which] == sought:
                return place
    best, longest = UNMATCHED, 0
    for place, entry in enumerate(entries):
        code = entry.code
        if code is None or not _BEGINS_FINER.fullmatch(code) or len(code) <= longest:
            continue
        if wanted.startswith(code.casefold()) and _FINER.fullmatch(label[len(code) :]):
            best, longest = place, len(code)
    return best
