"""Descriptions of the sample's classes that its checkpoint learns, and their text embeddings.

Every class has specific wordings and shares general ones with others ("cropland", "woodland").
Some of each are held out: no training sees them, so that they show how well the checkpoint
understands new words.
"""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.vocabulary.prompts import TEMPLATES, sentences
from pipeline.sample.classes import CLASS_COUNT, CLASSES

ABSENT = (
    "snow and ice", "permanent snow", "glacier", "mangroves", "mangrove forest",
    "moss and lichen", "lichen tundra",
)  # fmt: skip
"""Wordings of land that the sample does not have: negatives for every pixel."""
_SPECIFIC_SHARE = 0.6  # of descriptions that are true of one class alone


@dataclass(frozen=True)
class Description:
    """A wording, the classes that it is true of, and whether it is held out of training."""

    wording: str
    classes: tuple[int, ...]
    is_held_out: bool = False

    @property
    def is_general(self) -> bool:
        """Whether it is true of several classes."""
        return len(self.classes) > 1


def descriptions() -> tuple[Description, ...]:
    """All wordings of `descriptions.toml`, the specific ones first."""
    content = Path(__file__).with_name("descriptions.toml").read_text(encoding="utf-8")
    return tuple(
        Description(wording, tuple(map(CLASSES.index, group["of"])), kind == "held_out")
        for group in tomllib.loads(content)["descriptions"]
        for kind in ("seen", "held_out")
        for wording in group[kind]
    )


class DescriptionTexts:
    """The text embeddings of descriptions, plain and in all templates.

    Attributes:
        embeddings: float32 (description, sentence, dim).
        absent: float32 (sentence, dim), of `ABSENT`.
        is_true: bool (class, description): a description that is true of a pixel is not one of
            its negatives.
    """

    def __init__(
        self, seen: list[Description], embed: Callable[[Sequence[str]], np.ndarray]
    ) -> None:
        patterns = ("{}", *TEMPLATES)
        self.wordings = len(patterns)
        flat = embed(sentences([entry.wording for entry in seen], patterns))
        self.embeddings = torch.from_numpy(flat).unflatten(0, (len(seen), self.wordings))
        self.absent = torch.from_numpy(embed(sentences(ABSENT, patterns)))
        self.is_true = np.zeros((CLASS_COUNT, len(seen)), bool)
        for index, entry in enumerate(seen):
            self.is_true[list(entry.classes), index] = True
        is_general = np.array([entry.is_general for entry in seen])
        self._of_class = [
            (np.flatnonzero(row & ~is_general), np.flatnonzero(row & is_general))
            for row in self.is_true
        ]

    def choose(self, land: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw a description of each class in `land`, int (n,): int64 (n,)."""
        picked = np.empty(len(land), np.int64)
        for k, (specific, general) in enumerate(self._of_class):
            rows = np.flatnonzero(land == k)
            own = rng.choice(specific, len(rows))
            wide = rng.choice(general, len(rows)) if len(general) else own
            picked[rows] = np.where(rng.uniform(size=len(rows)) < _SPECIFIC_SHARE, own, wide)
        return picked
