"""Which distance tells series that are unlike a training from series like it?

`python -m tests.benchmarks.bench_unlike_training`; some three minutes of one core.
Writes tests/benchmarks/results/unlike-training.md. An encoder is trained by the recipe of
`real-land` on French and Flemish points without a fold of blocks of 50 km, which is the land like
the training. Unlike it are real land of other continents, water, clouds, snow, saturated series and
made nonsense. Each is compared by its distance to the nearest training series.
"""

import argparse
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from models.encoder.perceptron import PerceptronEncoder
from models.encoder.preprocessing import AUTHORS, BANDS, Preprocessing
from models.encoder.quantised_embeddings import quantised, restored
from models.encoder.series_encoder import SeriesEncoder
from models.encoder.series_months import fill_gaps
from models.encoder.training_sample import (
    SAMPLE_SIZE,
    TrainingDistance,
    nearest_distance,
    sample_training,
)
from pipeline.real_land.calendars import last_years
from pipeline.real_land.rows import drawn_rows
from pipeline.real_land.tables import read_labelled_points
from pipeline.training_set.spatial_split import folds
from tests.benchmarks.real_land import trained_on

RESULT = Path(__file__).parent / "results" / "unlike-training.md"
COMMAND = "python -m tests.benchmarks.bench_unlike_training"
_SHARED = Path(os.environ.get("TIMESEN_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
_FOLDS, _BLOCK_KM, _MOST = 5, 50.0, 1500
_TABLES = ("france_2022_monthly", "france_2023_dekadal", "flanders_2021_monthly")
_REAL = 8  # sets of real land, which come first
_TIMED = 20_000  # pixels
_LIKE = "like the training"
_SIZES = (250, 500, 1000, 2000)
_NONE = 65535
Series = dict[str, np.ndarray]
Spaces = dict[str, np.ndarray]


def foreign_land(rng: np.random.Generator) -> Series:
    """Real series of other continents: float32 (n, 12, band), 0 = missing."""
    us, us_land = _read("us_2021_dekadal")
    rondonia, _ = _read("rondonia_2018_16day")
    lesotho, lesotho_land = _read("lesotho_2021_bimonthly")
    africa, _ = _read("africa_2019_halfyear")
    found = {
        "US: crops and towns": us[us_land != "Open Water"],
        "US: rice": us[us_land == "Rice"],
        "US: almonds": us[us_land == "Almonds"],
        "US: water": us[us_land == "Open Water"],
        "Rondônia: forest and pasture": rondonia,
        "Lesotho, every second month": lesotho[lesotho_land != "Water"],
        "Lesotho: water": lesotho[lesotho_land == "Water"],
        "Africa, two half-years": africa,
    }
    return {name: series[rng.permutation(len(series))[:_MOST]] for name, series in found.items()}


def made_series(like: np.ndarray, inputs: Preprocessing, rng: np.random.Generator) -> Series:
    """Series that no land has, some made of `like`: float32 (n, 12, band)."""
    filled = fill_gaps(torch.from_numpy(like)).numpy()
    shape = (len(filled), 12, len(BANDS))
    top = np.array(inputs.low) + np.array(inputs.high)
    months = rng.permuted(np.broadcast_to(np.arange(12), shape[:2]), axis=1)[:, :, None]
    bands = rng.permuted(np.broadcast_to(np.arange(shape[2]), (len(filled), shape[2])), axis=1)
    snow = filled.copy()
    bright = np.array([8500, 8400, 8300, 8200, 8100, 8000, 7900, 7800, 1000, 900])
    snow[:, [0, 1, 2, 10, 11]] = rng.normal(bright, 300, (len(filled), 5, shape[2]))
    dark = np.array([400, 350, 250, 200, 150, 140, 120, 120, 60, 50])
    cloud = rng.normal(7000, 800, (shape[0], 1, 1)) + rng.normal(0, 800, (*shape[:2], 1))
    made = {
        "months shuffled": np.take_along_axis(filled, months, axis=1),
        "bands shuffled": np.take_along_axis(filled, bands[:, None], axis=2),
        "1.6 times as bright": 1.6 * filled,
        "noise": rng.uniform(0, 1, shape) * top,
        "cloud": cloud + rng.normal(0, 150, shape),
        "five months of snow": snow,
        "clear deep water": dark * rng.uniform(0.5, 1.5, (shape[0], 1, 1))
        + rng.normal(0, 9, shape),
        "saturated": np.full(shape, 15_000.0),
    }
    return {name: np.clip(values, 1, 20_000).astype(np.float32) for name, values in made.items()}


@torch.inference_mode()
def spaces(encoder: SeriesEncoder, inputs: Preprocessing, series: np.ndarray) -> Spaces:
    """The places of series (n, 12, band) in each space in which distances are compared."""
    assert isinstance(encoder, PerceptronEncoder)
    filled = fill_gaps(torch.from_numpy(np.ascontiguousarray(series)))
    normalised = inputs.normalise(filled)
    last: list[torch.Tensor] = []
    hook = encoder.norm.register_forward_hook(lambda _, __, out: last.append(out))
    embedding = encoder(normalised)
    hook.remove()
    relative = filled / torch.tensor(inputs.high)
    return {
        "embedding": embedding.numpy(),
        "last layer": last[0].numpy(),
        "input": normalised.flatten(1).numpy(),
        "input, log": torch.log(relative + 0.01).flatten(1).numpy(),
    }


def distances(train: Spaces, judged: Mapping[str, Spaces]) -> dict[str, dict[str, np.ndarray]]:
    """By space and name, the distance of each series to the nearest training series."""
    found = {}
    for space, places in train.items():
        nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(places)
        found[space] = {
            name: nearest.kneighbors(own[space])[0][:, 0] for name, own in judged.items()
        }
    return found


def separation(like: np.ndarray, unlike: np.ndarray) -> tuple[float, float]:
    """The area under the ROC curve, and the share of `unlike` beyond 95 % of `like`."""
    truth = np.repeat([0, 1], [len(like), len(unlike)])
    beyond = float((unlike > np.percentile(like, 95)).mean())
    return float(roc_auc_score(truth, np.concatenate((like, unlike)))), beyond


def fold_results(fold: int) -> tuple[dict[str, dict[str, tuple[float, float]]], list[str]]:
    """The separation by space and set of a fold, and a table of samples of its embeddings."""
    torch.set_num_threads(1)
    points, inputs = read_labelled_points(_SHARED / "real", _TABLES), AUTHORS
    parts = folds(points.lon, points.lat, _FOLDS, _BLOCK_KM, 0)
    own, others = points.take(parts != fold), points.take(parts == fold)
    encoder, rng = trained_on(own, fold), np.random.default_rng(fold)
    like = last_years(others).astype(np.float32)
    sets = {_LIKE: like, **foreign_land(rng), **made_series(like, inputs, rng)}
    seen = drawn_rows(own, rng, 1).series.astype(np.float32)
    train = spaces(encoder, inputs, seen)
    judged = {name: spaces(encoder, inputs, series) for name, series in sets.items()}
    found = {
        space: {n: separation(of[_LIKE], d) for n, d in of.items() if n != _LIKE}
        for space, of in distances(train, judged).items()
    }
    embeddings = {name: own["embedding"] for name, own in judged.items()}
    return found, list(samples_table(train["embedding"], embeddings))


def samples_table(train: np.ndarray, judged: Mapping[str, np.ndarray]) -> Iterator[str]:
    """A table of what samples of the training embeddings lose and take."""
    whole, like = torch.from_numpy(train), judged[_LIKE]
    drawn = torch.Generator().manual_seed(0)
    many = whole.repeat(-(-_TIMED // len(whole)), 1)[:_TIMED]
    yield "| sample | embeddings | mean AUROC | pixels a second, one thread |"
    yield "|---|---:|---:|---:|"
    for size in (*_SIZES, len(whole)):
        spread = sample_training(train, like, size=size)
        random = quantised(whole[torch.randperm(len(whole), generator=drawn)[:size]]).numpy()
        for way, sample in (
            ("half at random, half farthest points", spread),
            ("at random", replace(spread, stored=random)),
        ):
            kept = restored(torch.from_numpy(sample.stored))
            base = nearest_distance(torch.from_numpy(like), kept).numpy()
            scores = [
                separation(base, nearest_distance(torch.from_numpy(other), kept).numpy())[0]
                for name, other in judged.items()
                if name != _LIKE
            ]
            distance, began = TrainingDistance(sample, torch.device("cpu")), time.perf_counter()
            distance.percent(many)
            speed = _TIMED / (time.perf_counter() - began)
            yield f"| {way} | {len(kept):,} | {np.mean(scores):.3f} | {speed:,.0f} |"


def document(
    fold: int, found: Mapping[str, Mapping[str, tuple[float, float]]], samples: Sequence[str]
) -> str:
    """The tables of a fold."""
    spaces_of, names = list(found), list(next(iter(found.values())))
    rows = []
    for name in names:
        cells = " | ".join(f"{found[s][name][0]:.3f} / {found[s][name][1]:.0%}" for s in spaces_of)
        rows.append(f"| {name} | {cells} |")
    for title, some in (("mean, real land", names[:_REAL]), ("mean, made", names[_REAL:])):
        means = [np.mean([found[space][name] for name in some], axis=0) for space in spaces_of]
        rows.append(f"| **{title}** | {' | '.join(f'{a:.3f} / {b:.0%}' for a, b in means)} |")
    return "\n".join(
        [
            "# Telling what is unlike the training",
            "",
            f"Made by `{COMMAND}`, fold {fold} of {_FOLDS} (blocks of {_BLOCK_KM:g} km) of French",
            "and Flemish points: an encoder trained by `pipeline/real_land/recipe.toml` on the",
            "others. A series is judged by its distance to the nearest training series. Each cell:",
            "the area under the ROC curve (AUROC) of these series against those of the held-out",
            "fold, which are like the training / their share beyond 95 % of the held-out fold.",
            "French series have no B8A, most others have it: this alone shows them in `input`.",
            "",
            f"| series | {' | '.join(spaces_of)} |",
            f"|---|{'---:|' * len(spaces_of)}",
            *rows,
            "",
            "`embedding` is the cosine distance, which the raster `unlike-training` uses; `last",
            "layer` the Euclidean distance of the encoder's last layer, `input` that of normalised",
            "series, `input, log` that of the logarithm of reflectance.",
            "",
            "## Samples of the training",
            "",
            f"The raster compares with a sample of {SAMPLE_SIZE:,} embeddings, chosen half at",
            "random, half as farthest points.",
            "",
            *samples,
            "",
        ]
    )


def _read(table: str) -> tuple[np.ndarray, np.ndarray]:
    """Series float32 (n, 12, band), 0 = missing, of the medians of months, and their labels."""
    rows = pd.read_parquet(_SHARED / "real" / f"{table}.parquet")
    # B08 stands for B8A, as in the tables that are trained on: the band is no hint.
    stored = ["B08" if band == "B8A" else band for band in BANDS]
    values = rows[list(dict.fromkeys(stored))].astype(float)
    month = rows["timestamp"].dt.month
    medians = values.mask(values == _NONE).groupby([rows["sample_id"], month]).median()
    points = list(dict.fromkeys(rows["sample_id"]))
    index = pd.MultiIndex.from_product([points, range(1, 13)])
    series = medians.reindex(index)[stored].to_numpy().reshape(len(points), 12, len(BANDS))
    series = np.nan_to_num(series).round().astype(np.float32)
    label = rows.groupby("sample_id", sort=False)["label"].first().loc[points].to_numpy(str)
    whole = (series > 0).any(axis=1).all(axis=1)
    return series[whole], label[whole]


def main() -> None:
    """Train without a fold, compare, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--fold", type=int, default=0, choices=range(_FOLDS))
    given = parser.parse_args()
    text = document(given.fold, *fold_results(given.fold))
    given.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
