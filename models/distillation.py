"""Distillation: a far smaller encoder, the student, learns to give a teacher's embeddings.

The teacher is the cost, so it labels a bank of series once, and the student goes through the bank
many times. The bank holds the original series and many more that lie between and around them. They
are varied before the teacher embeds them, so every label is exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from models.encoder.card import Card
from models.encoder.checkpoint import Checkpoint
from models.encoder.inference import Progress, device_at_hand, embed_all
from models.encoder.preprocessing import AUTHORS, Preprocessing
from models.encoder.registry import make_architecture, new_encoder, require_buildable
from models.encoder.series_encoder import Architecture, SeriesEncoder
from models.errors import CheckpointError
from models.pretraining.row_random import RowDraws
from models.pretraining.variations import (
    AnotherYear,
    LostBands,
    LostMonths,
    Others,
    Reflectance,
    ShiftedCalendar,
    Variation,
    vary_series,
)
from models.towers.text_embeddings import TextEmbeddings

_RATE, _DECAY, _WARM_UP, _GRADIENT_LIMIT = 3e-3, 0.01, 0.15, 1.0
_AT_ONCE = 1024  # series varied at once: a mixture is of two of these
_UNCHANGED = 0.25  # share of the bank
_VARIATIONS = (
    AnotherYear(probability=0.5, share=1.0),
    ShiftedCalendar(probability=0.5, months=1.0),
    Reflectance(gain=0.12, band_gain=0.06, month_gain=0.04, shift=0.0, noise=0.003),
    LostMonths(probability=0.5, share=0.6),
)


@dataclass(frozen=True, eq=False)
class Bank:
    """The series that a student learns from, and their labels.

    Attributes:
        series: uint16 (n, 12, band).
        embeddings: The teacher's, float32 (n, dim), of unit length, on the CPU.
        left_out: The number of series for which the teacher gave no finite embedding.
    """

    series: np.ndarray
    embeddings: torch.Tensor
    left_out: int = 0


def student_architecture(
    teacher: Card, dim: int = 128, depth: int = 2, heads: int = 4, feedforward: int = 128
) -> Architecture:
    """A student's architecture: a TimeSenCLIP encoder that takes and gives what the teacher does.

    Raises:
        CheckpointError: No encoder of these sizes can be built.
    """
    ends = ("bands", "months", "embedding_dim")
    sizes = {"dim": dim, "depth": depth, "heads": heads, "feedforward": feedforward, "dropout": 0.0}
    try:
        own = make_architecture({n: getattr(teacher.architecture, n) for n in ends} | sizes)
        require_buildable(own)
    except CheckpointError as error:
        raise CheckpointError("the student's sizes", error.problem, "Give others") from None
    return own


def label_series(
    teacher: Checkpoint, series: np.ndarray, count: int, seed: int, progress: Progress | None = None
) -> Bank:
    """Make a bank of `count` series, most of them varied, and label it on the device at hand.

    `series` is uint16 (n, 12, band), as the teacher takes them; `seed` that of the variations. A
    series whose embedding is not finite, such as where a float16 product overflowed on a GPU, is
    left out and counted.

    Raises:
        CheckpointError: The teacher gives no finite embedding at all.
    """
    varied = vary_bank(series, count, seed, teacher.card.preprocessing)
    embeddings = embed_all(teacher, varied, progress)
    finite = embeddings.isfinite().all(dim=1)
    if not finite.any():
        raise CheckpointError(
            f"teacher {teacher.card.name}",
            f"its embeddings of all {count} series are not finite numbers",
            "Choose another teacher, or series of reflectance × 10000",
        )
    return Bank(varied[finite.numpy()], embeddings[finite], int((~finite).sum()))


def train_student(
    bank: Bank,
    teacher: Card,
    architecture: Architecture,
    *,
    steps: int,
    batch: int,
    seed: int,
    text: TextEmbeddings | None = None,
    logit_scale: float | None = None,
    progress: Progress | None = None,
) -> SeriesEncoder:
    """Train an encoder on a bank, on the device at hand, by AdamW in one cycle.

    The loss is 1 − cosine to the teacher's embedding. With `text`, the divergence
    (Kullback-Leibler) of the student's softmax over these classes from the teacher's is added, at
    `logit_scale`, by default that of the teacher's card: differences count most where they change a
    class (Hinton et al. 2015). As on a map, the nearest member of a class counts, and each
    background prompt is a class.

    It learns from `steps` batches of `batch` series. `seed` determines the first weights and the
    order of the series: on one thread of a CPU, a seed gives the same student each time.

    Returns:
        The student, in eval mode, on the CPU.

    Raises:
        CheckpointError: The loss is not a finite number.
    """
    device = device_at_hand()
    torch.manual_seed(seed)
    student = new_encoder(architecture).to(device).train()
    inputs = teacher.preprocessing.normalise(bank.series).to(device)
    targets = bank.embeddings.to(device)
    scale = teacher.logit_scale if logit_scale is None else logit_scale
    words = None if text is None else _Words.of(text, scale, device)
    optimiser = torch.optim.AdamW(student.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _RATE, total_steps=steps, pct_start=_WARM_UP
    )
    order = np.random.default_rng([seed, 2])
    for step, rows in enumerate(shuffled_batches(len(inputs), batch, steps, order)):
        chosen = torch.from_numpy(rows).to(device)
        loss = _loss(student(inputs[chosen]), targets[chosen], words)
        if not torch.isfinite(loss):
            raise CheckpointError(
                f"a student of {teacher.name}",
                f"at step {step + 1} of {steps} its loss is not a number",
                "Take another seed or smaller sizes",
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), _GRADIENT_LIMIT)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress((step + 1) / steps)
    return student.eval().cpu()


def vary_bank(
    series: np.ndarray, count: int, seed: int, preprocessing: Preprocessing = AUTHORS
) -> np.ndarray:
    """Make `count` series out of some, uint16 (n, 12, band) without gaps, each used equally often.

    A quarter stay as they are. Half of the others are mixtures with another series; all have
    another reflectance; every second is shifted in time, and every second has lost months. If
    `preprocessing` has optional bands, every second lacks some of them.

    Returns:
        uint16 (count, 12, band); 0 is a band that a series lacks.
    """
    variations: tuple[Variation, ...] = _VARIATIONS
    if optional := preprocessing.optional_bands:
        groups = tuple((band,) for band in optional)
        variations = (*_VARIATIONS, LostBands(probability=0.5, groups=groups))
    rng = np.random.default_rng([seed, 1])
    rounds = -(-count // len(series))
    order = np.concatenate([rng.permutation(len(series)) for _ in range(rounds)])[:count]
    made = np.empty((count, *series.shape[1:]), np.uint16)
    for step, start in enumerate(range(0, count, _AT_ONCE)):
        own = torch.from_numpy(series[order[start : start + _AT_ONCE]].astype(np.float32))
        draws = RowDraws(seed, step, 0, len(own))
        keys = torch.zeros(len(own), dtype=torch.long)
        others = Others(keys, 0, lambda rows: rows, preprocessing.bands)
        varied = vary_series(own, variations, draws, others)
        varied = torch.where(draws.chance(_UNCHANGED)[:, None, None], own, varied)
        stored = varied.round().clamp(0, np.iinfo(np.uint16).max)
        made[start : start + _AT_ONCE] = stored.numpy().astype(np.uint16)
    return made


def shuffled_batches(
    count: int, batch: int, steps: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The rows of each of so many batches of `count` rows; every row once before any comes again.

    Rows that do not fill a batch are left out until the next shuffle.
    """
    batch = min(batch, count)
    order, start = rng.permutation(count), 0
    for _ in range(steps):
        if start + batch > count:
            order, start = rng.permutation(count), 0
        yield order[start : start + batch]
        start += batch


