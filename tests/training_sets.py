"""Training sets for tests: random series, ground views and labels, written like `pack` does."""

import numpy as np
import pyarrow as pa

from models.encoder.preprocessing import BANDS
from pipeline.io.store import Store
from pipeline.point_series.table import fixed_lists
from pipeline.training_set.card import DatasetCard, GroundSide
from pipeline.training_set.shards import ground_lists
from pipeline.training_set.spatial_split import SPLITS, SplitRule
from pipeline.training_set.writer import SetWriter

CLASSES = ("forest", "maize", "water")


def made_set(
    address: str,
    *,
    train: int = 200,
    held_out: int = 40,
    views: int = 3,
    dim: int = 16,
    shard_rows: int = 23,
    bands: tuple[str, ...] = BANDS,
    absent: tuple[str, ...] = (),
    seed: int = 0,
    label: str = "cover",
    prefix: str = "p",
    tower: str = "clip:made",
    rare: int = 0,
) -> DatasetCard:
    """Write a training set: `train` rows for training, `held_out` each for validation and test.

    Ids count from `prefix` "p" and 0 over all splits. A row has 1 … `views` views, whose embeddings
    are similar to a vector of its class, and a label "cover", which is missing in every tenth row.
    The first `rare` rows have the class "rare". One month in twelve is missing, and the bands
    `absent` in all.
    """
    draw = np.random.default_rng(seed)
    ground = GroundSide(kind="photos", tower=tower, revision="r", dim=dim, views=views)
    classes = (*CLASSES, "rare") if rare else CLASSES
    writer = SetWriter(Store(address), bands, ground, {label: classes})
    centres = draw.standard_normal((len(CLASSES), dim))
    first = 0
    for split in SPLITS:
        rows = train if split == "train" else held_out
        for start in range(0, rows, shard_rows):
            count = min(shard_rows, rows - start)
            table = _table(draw, centres, first, count, views, bands, absent)
            names = table["label"].to_pylist()
            names[: max(0, rare - first)] = ["rare"] * len(names[: max(0, rare - first)])
            columns = {
                "id": [prefix + number for number in table["id"].to_pylist()],
                f"label_{label}": pa.array(names, pa.string()),
            }
            fields = {name: table[name] for name in writer.schema.names if name not in columns}
            writer.write(split, pa.table(fields | columns).select(writer.schema.names))
            first += count
    return writer.finish(SplitRule(), {}, ["made for a test"], {})


def _table(
    draw: np.random.Generator,
    centres: np.ndarray,
    first: int,
    count: int,
    views: int,
    bands: tuple[str, ...],
    absent: tuple[str, ...],
) -> pa.Table:
    label = draw.integers(0, len(CLASSES), count)
    series = draw.integers(1, 3000, (count, 12, len(bands))) + 1000 * label[:, None, None]
    series[draw.random((count, 12)) < 1 / 12] = 0
    series[:, :, np.isin(bands, absent)] = 0
    counts = draw.integers(1, views + 1, count)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(label, counts)
    made = centres[owner] + 0.3 * draw.standard_normal((offsets[-1], centres.shape[1]))
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    names = [CLASSES[value] if (first + row) % 10 else None for row, value in enumerate(label)]
    return pa.table(
        {
            "id": [str(first + row) for row in range(count)],
            "lon": draw.uniform(0, 10, count),
            "lat": draw.uniform(45, 55, count),
            "year": np.full(count, 2018, np.int32),
            "series": fixed_lists(series.astype(np.uint16)),
            "clear": fixed_lists(np.full((count, 12), 3, np.uint16)),
            "photo_key": pa.nulls(count, pa.string()),
            "label": pa.array(names, pa.string()),
            "block": ["1"] * count,
            "ground": ground_lists(offsets, made.astype(np.float16)),
            "views": _lists(offsets, [str(view) for size in counts for view in range(size)]),
            "keys": _lists(offsets, owner.astype(np.int64)),
        }
    )


def _lists(offsets: np.ndarray, values: object) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
