"""`python -m pipeline.sample.train [OUT]`: train the sample checkpoint and write it with its card.

Contrastive training as in TimeSenCLIP (arXiv 2508.11919), with texts instead of photos: the
embedding of a synthetic pixel's series against that of a description of its class.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from models.distillation import shuffled_batches
from models.encoder.card import Card
from models.encoder.checkpoint import save_checkpoint
from models.encoder.preprocessing import AUTHORS, Preprocessing
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.pretraining.losses import InfoNCE
from models.pretraining.memory_bank import MemoryBank
from models.towers.text_tower import SentenceTower
from pipeline.sample.descriptions import DescriptionTexts, descriptions
from pipeline.sample.evaluation import calibrated_scale, evaluate_embeddings
from pipeline.sample.series import sample_series

ENCODER = TimeSenClipArchitecture(
    dim=96, depth=3, heads=4, feedforward=192, embedding_dim=384, dropout=0.05
)
PREPROCESSING = Preprocessing(
    bands=AUTHORS.bands,
    low=AUTHORS.low,
    high=AUTHORS.high,
    add=AUTHORS.add,
    gap_fill=AUTHORS.gap_fill,
    # Not 1 (defective), 3 (shadow), 8 to 10 (cloud), 11 (snow); dark areas (2) are woods as well.
    scl_keep=(2, 4, 5, 6, 7),
)
TRAINING_SEED = 11
_STEPS, _BATCH, _PIXELS = 800, 512, 96_000
_QUEUE, _TEMPERATURE, _RATE = 2048, 0.07, 1.5e-3
_TRAINING_SEEDS, _HELD_OUT_SEED, _HELD_OUT_PIXELS = range(1000, 1008), 2000, 24_000
_DESCRIPTION = (
    "For demonstration only: trained in minutes on made series of twelve classes, not on "
    "measurements. It maps the sample archive; of real land it knows no more than the made "
    "spectra and calendars of western Central Europe say. Do not use its maps of real places."
)


def train_sample_encoder(
    steps: int = _STEPS,
    pixels: int = _PIXELS,
    seed: int = TRAINING_SEED,
    config: TimeSenClipArchitecture = ENCODER,
    batch: int = _BATCH,
    rate: float = _RATE,
) -> tuple[TimeSenClipEncoder, Card]:
    """Train the encoder on the CPU and measure it on other seeds.

    Args:
        steps: Batches to learn from.
        pixels: Synthetic series to learn from.
        seed: The seed of weights and batches.
        config: The encoder's architecture; larger ones need smaller batches and a lower `rate`.
        batch: Pixels in a batch.
        rate: The highest learning rate.

    Returns:
        The encoder and its card.
    """
    torch.manual_seed(seed)
    started = time.monotonic()
    tower = SentenceTower()
    seen = [entry for entry in descriptions() if not entry.is_held_out]
    texts = DescriptionTexts(seen, tower.embed)
    drawn = [sample_series(seed, pixels // len(_TRAINING_SEEDS)) for seed in _TRAINING_SEEDS]
    lands, series = map(np.concatenate, zip(*drawn, strict=True))
    encoder = TimeSenClipEncoder(config).train()
    loss_of, bank = InfoNCE(_TEMPERATURE), MemoryBank(_QUEUE, config.embedding_dim)
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    rng = np.random.default_rng([seed, 1])
    for step, rows in enumerate(shuffled_batches(len(lands), batch, steps, rng)):
        land = lands[rows]
        chosen = texts.choose(land, rng)
        positives = texts.embeddings[chosen, rng.integers(0, texts.wordings, len(rows))]
        pixels_seen = encoder(_augmented(PREPROCESSING.normalise(series[rows]), rng))
        negatives = torch.cat([bank.negatives, texts.absent])
        true = torch.from_numpy(texts.is_true[:, bank.keys[: int(bank.filled)].numpy()][land])
        same = F.pad(true, (0, len(texts.absent)))
        loss = loss_of(pixels_seen, positives, negatives, same)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        bank.enqueue(positives, torch.from_numpy(chosen))
        if step % 200 == 0:
            seconds = time.monotonic() - started
            print(f"step {step:5d}  loss {loss.item():.3f}  {seconds:.0f} s", flush=True)
    encoder.eval()
    minutes = (time.monotonic() - started) / 60
    truth, unseen = sample_series(_HELD_OUT_SEED, _HELD_OUT_PIXELS)
    embeddings = _embed(encoder, unseen)
    scale = calibrated_scale(embeddings[::2], truth[::2], tower)
    metrics = evaluate_embeddings(embeddings[1::2], truth[1::2], tower, scale)
    training = {"steps": steps, "batch": batch, "seed": seed, "minutes": round(minutes, 1)}
    return encoder, _card(config, tower, scale, metrics, pixels, rate, training)


@torch.inference_mode()
def _embed(encoder: TimeSenClipEncoder, series: np.ndarray) -> np.ndarray:
    """Embeddings of series uint16 (n, month, band): float32 (n, dim)."""
    parts = [
        encoder(PREPROCESSING.normalise(part))
        for part in np.split(series, range(4096, len(series), 4096))
    ]
    return torch.cat(parts).numpy()


def _augmented(series: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change the calibration of series, and in every second one lose and fill some months.

    `series` is normalised, float32 (n, month, band). A lost month is filled by the median of the
    others, like a month without clear observations.
    """
    n, months, bands = series.shape
    gain = 1 + 0.05 * rng.standard_normal((n, 1, 1)) + 0.02 * rng.standard_normal((n, 1, bands))
    shift = 0.006 * rng.standard_normal((n, 1, bands))
    noise = 0.004 * rng.standard_normal((n, months, bands))
    varied = series * torch.from_numpy(gain).float() + torch.from_numpy(shift + noise).float()
    share = np.where(rng.uniform(size=(n, 1)) < 0.5, rng.uniform(0, 0.6, (n, 1)), 0.0)
    lost = torch.from_numpy(rng.uniform(size=(n, months)) < share)[:, :, None]
    left = varied.masked_fill(lost, torch.nan).nanmedian(dim=1, keepdim=True).values
    return torch.where(lost, left.nan_to_num(0.0), varied).clamp(0, 1)


