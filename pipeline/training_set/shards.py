"""Rows of a training set: as Parquet in a shard, as arrays, and as a batch."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.encoder.preprocessing import MONTHS
from models.pretraining.batch import NO_KEY, Batch
from pipeline.point_series.point_columns import LABEL
from pipeline.training_set.card import DatasetCard, GroundSide, Shard

GROUND_NUMBERS = np.dtype("<f2")


@dataclass(frozen=True, eq=False)
class ShardRows:
    """n rows, and their ground views one after the other.

    Attributes:
        series: uint16 (n, 12, band).
        offsets: int64 (n + 1,); row i has the views from `offsets[i]` up to `offsets[i + 1]`.
        ground: float16 (view, dim).
        keys: int64 (view,).
        possible_offsets: int64 (n + 1,), of row i's further keys in `possible`, int64 (key,).
        labels: Numbers of classes by the label's name, int64 (n,), -1 for none.
    """

    ids: np.ndarray
    series: np.ndarray
    offsets: np.ndarray
    ground: np.ndarray
    keys: np.ndarray
    possible_offsets: np.ndarray
    possible: np.ndarray
    labels: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.ids)

    def batch(
        self, which: np.ndarray, side: GroundSide, classes: Mapping[str, np.ndarray]
    ) -> Batch:
        """Make a batch of some rows.

        Args:
            which: int64 (m,), their numbers.
            side: Says how many views and further keys each row has in the batch; views that it
                lacks are zeros.
            classes: The texts of each label's classes, with None as the last.
        """
        places, present = _places(self.offsets, which, side.views)
        ground = self.ground[places].astype(np.float32)
        keys = self.keys[places]
        if not present.all():
            ground[~present] = 0
            keys[~present] = NO_KEY
        if side.possible:
            places, there = _places(self.possible_offsets, which, side.possible)
            further = np.append(self.possible, NO_KEY)[np.where(there, places, -1)]
            keys = np.concatenate((keys, further), axis=1)
        return Batch(
            series=self.series[which],
            ground=ground,
            present=present,
            keys=keys,
            ids=self.ids[which].tolist(),
            labels={
                name: classes[name][codes[which]].tolist() for name, codes in self.labels.items()
            },
        )


def _places(offsets: np.ndarray, which: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The places of the items of some rows, `most` for each, and which are there: (m, most)."""
    starts = offsets[which]
    there = np.arange(most) < (offsets[which + 1] - starts)[:, None]
    return np.where(there, starts[:, None] + np.arange(most), 0), there


def shard_schema(
    bands: int, dim: int, labels: Sequence[str], with_possible: bool = False
) -> pa.Schema:
    """The columns of a shard, which `docs/datasets.md` explains.

    A view's numbers are bytes (float16, little-endian): as a list of lists, Parquet would count
    every number's levels, and decode eight times slower.
    """
    return pa.schema(
        [
            ("id", pa.string()),
            ("lon", pa.float64()),
            ("lat", pa.float64()),
            ("year", pa.int32()),
            ("series", pa.list_(pa.uint16(), MONTHS * bands)),
            ("clear", pa.list_(pa.uint16(), MONTHS)),
            ("photo_key", pa.string()),
            *((LABEL + name, pa.string()) for name in labels),
            ("block", pa.string()),
            ("ground", pa.list_(pa.binary(dim * GROUND_NUMBERS.itemsize))),
            ("views", pa.list_(pa.string())),
            ("keys", pa.list_(pa.int64())),
            *([("possible", pa.list_(pa.int64()))] if with_possible else []),
        ]
    )


def ground_lists(offsets: np.ndarray, ground: np.ndarray) -> pa.Array:
    """The column `ground` of views float16 (view, dim), which `offsets` divide among the rows."""
    values = np.ascontiguousarray(ground, GROUND_NUMBERS)
    width = values.shape[1] * GROUND_NUMBERS.itemsize
    views = pa.Array.from_buffers(pa.binary(width), len(values), [None, pa.py_buffer(values)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), views)


def shard_file(table: pa.Table) -> bytes:
    """Write a shard as the bytes of a Parquet file."""
    file = io.BytesIO()
    texts = [name for name in table.column_names if name.startswith(LABEL)]
    pq.write_table(table, file, compression="lz4", use_dictionary=texts, write_page_checksum=True)
    return file.getvalue()


def read_rows(source: Any, card: DatasetCard, more_columns: Sequence[str] = ()) -> pa.Table:
    """Read the columns of a shard that batches need, and these more.

    `source` is a path or an Arrow file; for a damaged one, ArrowException, OSError or
    UnicodeDecodeError is raised.
    """
    columns = [*_needed_columns(card), *more_columns]
    with pq.ParquetFile(source, memory_map=True, page_checksum_verification=True) as file:
        return file.read(columns, use_threads=False)


