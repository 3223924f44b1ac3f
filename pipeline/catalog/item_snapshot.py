"""The items of a run as GeoParquet in its folder, so that the run can be repeated exactly."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from shapely.geometry import mapping
from stac_geoparquet.arrow import parse_stac_items_to_arrow, stac_table_to_items, to_parquet

from models.files.process_mark import temporary_prefix
from models.visible_text import is_visible, visible_text
from pipeline.catalog.description import TABLE_KEY, CatalogDescription
from pipeline.catalog.item import Item
from pipeline.catalog.item_assets import ANY, MALFORMED, Conventions, band_keys
from pipeline.catalog.item_geometry import footprint_of
from pipeline.catalog.normalise import normalise, resolve_duplicates, tile_of
from pipeline.catalog.origin import origin_metadata
from pipeline.errors import CatalogError, OutputError
from pipeline.io.store import public_url
from pipeline.io.times import format_time, parse_time
from pipeline.layout import ITEMS_FILE
from pipeline.raster.access import Access

_ROWS = 256


def make_snapshot(items: Sequence[dict[str, Any]], description: CatalogDescription) -> bytes:
    """Published items as a stac-geoparquet file, with the description of their catalogue.

    The file holds the assets and fields that the pipeline reads: bands and SCL, with their grid,
    offset and acquisition. Hrefs that are signed when they are opened lose their signature.

    Raises:
        CatalogError: An item has no tile, or the address of a raster holds a password or a query:
            a secret, or something that expires while the run lasts.
    """
    reduced = [_reduced(item, description) for item in items]
    table = parse_stac_items_to_arrow(reduced).read_all()
    with tempfile.TemporaryDirectory(prefix=temporary_prefix("items")) as folder:
        part = Path(folder) / ITEMS_FILE
        to_parquet(table, part)
        table = pq.read_table(part)
        about = description.model_dump_json(exclude={"url"}, exclude_unset=True).encode()
        metadata = {
            **(table.schema.metadata or {}),
            TABLE_KEY: about,
            **origin_metadata(description),
        }
        pq.write_table(table.replace_schema_metadata(metadata), part)
        return part.read_bytes()


def read_snapshot(content: bytes, name: str, conventions: Conventions = ANY) -> list[Item]:
    """The items of a snapshot in normal form, duplicates resolved, sorted by time and id.

    Args:
        content: The file's bytes.
        name: The file's name, for errors.
        conventions: Those of the items' catalogue.

    Raises:
        OutputError: The file is damaged.
    """
    return resolve_duplicates(
        normalise(item, conventions) for item in read_snapshot_stac(content, name)
    )


def read_snapshot_stac(content: bytes, name: str) -> Iterator[dict[str, Any]]:
    """The items of a snapshot as STAC items, {} for a row that is none.

    They are decoded a few at a time: dictionaries take hundreds of times the file's memory.

    Raises:
        OutputError: The file is damaged, or holds no item at all.
    """
    damaged = OutputError(name, "the items are damaged", "Put the run's own file back")
    count = 0
    try:
        for rows in pq.ParquetFile(io.BytesIO(content)).iter_batches(_ROWS):
            table = pa.Table.from_batches([rows])
            try:
                items = _items_of(table)
            except _NO_ITEM:
                items = [_item_of(table.slice(row, 1)) for row in range(len(table))]
            count += sum(map(bool, items))
            if items and not count:
                raise damaged
            yield from items
    except (pa.ArrowException, OSError):  # OSError: of a damaged page
        raise damaged from None


_NO_ITEM = (pa.ArrowException, AssertionError, *MALFORMED)  # of stac_geoparquet


def _items_of(table: pa.Table) -> list[dict[str, Any]]:
    return [_without_nulls(item) for item in stac_table_to_items(table)]


def _item_of(row: pa.Table) -> dict[str, Any]:
    try:
        return _items_of(row)[0]
    except _NO_ITEM:
        return {}


def without_signature(asset: Mapping[str, Any], access: Access) -> dict[str, Any]:
    """The asset; its href loses its signature where hrefs are signed when they are opened."""
    href = str(asset["href"])
    return {**asset, "href": public_url(href) if access.signs(href) else href}


def _time(value: Any) -> str:
    """A time as `pipeline.io.times` has read it: the table keeps no other form."""
    return format_time(parse_time(value))


def _text(value: Any) -> str:
    """A text; false and 0 are none, as they are read."""
    if not isinstance(value, str | int | float) or not is_visible(text := str(value or "")):
        raise ValueError("no text of one line")
    return text


def _integer(value: Any) -> int:
    number = int(value)
    if abs(number) >= 2**63:
        raise ValueError("a column of a table holds no such number")
    return number


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(value) for value in values]


def _flat(box: list[Any]) -> list[Any]:
    """A box without heights, as `item_assets` reads it."""
    return [*box[:2], *box[3:5]] if len(box) == 6 else box[:4]


# The fields that the pipeline reads and their types. A column of a table has one type, while some
# catalogues write 10, others 10.0.
_PROPERTIES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("datetime", "start_datetime", "end_datetime"), _time),
    **dict.fromkeys(("s2:generation_time", "processing:datetime"), _time),
    "platform": _text,
    **dict.fromkeys(("grid:code", "s2:mgrs_tile", "mgrs:latitude_band", "mgrs:grid_square"), _text),
    **dict.fromkeys(("s2:processing_baseline", "s2:product_uri"), _text),
    **dict.fromkeys(("s2:datatake_id", "s2:datastrip_id", "processing:version"), _text),
    **dict.fromkeys(("eopf:datatake_id", "eopf:datastrip_id"), _text),
    "attribution": lambda value: visible_text(str(value)),
    **dict.fromkeys(("sat:relative_orbit", "mgrs:utm_zone"), _integer),
    "eo:cloud_cover": float,
    "earthsearch:boa_offset_applied": lambda value: value is True,  # as it is read: not "false"
}
_GRID: dict[str, Callable[[Any], Any]] = {
    "proj:code": _text,
    "proj:epsg": _integer,
    # As much of them as is read: the rest may be malformed.
    "proj:bbox": lambda values: _numbers(_flat(list(values))),
    "proj:transform": lambda values: _numbers(list(values)[:6]),
    "proj:shape": lambda values: [_integer(value) for value in list(values)[:2]],
}
_RASTER: dict[str, Callable[[Any], Any]] = dict.fromkeys(
    ("offset", "scale", "spatial_resolution"), float
)
_RASTER_OF_BANDS = {f"raster:{name}": convert for name, convert in _RASTER.items()}
_ASSET: dict[str, Callable[[Any], Any]] = {
    "href": _text,
    "type": _text,
    "gsd": float,
    "file:size": _integer,
    **_RASTER_OF_BANDS,
}


def _reduced(item: dict[str, Any], description: CatalogDescription) -> dict[str, Any]:
    footprint = footprint_of(item)
    bounds = footprint.bounds if footprint is not None else tile_of(item).owned.bounds
    keys = sorted(band_keys(item["assets"], description.conventions.names).values())
    access = description.access.access()
    links = {
        link["rel"]: {"rel": link["rel"], "href": public_url(str(link["href"]))}
        for link in item.get("links") or []
        if link.get("rel") in ("self", "collection") and link.get("href")
    }
    properties = _typed(item["properties"], {**_PROPERTIES, **_GRID})
    return {
        "type": "Feature",
        "stac_version": str(item.get("stac_version") or "1.0.0"),
        "stac_extensions": [str(name) for name in item.get("stac_extensions") or []],
        "id": str(item["id"]),
        # STAC allows the field only beside the link.
        "collection": _collection(item) if "collection" in links else None,
        # The table cannot hold items without geometry, but it can hold an empty one.
        "geometry": mapping(footprint) if footprint is not None else _NOWHERE,
        "bbox": _numbers(bounds),
        "properties": {"datetime": None, **properties},
        "links": list(links.values()),
        "assets": {key: _reduced_asset(item["assets"][key], item["id"], access) for key in keys},
    }


def _collection(item: Mapping[str, Any]) -> str | None:
    name = item.get("collection")
    return name if isinstance(name, str) else None


_NOWHERE = {"type": "Polygon", "coordinates": []}


def _reduced_asset(asset: Mapping[str, Any], item: str, access: Access) -> dict[str, Any]:
    href = without_signature(asset, access)["href"]
    if public_url(href) != href:
        raise CatalogError(
            f"item {item}: {public_url(href)}",
            "its address holds a password or a signature, which is not written to the run's folder",
            "Describe the catalogue's access in a TOML file ([access], docs/catalogues.md): then "
            "they are signed when they are opened",
        )
    reduced = _typed({**asset, "href": href}, {**_ASSET, **_GRID})
    for name, types in (("raster:bands", _RASTER), ("bands", _RASTER_OF_BANDS)):
        with contextlib.suppress(*MALFORMED):
            if band := _typed((asset.get(name) or [None])[0] or {}, types):
                reduced[name] = [band]
    return reduced


def _typed(fields: Mapping[str, Any], types: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The stated fields, converted; malformed ones are left out.

    `pipeline.catalog.search.search` has refused items of which the pipeline reads such a field.
    """
    typed = {}
    for name, convert in types.items():
        if fields.get(name) is not None:
            with contextlib.suppress(*MALFORMED):
                typed[name] = convert(fields[name])
    return typed


def _without_nulls(fields: Any) -> Any:
    """A row as an item again: where an item lacks a field, the table has null."""
    if isinstance(fields, dict):
        return {key: _without_nulls(value) for key, value in fields.items() if value is not None}
    if isinstance(fields, list):
        return [_without_nulls(value) for value in fields]
    return fields
