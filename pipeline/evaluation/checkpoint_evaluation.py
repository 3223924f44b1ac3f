"""A checkpoint on labelled rows: its comparisons, and the metrics of its embeddings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.encoder.card import Card
from models.encoder.quantised_embeddings import is_valid
from models.errors import UserError
from models.towers.text_embeddings import embed_for_checkpoint, embed_words
from models.vocabulary.labels import UNMATCHED, Level, MatchedLabels, match_labels
from models.vocabulary.vocabulary import Vocabulary
from pipeline.evaluation.probes import LabelledEmbeddings, ProbeMetrics, measure_probes
from pipeline.evaluation.retrieval import Retrieval, retrieval
from pipeline.evaluation.samples import ALL, Samples, SampleSource, numbers_of
from pipeline.evaluation.zero_shot import (
    Correlation,
    ZeroShotClasses,
    ZeroShotMetrics,
    correlation,
    measure_zero_shot,
    prompt_score,
)

MOST_LEARNED = 50_000
"""The most rows, drawn at random, that probes learn from or are tuned on."""
MOST_RETRIEVED = 20_000
"""The most rows of a gallery: comparing them grows with the square."""

Embed = Callable[[np.ndarray], np.ndarray]
"""Series uint16 (n, 12, band) → embeddings float32 (n, dim)."""


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Rows, and the place of their class in a list, int64 (n,), or `UNMATCHED`."""

    samples: Samples
    classes: np.ndarray

    def embedded(self, embed: Embed) -> LabelledEmbeddings:
        """Embed the rows that have a class; those without a finite embedding are left out."""
        known = self.classes != UNMATCHED
        classes, blocks = self.classes[known], self.samples.blocks[known]
        embeddings, finite = embed_finite(embed, self.samples.series[known])
        return LabelledEmbeddings(embeddings, classes[finite], blocks[finite])


@dataclass(frozen=True, eq=False)
class ProbeRows:
    """The rows that probes learn from, are tuned on and tested on.

    `tuning` fits the logit scale, too. It is None where the split `validation` is what is tested:
    nothing is tuned on the rows that judge it.
    """

    train: LabelledSamples
    tuning: LabelledSamples | None
    test: LabelledSamples

    def embedded(
        self, embed: Embed
    ) -> tuple[LabelledEmbeddings, LabelledEmbeddings | None, LabelledEmbeddings]:
        """The embeddings of the three."""
        tuning = None if self.tuning is None else self.tuning.embedded(embed)
        return self.train.embedded(embed), tuning, self.test.embedded(embed)


@dataclass(frozen=True, eq=False)
class LabelComparison:
    """The labels of the evaluated rows, `matched` with the classes of a vocabulary at its level."""

    vocabulary: Vocabulary
    words: ZeroShotClasses
    matched: MatchedLabels


@dataclass(frozen=True, eq=False)
class PromptRegression:
    """Numbers float64 (n,) and the text embeddings, float32 (dim,), to correlate them with."""

    about: Mapping[str, Any]
    numbers: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


@dataclass(frozen=True, eq=False)
class EvaluationRows:
    """The evaluated rows of the split `part`, their comparisons, and the rows for probes.

    `notes` say why there are no `probe_rows`.
    """

    part: str
    evaluated: Samples
    comparison: LabelComparison | None
    regression: PromptRegression | None
    probe_rows: ProbeRows | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CheckpointMetrics:
    """The metrics of series of `steps` steps; None for what was not measured.

    `without_embedding` counts rows that are left out of all metrics, since their embedding is not
    finite. In `retrieval`, the right entries are a row's own partner and views that depict the
    same; in `retrieval_by_label`, all rows of the same class.
    """

    steps: int
    without_embedding: int
    zero_shot: ZeroShotMetrics | None
    retrieval: Retrieval | None
    retrieval_by_label: Retrieval | None
    regression: Correlation | None
    probes: ProbeMetrics | None
    notes: tuple[str, ...]


def compare_label(
    samples: Samples, label: str, vocabulary: Vocabulary, level: Level | None, card: Card
) -> LabelComparison:
    """Match a label with a vocabulary, and embed the vocabulary for a checkpoint.

    Args:
        samples: The evaluated rows.
        label: The column of their classes.
        vocabulary: The classes to compare with.
        level: Compare classes or parents; None for the level of the labels.
        card: The checkpoint's card.

    Raises:
        UserError: No row's label is a class of the vocabulary.
    """
    matched = match_labels(samples.labels[label], vocabulary, level)
    if not matched.known.any():
        seen = ", ".join(list(matched.unknown)[:5]) or "none at all"
        raise UserError(
            f"label {label!r}",
            f"none of {len(samples)} rows has a class of {vocabulary.name}; its labels are {seen}",
            "Name another column or vocabulary, or write one whose classes have these names",
        )
    at_level = vocabulary.model_copy(update={"level": matched.level})
    text = embed_for_checkpoint(at_level, card)
    return LabelComparison(at_level, ZeroShotClasses.of(at_level, text), matched)


def compare_numbers(
    samples: Samples,
    number: str,
    positive: tuple[str, ...],
    negative: tuple[str, ...],
    card: Card,
) -> PromptRegression:
    """Read the column `number`, and embed the prompts to compare it with for a checkpoint.

    Raises:
        UserError: Fewer than four rows have a number.
    """
    numbers = numbers_of(samples.labels[number], number)
    if np.isfinite(numbers).sum() < 4:
        raise UserError(
            f"label {number!r}",
            f"{int(np.isfinite(numbers).sum())} of {len(samples)} rows have a number",
            "Name a column of numbers",
        )
    return PromptRegression(
        {"number": number, "positive": list(positive), "negative": list(negative)},
        numbers,
        embed_words(positive, card),
        embed_words(negative, card),
    )


