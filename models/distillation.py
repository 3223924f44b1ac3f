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

from models.encoder.checkpoint import Card, Checkpoint
from models.encoder.inference import Progress, device_at_hand, embed_all
from models.encoder.registry import make_architecture, new_encoder
from models.encoder.series_encoder import Architecture, SeriesEncoder
from models.errors import CheckpointError
from models.pretraining.row_random import RowDraws
from models.pretraining.variations import (
    AnotherYear,
    LostMonths,
    Others,
    Reflectance,
    ShiftedCalendar,
    vary_series,
)

_RATE, _DECAY, _WARM, _MOST_GRADIENT = 3e-3, 0.01, 0.15, 1.0
_AT_ONCE = 1024  # series varied at once: a mixture is of two of these
_AS_GIVEN = 0.25  # of the bank stays as it is
_VARIATIONS = (
    AnotherYear(probability=0.5, share=1.0),
    ShiftedCalendar(probability=0.5, months=1.0),
    Reflectance(gain=0.12, band_gain=0.06, month_gain=0.04, shift=0.0, noise=0.003),
    LostMonths(probability=0.5, share=0.6),
)


@dataclass(frozen=True, eq=False)
class Bank:
    """The series that a student learns from, uint16 (n, 12, band), and their labels.

    The labels are the teacher's `embeddings`: float32 (n, dim), of unit length, on the CPU.
    """

    series: np.ndarray
    embeddings: torch.Tensor


def student_architecture(
    teacher: Card, dim: int = 128, depth: int = 2, heads: int = 4, feedforward: int = 128
) -> Architecture:
    """A student's architecture: a TimeSenCLIP encoder that takes and gives what the teacher does.

    Raises:
        CheckpointError: No encoder of these sizes can be built.
    """
    ends = teacher.architecture
    sizes = {"dim": dim, "depth": depth, "heads": heads, "feedforward": feedforward, "dropout": 0.0}
    try:
        return make_architecture(
            {
                "bands": ends.bands,
                "months": ends.months,
                "embedding_dim": ends.embedding_dim,
                **sizes,
            }
        )
    except CheckpointError as error:
        raise CheckpointError("the student's sizes", error.problem, "Give others") from None


def distil(
    teacher: Checkpoint,
    series: np.ndarray,
    architecture: Architecture,
    *,
    bank: int = 60_000,
    steps: int = 2000,
    batch: int = 512,
    seed: int = 0,
    text: np.ndarray | None = None,
    progress: Progress | None = None,
) -> SeriesEncoder:
    """Make a student: `label_series` and `train_student`, one after the other.

    On one thread of a CPU a seed gives the same student each time.

    Args:
        teacher: A checkpoint.
        series: uint16 (n, 12, band), as the teacher takes them.
        architecture: The student's.
        bank: How many series the teacher labels.
        steps: As in `train_student`, and so for what follows.
        batch: Series of a step.
        seed: Of all that is drawn.
        text: Text embeddings, float32 (class, dim).
        progress: Called with the share that is done.

    Returns:
        The student, in eval mode, on the CPU.
    """
    labelled = label_series(teacher, series, bank, seed)
    return train_student(
        labelled, teacher.card, architecture,
        steps=steps, batch=batch, seed=seed, text=text, progress=progress,
    )  # fmt: skip


def label_series(
    teacher: Checkpoint,
    series: np.ndarray,
    count: int,
    seed: int,
    progress: Progress | None = None,
) -> Bank:
    """Make a bank of `count` series, most of them varied, and label it on the device at hand.

    `series` is uint16 (n, 12, band).
    """
    made = vary_bank(series, count, seed)
    return Bank(made, embed_all(teacher, made, progress))


