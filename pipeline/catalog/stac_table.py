"""STAC items as a stac-geoparquet table and back, some hundreds at a time.

As dictionaries they take hundreds of times the table's memory.
"""

import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from stac_geoparquet.arrow import parse_stac_items_to_arrow, stac_table_to_items, to_parquet

from models.files.process_mark import temporary_prefix
from pipeline.catalog.item_assets import MALFORMED
from pipeline.raster.reused_memory import return_freed_memory

_ROWS = 256  # that are read at once
_WRITTEN = 1024  # that are written at once
_ASSETS = "assets"
_PLAIN = (float, int, str)  # without fields of their own
_NO_ITEM = (pa.ArrowException, AssertionError, *MALFORMED)  # of stac_geoparquet


def write_stac_table(items: Iterable[dict[str, Any]], metadata: Mapping[bytes, bytes]) -> bytes:
    """A stac-geoparquet file of STAC items, with more metadata.

    Its bytes do not depend on how many items are held at once. Raises ValueError without any item.
    """
    with tempfile.TemporaryDirectory(prefix=temporary_prefix("items")) as folder:
        parts = list(_parts(items, Path(folder)))
        return_freed_memory()  # of the items, which are much larger than their table
        table = _joined(parts)
        whole = Path(folder) / "items"
        pa.default_memory_pool().release_unused()
        pq.write_table(
            table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata}), whole
        )
        return whole.read_bytes()


def _parts(items: Iterable[dict[str, Any]], folder: Path) -> Iterator[Path]:
    items, number = iter(items), 0
    while part := [_Uncopied(item) for item in islice(items, _WRITTEN)]:
        file = folder / f"{number:09}.parquet"
        # One batch. (Without `schema`, it would log each table, wrongly, where a log says all.)
        rows = parse_stac_items_to_arrow(part, len(part), schema="FirstBatch")
        to_parquet(rows.read_all(), file)
        yield file
        number += 1
    if not number:
        raise ValueError("a table of no items has no columns")


class _Uncopied(dict[str, Any]):
    """An item of which stac_geoparquet needs no copy: it changes the geometry alone."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Uncopied":
        return self


def _joined(files: list[Path]) -> pa.Table:
    """The rows of files, each of which may lack fields that others have, in one piece.

    Columns are read one after the other, the assets' too: rows in pieces and in one piece never
    lie in memory together.
    """
    if len(files) == 1:
        return pq.read_table(files[0]).combine_chunks()
    schema = pa.unify_schemas(
        [pq.read_schema(file) for file in files], promote_options="permissive"
    )
    rows = ds.dataset([str(file) for file in files], schema=schema, format="parquet")

    def column(place: ds.Expression) -> pa.Array:
        return rows.to_table(columns={"column": place}).column(0).combine_chunks()

    columns = []
    for field in schema:
        if field.name == _ASSETS:
            kinds = list(field.type)
            parts = [column(ds.field(_ASSETS, kind.name)) for kind in kinds]
            columns.append(pa.StructArray.from_arrays(parts, fields=kinds))
        else:
            columns.append(column(ds.field(field.name)))
    return pa.Table.from_arrays(columns, schema=schema)


def read_stac_table(content: bytes) -> Iterator[list[dict[str, Any]]]:
    """The items of a stac-geoparquet file, some at a time; {} for a row that is none.

    Raises pa.ArrowException, OSError or UnicodeDecodeError where the file is damaged.
    """
    for rows in pq.ParquetFile(io.BytesIO(content)).iter_batches(_ROWS):
        yield stac_items(pa.Table.from_batches([rows]))


def stac_items(table: pa.Table) -> list[dict[str, Any]]:
    """The STAC items in rows of a stac-geoparquet table; {} for a row that is none."""
    try:
        return _items_of(table)
    except _NO_ITEM:
        return [_item_of(table.slice(row, 1)) for row in range(len(table))]


def _item_of(row: pa.Table) -> dict[str, Any]:
    try:
        return _items_of(row)[0]
    except _NO_ITEM:
        return {}


def _items_of(table: pa.Table) -> list[dict[str, Any]]:
    """The items; the assets, which are most of them, column by column."""
    if _ASSETS not in table.schema.names or not pa.types.is_struct(table.field(_ASSETS).type):
        return [_without_nulls(item) for item in stac_table_to_items(table)]
    items = [_without_nulls(item) for item in stac_table_to_items(table.drop_columns([_ASSETS]))]
    for item, assets in zip(items, _values(table[_ASSETS].combine_chunks()), strict=True):
        item[_ASSETS] = assets or {}
    return items


def _values(column: pa.Array) -> list[Any]:
    """A column's values as JSON; objects lack the fields that are null, as `_without_nulls`."""
    kind = column.type
    if pa.types.is_struct(kind):
        rows: list[Any] = [{} for _ in range(len(column))]
        for number in range(kind.num_fields):
            name = kind.field(number).name
            for row, value in zip(rows, _values(column.field(number)), strict=True):
                if value is not None:
                    row[name] = value
    elif pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        values, edges = _values(column.values), column.offsets.to_pylist()
        rows = [values[begin:end] for begin, end in pairwise(edges)]
    else:
        plain = column.to_pylist()
        return [_without_nulls(value) for value in plain] if pa.types.is_nested(kind) else plain
    if column.null_count:
        there = column.is_valid().to_pylist()
        return [row if valid else None for row, valid in zip(rows, there, strict=True)]
    return rows


def _without_nulls(fields: Any) -> Any:
    """A row as an item again: where an item lacks a field, the table has null."""
    if isinstance(fields, dict):
        return {key: _without_nulls(value) for key, value in fields.items() if value is not None}
    if isinstance(fields, list) and not all(type(value) in _PLAIN for value in fields):
        return [_without_nulls(value) for value in fields]
    return fields