def shard_problem(
    table: pa.Table, card: DatasetCard, shard: Shard, more_columns: Sequence[str] = ()
) -> str:
    """What is wrong with the columns of `read_rows`, or nothing: an empty text."""
    if table.num_rows != shard.rows:
        return f"it has {table.num_rows} rows, and {shard.rows} are wanted"
    return _column_problem(table, card, more_columns) or _label_problem(table, card, shard)


def _column_problem(table: pa.Table, card: DatasetCard, more_columns: Sequence[str]) -> str:
    if absent := [name for name in more_columns if name not in table.column_names]:
        return f"it has no column {absent[0]}"
    side = card.ground
    schema = shard_schema(len(card.bands), side.dim, tuple(card.labels), side.possible > 0)
    for name in _needed_columns(card):
        wanted = schema.field(name).type
        if name not in table.column_names:
            return f"it has no column {name}"
        column = table[name]
        if column.type != wanted:
            return f"its column {name} is {column.type}, not {wanted}"
        lists = pa.types.is_list(wanted) or pa.types.is_fixed_size_list(wanted)
        empty = column.null_count or (lists and pc.list_flatten(column).null_count)
        if empty and not name.startswith(LABEL):
            return f"its column {name} has empty cells"
    views, keys = (pc.list_value_length(table[name]) for name in ("ground", "keys"))
    if views != keys or (len(table) and not pc.sum(views).as_py()):
        return "it has not one key for each view"
    return ""


def _label_problem(table: pa.Table, card: DatasetCard, shard: Shard) -> str:
    for name, classes in card.labels.items():
        found: Counter[str] = Counter()
        for one in pc.value_counts(table[LABEL + name]).to_pylist():
            found[one["values"] or ""] += one["counts"]
        if unknown := sorted(found.keys() - {*classes, ""}):
            return f"its column {LABEL + name} has the class {unknown[0]!r}, which the set has not"
        if shard.counts is not None and found != Counter(shard.counts[name]):
            return f"its column {LABEL + name} has other numbers of rows by class than the card"
    return ""


def _needed_columns(card: DatasetCard) -> list[str]:
    possible = ["possible"] if card.ground.possible else []
    return ["id", "series", "ground", "keys", *(LABEL + name for name in card.labels), *possible]


def to_rows(tables: Sequence[pa.Table], card: DatasetCard) -> ShardRows:
    """The rows of shards, one after the other."""
    table = pa.concat_tables(tables)
    column = {
        name: chunked.chunk(0) if chunked.num_chunks == 1 else pa.concat_arrays(chunked.chunks)
        for name, chunked in zip(table.column_names, table.columns, strict=True)
    }
    offsets = column["ground"].offsets.to_numpy().astype(np.int64)
    if card.ground.possible:
        possible_offsets = column["possible"].offsets.to_numpy().astype(np.int64)
        possible = column["possible"].flatten().to_numpy()
    else:
        possible_offsets, possible = np.zeros(len(offsets), np.int64), np.empty(0, np.int64)
    return ShardRows(
        ids=column["id"].to_numpy(zero_copy_only=False),
        series=column["series"].flatten().to_numpy().reshape(-1, MONTHS, len(card.bands)),
        offsets=offsets - offsets[0],
        ground=_numbers(column["ground"].flatten(), card.ground.dim),
        keys=column["keys"].flatten().to_numpy(),
        possible_offsets=possible_offsets - possible_offsets[0],
        possible=possible,
        labels={
            name: _class_numbers(column[LABEL + name], classes)
            for name, classes in card.labels.items()
        },
    )


def join_batches(parts: Sequence[Batch]) -> Batch:
    """The rows of batches of equal shapes and labels as one batch."""
    if len(parts) == 1:
        return parts[0]
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("series", "ground", "present", "keys")
    }
    labels = {name: [t for part in parts for t in part.labels[name]] for name in parts[0].labels}
    return Batch(**arrays, ids=[name for part in parts for name in part.ids], labels=labels)


def _numbers(views: pa.Array, dim: int) -> np.ndarray:
    """The numbers of views that are bytes: float16 (view, dim), without a copy."""
    start = views.offset * dim * GROUND_NUMBERS.itemsize
    flat = np.frombuffer(views.buffers()[1], GROUND_NUMBERS, len(views) * dim, start)
    return flat.reshape(-1, dim)


def _class_numbers(texts: pa.Array, classes: Sequence[str]) -> np.ndarray:
    numbers = pc.fill_null(pc.index_in(texts, pa.array(classes, pa.string())), -1)
    return numbers.to_numpy(zero_copy_only=False).astype(np.int64)