def _card(
    config: TimeSenClipArchitecture,
    tower: SentenceTower,
    scale: float,
    metrics: dict[str, float],
    pixels: int,
    rate: float,
    training: dict[str, float],
) -> Card:
    return Card(
        name="sample",
        description=_DESCRIPTION,
        demonstration=True,
        architecture=config,
        preprocessing=PREPROCESSING,
        text_tower=tower.name,
        text_tower_revision=tower.revision,
        logit_scale=scale,
        training={
            "data": f"{pixels} made monthly series of 12 classes (pipeline.sample.series, seeds "
            f"{_TRAINING_SEEDS[0]} to {_TRAINING_SEEDS[-1]}); none of them measured",
            "text": "descriptions of pipeline.sample.descriptions in the paper's templates; some "
            "wordings of every class held out",
            "loss": f"InfoNCE, memory bank of {_QUEUE}, temperature {_TEMPERATURE}; descriptions "
            "that are true of a pixel are none of its negatives",
            "augmentation": "gain, shift and noise of the bands; months lost and filled by the "
            "median; a month keeps its own position",
            "optimiser": f"AdamW, one cycle to {rate}, weight decay 0.01",
            **training,
            "device": "CPU",
            "command": "python -m pipeline.sample.train",
        },
        metrics=metrics,
        licence="Apache-2.0",
    )


def main() -> None:
    """Train, write the checkpoint, and print its metrics."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.sample.train", description=__doc__)
    out = Path("sample-checkpoint")
    parser.add_argument("out", type=Path, nargs="?", default=out, help=f"default: {out}")
    parser.add_argument("--steps", type=int, default=_STEPS)
    parser.add_argument("--pixels", type=int, default=_PIXELS)
    options = parser.parse_args()
    encoder, card = train_sample_encoder(options.steps, options.pixels)
    save_checkpoint(options.out, encoder, card, replace=True)
    for name, value in card.metrics.items():
        print(f"{name:55s} {value}")
    print(f"logit scale {card.logit_scale}; {card.training['minutes']} minutes; {options.out}")


if __name__ == "__main__":
    main()
