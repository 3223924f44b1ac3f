"""Packing: tables of series and of ground views → a training set.

The rows are divided into splits by blocks of land, and shuffled once. Tables may be larger than the
memory: they are written to a scratch file, from which rows are taken in any order.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.files.process_mark import temporary_prefix
from pipeline.errors import DatasetError
from pipeline.grid.blocks import blocks_of
from pipeline.ground_views.table import GroundTable, ground_schema
from pipeline.io.store import Store, public_url
from pipeline.io.table_folder import reasons_csv
from pipeline.point_series.point_columns import LABEL
from pipeline.point_series.table import SeriesTable
from pipeline.point_series.table import schema as series_schema
from pipeline.training_set.card import DatasetCard, GroundSide
from pipeline.training_set.pairing import Pairing, pair_series_with_views
from pipeline.training_set.random_order import shuffled
from pipeline.training_set.shards import GROUND_NUMBERS, ground_lists
from pipeline.training_set.spatial_split import NO_SPLIT, SPLITS, SplitRule, split
from pipeline.training_set.writer import SetWriter, rows_per_shard

ROWS_LEFT_OUT = "left-out.csv"
ALL_MISSING = "no clear observation in any month"
NO_VIEW = "no ground view"
NO_SERIES = "ground view of no series"
TOO_NEAR = "too near to a part that is held out"


def pack_training_set(
    series: Sequence[str],
    ground: str,
    out: str,
    rule: SplitRule | None = None,
    *,
    shard_rows: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> DatasetCard:
    """Write the training set of some series tables and a ground table.

    A row is a series with its ground views. The same tables and rule give the same set. Left out
    are series without a clear observation or without a view, views without a series, and points too
    near to a held-out split: counted in the card, and named in `left-out.csv`.

    Args:
        series: Addresses of tables of series.
        ground: The address of a ground table.
        out: The folder or `s3://` prefix of the set.
        rule: Divides the points into splits; None for the default rule.
        shard_rows: Rows per shard; None for about 16 MB.
        progress: Called with the share, 0 … 1, of the rows that are written.

    Raises:
        DatasetError: The tables don't fit each other, or the rule leaves a split empty.
        OutputError: There is a set at `out` already.
    """
    rule = rule or SplitRule()
    tables = [SeriesTable.open(address) for address in series]
    ground_table = GroundTable.open(ground)
    bands, labels = _common_columns(tables)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix("pack")) as folder:
        scratch = Path(folder)
        unclear: list[str] = []
        rows = _spool(
            scratch / "series.arrow",
            series_schema(len(bands), labels),
            _series_rows(tables, labels, unclear),
        )
        view_schema = ground_schema(ground_table.card.dim, ground_table.card.possible > 0)
        views = _spool(scratch / "ground.arrow", view_schema, ground_table.tables())
        pairing = pair_series_with_views(rows, views)
        lon, lat = (rows[axis].to_numpy()[pairing.series] for axis in ("lon", "lat"))
        parts = split(lon, lat, rule)
        left_out = {
            **dict.fromkeys(pairing.without_series, NO_SERIES),
            **dict.fromkeys(pairing.without_view, NO_VIEW),
            **dict.fromkeys(unclear, ALL_MISSING),
            **dict.fromkeys(_ids(rows, pairing.series[parts == NO_SPLIT]), TOO_NEAR),
        }
        side = GroundSide(
            kind=ground_table.card.kind,
            tower=ground_table.card.tower,
            revision=ground_table.card.revision,
            dim=ground_table.card.dim,
            views=int(pairing.counts[parts != NO_SPLIT].max()),
            possible=ground_table.card.possible,
        )
        store = Store(out)
        named = {name: rows[LABEL + name].drop_null().unique().to_pylist() for name in labels}
        classes = {name: sorted(texts) for name, texts in named.items()}
        writer = SetWriter(store, bands, side, classes)
        store.write(ROWS_LEFT_OUT, reasons_csv("id", left_out))
        blocks = blocks_of(lon, lat, rule.block_km)
        size = shard_rows or rows_per_shard(len(bands), side)
        written = 0
        for number, name in enumerate(SPLITS):
            of_part = np.flatnonzero(parts == number)
            of_part = of_part[shuffled(len(of_part), rule.seed, number)]
            for start in range(0, len(of_part), size):
                which = of_part[start : start + size]
                writer.write(name, _join(rows, views, pairing, blocks, which, writer.schema))
                written += len(which)
                progress(written / int((parts != NO_SPLIT).sum()))
        return writer.finish(
            rule,
            Counter(left_out.values()),
            [*(table.card.attribution for table in tables), ground_table.card.attribution],
            {
                "series": [{**t.card.made, "fingerprint": t.card.fingerprint} for t in tables],
                "ground": {**ground_table.card.made, "fingerprint": ground_table.card.fingerprint},
                "licences": sorted({table.card.licence for table in tables}),
            },
        )


def _join(
    series: pa.Table,
    ground: pa.Table,
    pairing: Pairing,
    blocks: np.ndarray,
    which: np.ndarray,
    schema: pa.Schema,
) -> pa.Table:
    """The pairs of these numbers, int64 (m,), as a table of a shard's schema."""
    counts, starts = pairing.counts[which], pairing.starts[which]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    # Each view's number in its row, added to where the views of its row begin.
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    views = ground.take(pa.array(pairing.views[np.repeat(starts, counts) + within]))
    rows = series.take(pa.array(pairing.series[which]))
    numbers = views["embedding"].combine_chunks().flatten().to_numpy()
    lists = pa.array(offsets, pa.int32())
    joined = {
        "block": pa.array(blocks[which].astype(str), pa.string()),
        "ground": ground_lists(offsets, numbers.reshape(len(views), -1).view(GROUND_NUMBERS)),
        "views": pa.ListArray.from_arrays(lists, views["view"].combine_chunks()),
        "keys": pa.ListArray.from_arrays(lists, views["key"].combine_chunks()),
    }
    if "possible" in views.column_names:
        possible = views["possible"].combine_chunks()
        ends = np.concatenate([[0], np.cumsum(possible.value_lengths().to_numpy())])[offsets]
        joined["possible"] = pa.ListArray.from_arrays(
            pa.array(ends, pa.int32()), possible.flatten()
        )
    joined |= {n: rows[n].combine_chunks() for n in schema.names if n not in joined}
    return pa.Table.from_arrays([joined[name] for name in schema.names], schema=schema)


