"""Students: a far smaller encoder, trained to give a teacher's embeddings.

The teacher is the cost, so it labels a bank of series once, and the student goes through the bank
many times. The bank holds the given series and many more that lie between and around them: what is
varied is varied before the teacher sees it, so every label is exact.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from models.encoder.checkpoint import Card, Checkpoint
from models.encoder.encoder import Encoder, EncoderConfig
from models.encoder.inference import Progress, device_at_hand, embed_all
from models.errors import CheckpointError

_RATE, _DECAY, _WARM, _STEEPEST = 3e-3, 0.01, 0.15, 1.0
_VARIED = 8192  # series varied at once, which bounds the memory


@dataclass(frozen=True, eq=False)
class Bank:
    """What a student learns from: series uint16 (n, 12, band), the teacher's embeddings of them.

    `embeddings` is float32 (n, dim), of unit length, on the CPU.
    """

    series: np.ndarray
    embeddings: torch.Tensor


def student_config(
    teacher: Card, dim: int = 128, depth: int = 2, heads: int = 4, feedforward: int = 128
) -> EncoderConfig:
    """A student's sizes: it takes and gives what the teacher does.

    Raises CheckpointError where no encoder of these sizes can be built.
    """
    try:
        return replace(
            teacher.architecture,
            dim=dim,
            depth=depth,
            heads=heads,
            feedforward=feedforward,
            dropout=0.0,
        )
    except CheckpointError as error:
        raise CheckpointError("the student's sizes", error.problem, "Give others") from None


def distil(
    teacher: Checkpoint,
    series: np.ndarray,
    config: EncoderConfig,
    *,
    bank: int = 60_000,
    steps: int = 2000,
    batch: int = 512,
    seed: int = 0,
    text: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Encoder:
    """An encoder of other sizes that gives the teacher's embeddings, in eval mode, on the CPU.

    `series` is uint16 (n, 12, band), as the teacher takes them; `bank` and the rest as in `label`
    and `train_student`, which this does one after the other. On one thread of a CPU a seed gives
    the same student each time.
    """
    labelled = label(teacher, series, bank, seed)
    return train_student(
        labelled, teacher.card, config,
        steps=steps, batch=batch, seed=seed, text=text, progress=progress,
    )  # fmt: skip


def label(
    teacher: Checkpoint,
    series: np.ndarray,
    count: int,
    seed: int,
    progress: Progress | None = None,
) -> Bank:
    """The bank of `count` series, of which most are varied, labelled by the teacher.

    On the device at hand. `series` is uint16 (n, 12, band).
    """
    made = varied(series, count, np.random.default_rng([seed, 1]))
    return Bank(made, embed_all(teacher, made, progress))


def train_student(
    bank: Bank,
    teacher: Card,
    config: EncoderConfig,
    *,
    steps: int,
    batch: int,
    seed: int,
    text: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Encoder:
    """Train an encoder on a bank, on the device at hand; gives it in eval mode, on the CPU.

    The loss is 1 − cosine to the teacher's embedding. With `text`, float32 (class, dim), of unit
    length, the divergence (Kullback-Leibler) of the student's softmax over these texts from the
    teacher's comes on top, at the logit scale of the teacher's card: differences count most where
    they change a class (Hinton et al. 2015). AdamW, one cycle. Raises CheckpointError where the
    loss is no number.
    """
    device = device_at_hand()
    torch.manual_seed(seed)
    student = Encoder(config).to(device).train()
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
                f"at step {step + 1} of {steps} its loss is no number",
                "See that the teacher's embeddings of these series are finite, or take another "
                "seed or smaller sizes",
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), _STEEPEST)
        optimiser.step()
        schedule.step()
        if progress is not None:
            progress((step + 1) / steps)
    return student.eval().cpu()


def varied(series: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` series of those given, uint16 (count, 12, band), each taken as often as any other.

    A quarter stay as they are. Of the others, half are mixtures with another, shifted by up to two
    months; all have bands and months that are brighter or darker, and noise; every second has
    months that are lost and take the median of those left, as a month without clear observations
    does.
    """
    turns = -(-count // len(series))
    order = np.concatenate([rng.permutation(len(series)) for _ in range(turns)])[:count]
    made = np.empty((count, *series.shape[1:]), np.uint16)
    for start in range(0, count, _VARIED):
        rows = order[start : start + _VARIED]
        others = rng.integers(0, len(series), len(rows))
        made[start : start + _VARIED] = _varied(series[rows], series[others], rng)
    return made


def _varied(own: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n, months, bands = own.shape
    # The other's season may be some weeks off.
    month = (np.arange(months) + rng.integers(-2, 3, (n, 1))) % months
    others = np.take_along_axis(others, month[:, :, None], axis=1)
    share = rng.uniform(0, 1, (n, 1, 1)) * (rng.uniform(size=(n, 1, 1)) < 0.5)
    values = own + share * (others.astype(np.float32) - own)
    gain = 1 + 0.12 * rng.standard_normal((n, 1, 1)) + 0.06 * rng.standard_normal((n, 1, bands))
    gain = gain + 0.04 * rng.standard_normal((n, months, 1))
    noise = 15 + 0.03 * values * (rng.uniform(size=(n, 1, 1)) < 0.5)
    values = values * gain + noise * rng.standard_normal((n, months, bands))
    least = rng.uniform(0, 0.6, (n, 1)) * (rng.uniform(size=(n, 1)) < 0.5)
    lost = (rng.uniform(size=(n, months)) < least)[:, :, None]
    lost &= ~lost.all(axis=1, keepdims=True)
    left = np.nanmedian(np.where(lost, np.nan, values), axis=1, keepdims=True)
    values = np.where(lost, left, values)
    values = np.where(rng.uniform(size=(n, 1, 1)) < 0.25, own, values)
    return np.clip(np.round(values), 1, np.iinfo(np.uint16).max).astype(np.uint16)  # 0 is nodata


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


def _loss(found: torch.Tensor, wanted: torch.Tensor, words: torch.Tensor | None) -> torch.Tensor:
    """`words` are text embeddings times the logit scale, (dim, class)."""
    apart = 1 - (found * wanted).sum(dim=1).mean()
    if words is None:
        return apart
    return apart + F.kl_div(
        F.log_softmax(found @ words, dim=1),
        F.log_softmax(wanted @ words, dim=1),
        reduction="batchmean",
        log_target=True,
    )