def read_probe_rows(
    source: SampleSource, part: str, label: str, vocabulary: Vocabulary, level: Level, seed: int
) -> ProbeRows:
    """Read the rows for probes.

    Probes are tested on `part` where that is held out, which is `validation` or `test`; else on
    `test`.

    Raises:
        UserError: The rows cannot be divided into splits.
    """

    def labelled(split: str, most: int | None = MOST_LEARNED) -> LabelledSamples:
        samples = source.read(split, most, seed)
        matched = match_labels(samples.labels[label], vocabulary, level)
        return LabelledSamples(samples, matched.index)

    return ProbeRows(
        train=labelled("train"),
        tuning=None if part == "validation" else labelled("validation"),
        test=labelled("test" if part in ("train", ALL) else part, None),
    )


def measure_checkpoint(
    rows: EvaluationRows,
    steps: int,
    embed: Embed,
    card: Card,
    regions: str | None,
    draws: int,
    seed: int,
) -> CheckpointMetrics:
    """Compute all metrics that these rows allow.

    Args:
        rows: The rows and their comparisons.
        steps: The number of steps that `embed` reduces series to.
        embed: The checkpoint's encoder.
        card: The checkpoint's card, for the logit scale of classes and of prompts.
        regions: The column of a row's region, None for no metrics by region.
        draws: The number of few-shot probes for each number of shots.
        seed: The seed of all random draws.

    Raises:
        UserError: No row has a finite embedding.
    """
    embeddings, finite = embed_finite(embed, rows.evaluated.series)
    if not finite.any():
        raise UserError(
            f"a series of {steps} steps",
            f"the embeddings of all {len(finite)} rows are not finite numbers",
            "Evaluate on a CPU, where numbers are float32, or use another checkpoint",
        )
    samples, notes = rows.evaluated.take(finite), list(rows.notes)
    lost = len(finite) - len(samples)
    if lost:
        notes.append(f"{lost:,} rows are left out: their embedding is not a finite number.")
    tuning, probes = None, None
    if rows.probe_rows is not None:
        train, tuning, test = rows.probe_rows.embedded(embed)
        try:
            probes = measure_probes(train, tuning, test, draws, seed)
        except ValueError as error:
            notes.append(f"No probes: {error}.")
    ground, keys = samples.ground, samples.keys
    if ground is not None and ground.shape[1] != embeddings.shape[1]:
        notes.append(
            f"No retrieval: the embeddings of ground views have {ground.shape[1]} dimensions, the "
            f"checkpoint's {embeddings.shape[1]}."
        )
        ground = None
    zero_shot = by_label = None
    if rows.comparison is not None:
        index = rows.comparison.matched.index[finite]
        known = index != UNMATCHED
        labelled = LabelledEmbeddings(embeddings, index, samples.blocks).take(known)
        if len(labelled):
            names = None if regions is None else list(samples.labels[regions][known])
            words = rows.comparison.words
            scale = card.logit_scale_of(rows.comparison.vocabulary.identity, steps)
            zero_shot = measure_zero_shot(words, labelled, tuning, names, scale)
            if ground is not None:
                of_class = labelled.classes[:, None]
                by_label = measure_retrieval(labelled.embeddings, ground[known], of_class, seed)
        else:
            notes.append("No comparison with labels: no labelled row is left.")
    return CheckpointMetrics(
        steps=steps,
        without_embedding=lost,
        zero_shot=zero_shot,
        retrieval=None
        if ground is None or keys is None
        else measure_retrieval(embeddings, ground, keys, seed),
        retrieval_by_label=by_label,
        regression=_regression(rows.regression, embeddings, finite, card.logit_scale, notes),
        probes=probes,
        notes=tuple(notes),
    )


def _regression(
    pair: PromptRegression | None,
    embeddings: np.ndarray,
    finite: np.ndarray,
    logit_scale: float,
    notes: list[str],
) -> Correlation | None:
    if pair is None:
        return None
    share = prompt_score(embeddings, pair.positive, pair.negative, logit_scale)
    try:
        return correlation(share, pair.numbers[finite])
    except ValueError as error:
        notes.append(f"No regression by prompts: {error}.")
        return None


def embed_finite(embed: Embed, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The embeddings of the rows that have a finite one, and which rows these are, bool (n,).

    On a GPU, the encoder's float16 products may overflow: then an embedding is not a number.
    """
    if not len(series):
        return np.empty((0, 1), np.float32), np.empty(0, bool)
    embeddings = embed(series)
    finite = is_valid(torch.from_numpy(embeddings)).numpy()
    return embeddings[finite], finite


def measure_retrieval(
    embeddings: np.ndarray, ground: np.ndarray, keys: np.ndarray, seed: int
) -> Retrieval:
    """Measure retrieval among at most `MOST_RETRIEVED` pairs, drawn at random."""
    rows = np.arange(len(embeddings))
    if len(rows) > MOST_RETRIEVED:
        rows = np.random.default_rng([seed, 6]).choice(rows, MOST_RETRIEVED, replace=False)
    return retrieval(embeddings[rows], ground[rows], keys[rows])
