"""The rasters of a published STAC item: their bands, grids and offsets, in normal form."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import shapely

from models.encoder.preprocessing import BANDS
from models.errors import TimesenError
from pipeline.catalog.asset_grid import (
    StatedGrid,
    epsg_exists,
    native_resolution,
    raster_grid,
    stated_epsg,
    whole_number,
)
from pipeline.catalog.asset_offset import Unstated, asset_offset
from pipeline.catalog.by_content import shared_by_content
from pipeline.catalog.item import SCL, Asset
from pipeline.errors import CatalogError
from pipeline.grid.mgrs import Tile
from pipeline.io.store import public_url

StacJson = Mapping[str, Any]  # a STAC item or asset as JSON

_COMMON = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22", SCL: "scl",
}  # fmt: skip
# What `_raster_facts` reads of an asset, and of its item's properties.
_OF_ASSET = (
    *("proj:code", "proj:epsg", "proj:transform", "proj:shape", "proj:bbox", "gsd"),
    *("raster:bands", "bands", "raster:offset", "raster:scale", "raster:spatial_resolution"),
)
_OF_ITEM = (
    *("proj:code", "proj:epsg", "proj:transform", "proj:shape", "proj:bbox"),
    "earthsearch:boa_offset_applied",
)

MALFORMED = (
    *(AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError),
    shapely.errors.ShapelyError,
)
"""The errors of reading a field that lacks a part, or is not of the type that STAC gives it."""


@contextmanager
def naming_item(item: StacJson) -> Iterator[None]:
    """Turn the errors of malformed fields in this block into a CatalogError that names the item."""
    try:
        yield
    except TimesenError:
        raise
    except MALFORMED as error:
        problem = f"{error!s:.300}"
        if isinstance(error, (AttributeError, LookupError, TypeError)):  # in Python's words
            problem = f"a field is not of the type that STAC gives it ({error})"
        raise CatalogError(
            item_name(item), f"it is malformed: {problem}", "Correct it in the catalogue"
        ) from error


def item_name(item: StacJson) -> str:
    """The name of an item in errors, whatever its id is."""
    name = item.get("id")
    if not isinstance(name, str | int):
        return "an item without id" if name is None else "an item whose id is no text"
    return f"item {name if isinstance(name, str) else hex(name):.200}"


@dataclass(frozen=True)
class Conventions:
    """The names of a catalogue's assets, and the meaning of their numbers.

    Attributes:
        names: Band → asset keys, of which an item has one; case does not matter.
        offset: The number that is added to every stored number; None: by `band_asset`'s rules.
    """

    names: Mapping[str, Sequence[str]]
    offset: int | None = None


def _any_names(band: str) -> tuple[str, ...]:
    """Names of Earth Search v1, of Planetary Computer and Earth Search v0, and of CDSE."""
    cdse = f"{band}_{native_resolution(band)}m"
    return (_COMMON[band], band, cdse, f"{_COMMON[band]}-jp2", f"{band}-jp2")


ANY_NAMES: Mapping[str, Sequence[str]] = {band: _any_names(band) for band in (*BANDS, SCL)}
"""The asset keys of each band in the large archives."""

ANY = Conventions(ANY_NAMES)
"""The conventions of a catalogue without a description."""


def band_keys(
    assets: Mapping[str, StacJson | None], names: Mapping[str, Sequence[str]] = ANY_NAMES
) -> dict[str, str]:
    """The asset key of each band and of SCL that an item offers.

    Of several rasters of one band a TIFF is preferred to a JPEG 2000, which is slower to read in
    parts.
    """
    keys: dict[str, str] = {}
    present = {key.lower(): key for key, asset in assets.items() if asset and asset.get("href")}
    for band, possible in names.items():
        offered = [present[name.lower()] for name in possible if name.lower() in present]
        if len(offered) > 1:
            offered.sort(key=lambda key: _is_jp2(assets[key] or {}))
        if offered:
            keys[band] = offered[0]
    return keys


def band_asset(
    item: StacJson,
    band: str,
    key: str,
    tile: Tile,
    baseline: str,
    generated: str,
    fixed_offset: int | None = None,
) -> Asset:
    """One band's raster in normal form; `key` is that of its asset.

    Processing baseline and generation time may be empty. Without a fixed offset of the catalogue,
    the rules of `asset_offset` apply. Raises CatalogError where CRS, grid or offset are not stated.
    """
    asset: StacJson = item["assets"][key]
    properties: StacJson = item["properties"]
    place = (tile.name, tile.epsg, tile.easting, tile.northing)
    try:
        facts = _raster_facts(
            band,
            [asset.get(name) for name in _OF_ASSET],
            [properties.get(name) for name in _OF_ITEM],
            place,
            baseline,
            "" if baseline else generated,
            0 if band == SCL else fixed_offset,
        )
    except Unstated as problem:
        raise CatalogError(
            item_name(item),
            str(problem),
            "Use a catalogue whose items state it (Earth Search, Planetary Computer, CDSE do)",
        ) from None
    size = asset.get("file:size")
    return Asset(
        href=asset["href"],
        epsg=facts.epsg,
        transform=facts.grid.transform,
        shape=facts.grid.shape,
        offset=facts.offset,
        size=whole_number(size, "file:size", 1, 2**63 - 1) if size else None,
        grid_stated=facts.grid.extent_stated,
        pixel_stated=facts.grid.pixel_stated,
        epsg_stated=facts.epsg_stated,
    )


class _RasterFacts(NamedTuple):
    epsg: int
    epsg_stated: bool
    grid: StatedGrid
    offset: int


@shared_by_content
def _raster_facts(
    band: str,
    of_asset: Sequence[Any],
    of_item: Sequence[Any],
    place: tuple[str, int, int, int],
    baseline: str,
    generated: str,
    fixed_offset: int | None,
) -> _RasterFacts:
    """What is the same of all rasters whose fields (`_OF_ASSET`, `_OF_ITEM`) are the same."""
    asset = dict(zip(_OF_ASSET, of_asset, strict=True))
    properties = dict(zip(_OF_ITEM, of_item, strict=True))
    tile = Tile(*place)
    stated = stated_epsg(asset) or stated_epsg(properties)
    epsg = stated or tile.epsg
    if epsg != tile.epsg and not epsg_exists(epsg):
        raise ValueError(f"its CRS is EPSG:{epsg}, which is unknown")
    grid = raster_grid(properties, asset, band, tile if epsg == tile.epsg else None)
    offset = fixed_offset
    if offset is None:
        offset = asset_offset(properties, asset, baseline, generated)
    return _RasterFacts(epsg, stated is not None, grid, offset)


def _is_jp2(asset: StacJson) -> bool:
    kind = str(asset.get("type") or "").lower()
    return "jp2" in kind or public_url(str(asset["href"])).lower().endswith(".jp2")
