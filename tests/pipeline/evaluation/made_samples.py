"""Labelled series of the made-up landscape, as a table and as a training set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.encoder.checkpoint import load_checkpoint
from models.encoder.preprocessing import BANDS
from models.towers.text_embeddings import embed_for_checkpoint
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.io.store import Store
from pipeline.point_series.table import SeriesRows
from pipeline.point_series.table_writer import Notes, SeriesFolder
from pipeline.sample.series import sample_series
from pipeline.training_set.card import GroundSide
from pipeline.training_set.shards import ground_lists
from pipeline.training_set.spatial_split import SPLITS, SplitRule, split
from pipeline.training_set.writer import SetWriter

RULE = SplitRule(block_km=50, shares=(0.5, 0.2, 0.3))
UNKNOWN, BLANK = 7, 5  # rows whose label is no class, and that have none


@dataclass(frozen=True, eq=False)
class MadeSamples:
    """`rows` of a table, and the class of each, int64 (n,), by the sample's vocabulary."""

    rows: SeriesRows
    land: np.ndarray


def made_samples(count: int, seed: int = 5) -> MadeSamples:
    """Series with labels: land (code), name, nuts0, and green, a number that goes with NDVI."""
    classes = load_vocabulary("sample-landscape").classes
    land, series = sample_series(seed, count)
    rng = np.random.default_rng(seed)
    codes: list[str | None] = [str(classes[k].code) for k in land]
    codes[:UNKNOWN] = ["volcano"] * UNKNOWN
    codes[UNKNOWN : UNKNOWN + BLANK] = [None] * BLANK
    red, infrared = (series[:, :, BANDS.index(band)].astype(float) for band in ("B04", "B08"))
    green = ((infrared - red) / (infrared + red)).mean(axis=1)
    series = series.copy()
    series[rng.uniform(size=(count, 12)) < 0.1] = 0  # months without a clear observation
    series[-2:] = 0
    return MadeSamples(
        SeriesRows(
            ids=[f"p{k}" for k in range(count)],
            lon=rng.uniform(2, 8, count),
            lat=rng.uniform(46, 51, count),
            year=np.full(count, 2021, np.int32),
            series=series,
            clear=(series.all(axis=2) * 3).astype(np.uint16),
            labels={
                "land": codes,
                "nuts0": ["FR" if k % 3 else "BE" for k in range(count)],
                "green": [f"{value:.4f}" for value in green],
            },
            photo_keys=[None] * count,
        ),
        land,
    )


def write_table(folder: Path, made: MadeSamples) -> str:
    """A finished table of series; gives its address."""
    rows = made.rows
    table = SeriesFolder(Store(str(folder)), {"made": 1}, BANDS, tuple(rows.labels))
    table.open()
    table.write_unit("0", "0", rows, Notes())
    table.finish_part("0")
    table.finish(
        {}, points=len(rows), first_month=1, licence="none", attribution="made", left_out={}
    )
    return str(folder)


def write_set(folder: Path, made: MadeSamples) -> str:
    """A training set, each series paired with the text of its class; gives its address."""
    checkpoint = load_checkpoint("sample")
    vocabulary = load_vocabulary("sample-landscape")
    text = embed_for_checkpoint(vocabulary, checkpoint.card).members
    rows = made.rows
    labels = {
        name: tuple(sorted({value for value in values if value is not None}))
        for name, values in rows.labels.items()
    }
    tower = checkpoint.card.text_tower
    ground = GroundSide(kind="texts", tower=tower, revision="r", dim=text.shape[1], views=1)
    writer = SetWriter(Store(str(folder)), BANDS, ground, labels)
    parts = split(rows.lon, rows.lat, RULE)
    for number, name in enumerate(SPLITS):
        which = np.flatnonzero(parts == number)
        offsets = np.arange(len(which) + 1)
        views = pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), pa.array(["0"] * len(which))
        )
        keys = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(made.land[which]))
        embedded = text[made.land[which]].astype(np.float16)
        table = rows.table().take(pa.array(which))
        table = (
            table.append_column("block", pa.array(["1"] * len(which)))
            .append_column("ground", ground_lists(offsets, embedded))
            .append_column("views", views)
            .append_column("keys", keys)
        )
        writer.write(name, table.select(writer.schema.names))
    writer.finish(RULE, {}, ["made for a test"], {})
    return str(folder)
