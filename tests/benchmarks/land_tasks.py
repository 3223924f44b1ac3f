"""The classes that benchmarks ask real points for, from `land_tasks.toml`."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from models.encoder.card import Card
from models.towers.text_embeddings import embed_words
from pipeline.real_land.tables import LabelledPoints
from pipeline.real_land.wordings import group


@dataclass(frozen=True)
class LandClass:
    """A class of a task.

    Attributes:
        labels: The sources' labels that mean it.
        members: Plain words, a list per member; the nearest member counts.
        held_out: Keys of groups whose held-out wordings mean it.
    """

    name: str
    labels: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    held_out: tuple[str, ...]

    @property
    def holds(self) -> frozenset[str]:
        """The classes of `wordings.toml` that the class is made of."""
        return frozenset().union(*(group(key).of for key in self.held_out))

    @property
    def held_out_members(self) -> tuple[tuple[str, ...], ...]:
        """The held-out wordings, a list per member."""
        words = [group(key).held_out for key in self.held_out]
        return tuple(words) if len(self.members) > 1 else (tuple(w for ws in words for w in ws),)


@dataclass(frozen=True)
class Task:
    """Points of some tables, and the classes that they are asked for."""

    name: str
    tables: tuple[str, ...]
    classes: tuple[LandClass, ...]

    def targets(self, points: LabelledPoints) -> np.ndarray:
        """The place of each point's class, -1 where it is in none: int64 (n,)."""
        place = np.full(len(points), -1)
        for number, one in enumerate(self.classes):
            place[np.isin(points.labels, one.labels)] = number
        return np.where(np.isin(points.tables, self.tables), place, -1)

    def targets_elsewhere(self, points: LabelledPoints) -> np.ndarray:
        """The place of the class that holds all that each point may be, else -1: int64 (n,)."""
        place = np.full(len(points), -1)
        for number, one in enumerate(self.classes):
            place[[classes <= one.holds for classes in points.classes]] = number
        return place


@cache
def _content() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def load_rivals() -> dict[str, dict[str, str]]:
    """Of each class that training leaves out: the classes to choose from, by their groups' keys."""
    rivals: dict[str, dict[str, str]] = _content()["rivals"]
    return rivals


def vocabulary_classes(vocabulary: str) -> dict[str, frozenset[str]]:
    """Classes of a shipped vocabulary: the classes of `wordings.toml` that each of them holds."""
    groups_of: dict[str, list[str]] = _content()["vocabularies"][vocabulary]
    return {
        name: frozenset().union(*(group(key).of for key in keys))
        for name, keys in groups_of.items()
    }


def load_tasks() -> tuple[Task, ...]:
    """All tasks, in order."""
    raw = _content()
    return tuple(
        Task(
            entry["name"],
            tuple(entry["tables"]),
            tuple(
                LandClass(
                    name,
                    tuple(one["labels"]),
                    tuple(map(tuple, one["members"])),
                    tuple(one["held_out"]),
                )
                for name, one in entry["classes"].items()
            ),
        )
        for entry in raw["tasks"]
    )


def class_scores(
    embeddings: np.ndarray, classes: Sequence[Sequence[Sequence[str]]], card: Card
) -> np.ndarray:
    """The cosine of each embedding and the nearest member of each class: float32 (n, class)."""
    return np.stack(
        [
            np.max([embeddings @ embed_words(words, card) for words in members], axis=0)
            for members in classes
        ],
        axis=1,
    )


def accuracy_and_f1(y: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Accuracy, and F1 averaged over the classes that occur in `y`."""
    f1 = f1_score(y, found, labels=np.unique(y), average="macro", zero_division=0)
    return float((y == found).mean()), float(f1)
