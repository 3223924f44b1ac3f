"""A published item reduced to what the pipeline reads, in the types that a table can hold."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from shapely.geometry import mapping

from models.visible_text import is_visible, visible_text
from pipeline.catalog.by_content import shared_by_content
from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item_assets import MALFORMED, StacJson, band_keys
from pipeline.catalog.item_geometry import footprint_of
from pipeline.catalog.normalise import tile_of
from pipeline.errors import CatalogError
from pipeline.io.store import public_url
from pipeline.io.times import format_time, parse_time
from pipeline.raster.access import Access


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


_OF_ITEM = {**_PROPERTIES, **_GRID}
_RASTER_LISTS = {"raster:bands": _RASTER, "bands": _RASTER_OF_BANDS}
_SHARED = (*_ASSET, *_GRID, *_RASTER_LISTS)  # of assets, most of which are alike in all but two


def reduced_item(item: StacJson, description: CatalogDescription) -> dict[str, Any]:
    """The assets and fields of a published item that the pipeline reads; a STAC item again.

    They are bands and SCL, with their grid, offset and acquisition, in one type each. Hrefs that
    are signed when they are opened lose their signature.

    Raises:
        CatalogError: It has no tile, or the address of a raster holds a password or a query: a
            secret, or something that expires while the run lasts.
    """
    footprint = footprint_of(item)
    bounds = footprint.bounds if footprint is not None else tile_of(item).owned.bounds
    keys = sorted(band_keys(item["assets"], description.conventions.names).values())
    access = description.access.access()
    links = {
        link["rel"]: {"rel": link["rel"], "href": public_url(str(link["href"]))}
        for link in item.get("links") or []
        if link.get("rel") in ("self", "collection") and link.get("href")
    }
    properties = _typed(item["properties"], _OF_ITEM)
    return {
        "type": "Feature",
        "stac_version": str(item.get("stac_version") or "1.0.0"),
        "stac_extensions": [str(name) for name in item.get("stac_extensions") or []],
        "id": str(item["id"]),
        # STAC allows the field only beside the link.
        "collection": _collection(item) if "collection" in links else None,
        # The table cannot hold items without geometry, but it can hold an empty one.
        "geometry": _geojson(footprint) if footprint is not None else _NOWHERE,
        "bbox": _numbers(bounds),
        "properties": {"datetime": None, **properties},
        "links": list(links.values()),
        "assets": {key: _reduced_asset(item["assets"][key], item["id"], access) for key in keys},
    }


def _collection(item: Mapping[str, Any]) -> str | None:
    name = item.get("collection")
    return name if isinstance(name, str) else None


_geojson = lru_cache(1024)(mapping)  # items of one orbit share their footprint
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
    stated = [None if name in ("href", "file:size") else asset.get(name) for name in _SHARED]
    head, tail = _typed_fields(stated)
    own = _typed({"href": href, "file:size": asset.get("file:size")}, _ASSET)
    size = {"file:size": own.pop("file:size")} if "file:size" in own else {}
    return {**own, **head, **size, **tail}


@shared_by_content
def _typed_fields(values: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields `_SHARED` of an asset: those that `_ASSET` has before its size, and the others."""
    asset = dict(zip(_SHARED, values, strict=True))
    typed = _typed(asset, {**_ASSET, **_GRID})
    for name, types in _RASTER_LISTS.items():
        with contextlib.suppress(*MALFORMED):
            if band := _typed((asset.get(name) or [None])[0] or {}, types):
                typed[name] = [band]
    before: tuple[str, ...] = ("type", "gsd")
    head = {name: typed.pop(name) for name in before if name in typed}
    return head, typed


def _typed(fields: Mapping[str, Any], types: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The stated fields, converted; malformed ones are left out.

    `pipeline.catalog.search.search` has refused items of which the pipeline reads such a field.
    """
    typed = {}
    for name, convert in types.items():
        if (value := fields.get(name)) is not None:
            with contextlib.suppress(*MALFORMED):
                typed[name] = convert(value)
    return typed