@dataclass(frozen=True)
class _Words:
    """Text embeddings times the logit scale, (dim, text), and the class of each, int64 (text,)."""

    scaled: torch.Tensor
    class_index: torch.Tensor
    classes: int

    @classmethod
    def of(cls, text: TextEmbeddings, logit_scale: float, device: torch.device) -> "_Words":
        texts, class_index = text.with_background()
        return cls(
            torch.from_numpy(texts).to(device).T * logit_scale,
            torch.from_numpy(class_index).to(device),
            int(class_index[-1]) + 1,
        )

    def log_softmax(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The logarithms of the classes' confidences: (series, class)."""
        logits = embeddings @ self.scaled
        if logits.shape[1] > self.classes:
            places = self.class_index.expand_as(logits)
            least = logits.new_full((len(logits), self.classes), -torch.inf)
            logits = least.scatter_reduce(1, places, logits, "amax")
        return F.log_softmax(logits, dim=1)


def _loss(student: torch.Tensor, teacher: torch.Tensor, words: _Words | None) -> torch.Tensor:
    distance = 1 - (student * teacher).sum(dim=1).mean()
    if words is None:
        return distance
    return distance + F.kl_div(
        words.log_softmax(student),
        words.log_softmax(teacher),
        reduction="batchmean",
        log_target=True,
    )
