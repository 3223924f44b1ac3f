"""A checkpoint's rows made ready: which are compared with what, and which teach probes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.encoder.checkpoint import Checkpoint
from models.errors import UserError
from models.towers.text_embeddings import embed_for_checkpoint, embed_words
from models.vocabulary.vocabulary import Vocabulary
from pipeline.evaluation.labels import NO_CLASS, Level, MatchedLabels, match_labels
from pipeline.evaluation.measured import (
    Measured,
    keys_of_classes,
    measure_probes,
    measure_regression,
    measure_retrieval,
    measure_zero_shot,
)
from pipeline.evaluation.probes import LabelledEmbeddings
from pipeline.evaluation.sources import ALL, Samples, Source, numbers_of
from pipeline.evaluation.zero_shot import Words

MOST_LEARNED = 50_000
"""Rows that teach probes and the logit scale at most, drawn at random."""

Embed = Callable[[np.ndarray], np.ndarray]
"""Series uint16 (n, 12, band) → embeddings float32 (n, dim)."""


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Rows and the place of their class in a list, int64 (n,), or NO_CLASS."""

    samples: Samples
    classes: np.ndarray

    def embedded(self, embed: Embed) -> LabelledEmbeddings:
        """The labelled rows, embedded."""
        known = self.classes != NO_CLASS
        if not known.any():
            return LabelledEmbeddings(np.empty((0, 1), np.float32), self.classes[known])
        return LabelledEmbeddings(embed(self.samples.series[known]), self.classes[known])


@dataclass(frozen=True, eq=False)
class Question:
    """The words that labels are compared with: `matched` are those of the evaluated rows."""

    label: str
    words: Words
    matched: MatchedLabels


@dataclass(frozen=True, eq=False)
class Regression:
    """Numbers float64 (n,) and the text embeddings, float32 (dim,), that they may go with."""

    about: Mapping[str, Any]
    numbers: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


@dataclass(frozen=True, eq=False)
class Rows:
    """What is measured: the `evaluated` rows, and the parts that probes learn and are tested on.

    `learned` are train, validation and test; None where there are none, and `notes` say why.
    """

    part: str
    evaluated: Samples
    question: Question | None
    regression: Regression | None
    learned: tuple[LabelledSamples, LabelledSamples, LabelledSamples] | None
    notes: tuple[str, ...]


def ask(
    samples: Samples,
    label: str,
    vocabulary: Vocabulary,
    level: Level | None,
    checkpoint: Checkpoint,
) -> Question:
    """Compare a label with a vocabulary. Raises UserError where no row's label is a class of it."""
    matched = match_labels(samples.labels[label], vocabulary, level)
    if not matched.known.any():
        seen = ", ".join(list(matched.unknown)[:5]) or "none at all"
        raise UserError(
            f"label {label!r}",
            f"none of {len(samples)} rows has a class of {vocabulary.name}; its labels are {seen}",
            "Name another column or vocabulary, or write one whose classes have these names",
        )
    at_level = vocabulary.model_copy(update={"level": matched.level})
    text = embed_for_checkpoint(at_level, checkpoint.card)
    return Question(label, Words.of(at_level, text), matched)


def regress(
    samples: Samples,
    number: str,
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    checkpoint: Checkpoint,
) -> Regression:
    """Numbers to compare with prompts. Raises UserError for fewer than four."""
    numbers = numbers_of(samples.labels[number], number)
    if np.isfinite(numbers).sum() < 4:
        raise UserError(
            f"label {number!r}",
            f"{int(np.isfinite(numbers).sum())} of {len(samples)} rows have a number",
            "Name a column of numbers",
        )
    return Regression(
        {"number": number, "positive": list(positive), "negative": list(negative)},
        numbers,
        embed_words(positive, checkpoint.card),
        embed_words(negative, checkpoint.card),
    )


def read_learned(
    source: Source, part: str, label: str, vocabulary: Vocabulary, level: Level, seed: int
) -> tuple[LabelledSamples, LabelledSamples, LabelledSamples]:
    """The parts train, validation and test for probes; test is `part` where that is held out.

    Raises UserError where the rows cannot be parted.
    """
    held_out = "test" if part in ("train", ALL) else part

    def labelled(name: str, most: int | None) -> LabelledSamples:
        samples = source.read(name, most, seed)
        return LabelledSamples(
            samples, match_labels(samples.labels[label], vocabulary, level).index
        )

    return (
        labelled("train", MOST_LEARNED),
        labelled("validation", MOST_LEARNED),
        labelled(held_out, None),
    )


def measure(
    rows: Rows,
    steps: int,
    embed: Embed,
    checkpoint: Checkpoint,
    regions: str | None,
    draws: int,
    seed: int,
) -> Measured:
    """All that can be measured of these rows, their series embedded by `embed` in `steps` steps."""
    card, evaluated, notes = checkpoint.card, rows.evaluated, list(rows.notes)
    embeddings = embed(evaluated.series)
    learned = None
    if rows.learned is not None:
        train, validation, test = (part.embedded(embed) for part in rows.learned)
        learned = (train, validation, test)
    zero_shot = probes = retrieved = by_label = None
    if (question := rows.question) is not None:
        known = question.matched.known
        of_region = None if regions is None else evaluated.labels[regions]
        zero_shot = measure_zero_shot(
            question.words,
            LabelledEmbeddings(embeddings[known], question.matched.index[known]),
            None if learned is None or rows.part == "validation" else learned[1],
            None if of_region is None else list(of_region[known]),
            card.logit_scale,
        )
    if learned is not None:
        try:
            probes = measure_probes(*learned, draws=draws, seed=seed)
        except ValueError as error:
            notes.append(f"No probes: {error}.")
    if evaluated.ground is not None and evaluated.keys is not None:
        if evaluated.ground.shape[1] == embeddings.shape[1]:
            ground, keys = evaluated.ground, evaluated.keys
            retrieved = measure_retrieval(embeddings, ground, keys, seed)
            if question is not None:
                known = question.matched.known
                classes = keys_of_classes(question.matched.index[known])
                by_label = measure_retrieval(embeddings[known], ground[known], classes, seed)
        else:
            notes.append(
                f"No retrieval: the ground's embeddings have {evaluated.ground.shape[1]} "
                f"dimensions, the checkpoint's {embeddings.shape[1]}."
            )
    asked = rows.regression
    return Measured(
        steps=steps,
        zero_shot=zero_shot,
        retrieval=retrieved,
        retrieval_by_label=by_label,
        regression=None
        if asked is None
        else measure_regression(
            embeddings, asked.numbers, asked.positive, asked.negative, card.logit_scale
        ),
        probes=probes,
        notes=tuple(notes),
    )