def _common_columns(tables: Sequence[SeriesTable]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The bands of all tables, and the labels of any; raises DatasetError where bands differ."""
    bands = tables[0].card.bands
    for table in tables[1:]:
        if table.card.bands != bands:
            raise DatasetError(
                public_url(table.store.root),
                f"its bands are {', '.join(table.card.bands)}, those of "
                f"{public_url(tables[0].store.root)} are {', '.join(bands)}",
                "Pack tables of the same bands in the same order together",
            )
    labels = dict.fromkeys(label for table in tables for label in table.card.labels)
    return bands, tuple(labels)


def _series_rows(
    tables: Sequence[SeriesTable], labels: Sequence[str], unclear: list[str]
) -> Iterator[pa.Table]:
    """The rows of tables that have a clear observation; the ids of others go into `unclear`."""
    for table in tables:
        for rows in table.batches():
            clear = rows.series.any(axis=(1, 2))
            unclear += [rows.ids[row] for row in np.flatnonzero(~clear).tolist()]
            columns = rows.table()
            for label in labels:
                if LABEL + label not in columns.column_names:
                    columns = columns.append_column(LABEL + label, pa.nulls(len(rows), pa.string()))
            names = series_schema(len(table.card.bands), labels).names
            yield columns.select(names).filter(pa.array(clear))


def _ids(rows: pa.Table, which: np.ndarray) -> list[str]:
    ids: list[str] = rows["id"].take(pa.array(which)).to_pylist()
    return ids


def _spool(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> pa.Table:
    """Join tables into one that lies in a file, not in memory."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for table in tables:
            writer.write_table(table)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