def train_student(
    bank: Bank,
    teacher: Card,
    architecture: Architecture,
    *,
    steps: int,
    batch: int,
    seed: int,
    text: np.ndarray | None = None,
    progress: Progress | None = None,
) -> SeriesEncoder:
    """Train an encoder on a bank, on the device at hand, by AdamW in one cycle.

    The loss is 1 − cosine to the teacher's embedding. With `text`, the divergence
    (Kullback-Leibler) of the student's softmax over these texts from the teacher's is added, at the
    logit scale of the teacher's card: differences count most where they change a class
    (Hinton et al. 2015).

    Args:
        bank: The series and their labels.
        teacher: The teacher's card.
        architecture: The student's.
        steps: Batches that it learns from.
        batch: Series of a batch.
        seed: Of the first weights and of the order of series.
        text: Text embeddings, float32 (class, dim) of unit length.
        progress: Called with the share that is done.

    Returns:
        The student, in eval mode, on the CPU.

    Raises:
        CheckpointError: The loss is not a number.
    """
    device = device_at_hand()
    torch.manual_seed(seed)
    student = new_encoder(architecture).to(device).train()
    inputs = teacher.preprocessing.normalise(bank.series).to(device)
    targets = bank.embeddings.to(device)
    words = None if text is None else torch.from_numpy(text).to(device).T * teacher.logit_scale
    optimiser = torch.optim.AdamW(student.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _RATE, total_steps=steps, pct_start=_WARM
    )
    for step, rows in enumerate(_rows(len(inputs), batch, steps, seed)):
        chosen = torch.from_numpy(rows).to(device)
        loss = _loss(student(inputs[chosen]), targets[chosen], words)
        if not torch.isfinite(loss):
            raise CheckpointError(
                f"a student of {teacher.name}",
                f"at step {step + 1} of {steps} its loss is not a number",
                "See that the teacher's embeddings of these series are finite, or take another "
                "seed or smaller sizes",
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), _MOST_GRADIENT)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress((step + 1) / steps)
    return student.eval().cpu()


def vary_bank(series: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Make `count` series of those given, each of which is taken as often as any other.

    A quarter stay as they are. Half of the others are mixtures with another series; all have
    another reflectance; every second is shifted in time, and every second has lost months.

    Args:
        series: uint16 (n, 12, band), without gaps.
        count: How many to make.
        seed: Of all that is drawn.

    Returns:
        uint16 (count, 12, band), 1 or more.
    """
    rng = np.random.default_rng([seed, 1])
    turns = -(-count // len(series))
    order = np.concatenate([rng.permutation(len(series)) for _ in range(turns)])[:count]
    made = np.empty((count, *series.shape[1:]), np.uint16)
    for step, start in enumerate(range(0, count, _AT_ONCE)):
        own = torch.from_numpy(series[order[start : start + _AT_ONCE]].astype(np.float32))
        draws = RowDraws(seed, step, 0, len(own))
        alike = Others(torch.zeros(len(own), dtype=torch.long), 0, lambda rows: rows)
        varied = vary_series(own, _VARIATIONS, draws, alike)
        varied = torch.where(draws.chance(_AS_GIVEN)[:, None, None], own, varied)
        stored = varied.round().clamp(1, np.iinfo(np.uint16).max)  # 0 is nodata
        made[start : start + _AT_ONCE] = stored.numpy().astype(np.uint16)
    return made


def _rows(count: int, batch: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """The rows of each step, every row once before any comes again."""
    rng = np.random.default_rng([seed, 2])
    batch = min(batch, count)
    order, place = rng.permutation(count), 0
    for _ in range(steps):
        if place + batch > count:
            order, place = rng.permutation(count), 0
        yield order[place : place + batch]
        place += batch


def _loss(student: torch.Tensor, teacher: torch.Tensor, words: torch.Tensor | None) -> torch.Tensor:
    """The loss of embeddings; `words` are text embeddings times the logit scale, (dim, class)."""
    distance = 1 - (student * teacher).sum(dim=1).mean()
    if words is None:
        return distance
    return distance + F.kl_div(
        F.log_softmax(student @ words, dim=1),
        F.log_softmax(teacher @ words, dim=1),
        reduction="batchmean",
        log_target=True,
    )
