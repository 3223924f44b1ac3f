"""The rasters of a published STAC item: their bands, grids and offsets, in normal form."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from affine import Affine

from models.encoder.preprocessing import BANDS
from models.errors import TimesenError
from pipeline.catalog.item import SCL, Asset
from pipeline.errors import CatalogError
from pipeline.grid.mgrs import Tile
from pipeline.io.store import public_url
from pipeline.io.times import parse_time

StacJson = Mapping[str, Any]  # a STAC item or asset as JSON

_COMMON = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22", SCL: "scl",
}  # fmt: skip
_TEN_METRES = ("B02", "B03", "B04", "B08")
_TILE_SIDE = 109_800  # metres, of a granule
_OFFSET_BASELINE = (4, 0)  # processing baseline since which products carry RADIO_ADD_OFFSET −1000
_FOREIGN_BASELINE = (99, 0)  # and above: by Sen2Cor at home, sen2like and other tools
_OFFSET_SINCE = datetime(2022, 1, 25, tzinfo=UTC)  # the day from which ESA produced with it
_OFFSET = -1000
_QUANTIFICATION = 0.0001  # reflectance of one digital number

MALFORMED = (AttributeError, LookupError, TypeError, ValueError, ArithmeticError)
"""The errors of reading a field that lacks a part, or is not of the type that STAC gives it."""


@contextmanager
def naming_item(item: StacJson) -> Iterator[None]:
    """Turn the errors of malformed fields in this block into a CatalogError that names the item."""
    try:
        yield
    except TimesenError:
        raise
    except MALFORMED as error:
        problem = str(error)
        if isinstance(error, (AttributeError, LookupError, TypeError)):  # in Python's words
            problem = f"a field is not of the type that STAC gives it ({error})"
        raise CatalogError(
            f"item {item.get('id')}", f"it is malformed: {problem}", "Correct it in the catalogue"
        ) from error


@dataclass(frozen=True)
class Conventions:
    """The names of a catalogue's assets, and the meaning of their numbers.

    Attributes:
        names: Band → asset keys, of which an item has one; case does not matter.
        offset: The number that is added to every stored number; None: by `band_asset`'s rules.
    """

    names: Mapping[str, Sequence[str]]
    offset: int | None = None


def _native_resolution(band: str) -> int:
    """Metres of a pixel of a band (or SCL) as Sentinel-2 delivers it."""
    return 10 if band in _TEN_METRES else 20


def _any_names(band: str) -> tuple[str, ...]:
    """Names of Earth Search v1, of Planetary Computer and Earth Search v0, and of CDSE."""
    cdse = f"{band}_{_native_resolution(band)}m"
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
        if offered:
            keys[band] = min(offered, key=lambda key: _is_jp2(assets[key] or {}))
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
    the rules of `_offset` apply. Raises CatalogError where CRS, grid or offset are not stated.
    """
    asset: StacJson = item["assets"][key]
    stated = _epsg(asset) or _epsg(item["properties"])
    epsg = stated or tile.epsg
    grid = _grid(item, asset, band, tile if epsg == tile.epsg else None)
    offset = 0 if band == SCL else fixed_offset
    if offset is None:
        offset = _offset(item, asset, baseline, generated)
    size = asset.get("file:size")
    return Asset(
        href=asset["href"],
        epsg=epsg,
        transform=grid.transform,
        shape=grid.shape,
        offset=offset,
        size=int(size) if size else None,
        grid_stated=grid.extent_stated,
        pixel_stated=grid.pixel_stated,
        epsg_stated=stated is not None,
    )


def _is_jp2(asset: StacJson) -> bool:
    kind = str(asset.get("type") or "").lower()
    return "jp2" in kind or public_url(str(asset["href"])).lower().endswith(".jp2")


def _epsg(fields: StacJson) -> int | None:
    code = str(fields.get("proj:code") or "")
    epsg = code[5:] if code.upper().startswith("EPSG:") else fields.get("proj:epsg")
    try:
        return int(epsg) if epsg else None
    except (TypeError, ValueError):
        raise ValueError(f"its CRS is {code or epsg!r}") from None


class _Grid(NamedTuple):
    """Transform, shape (rows, columns), and how much of them asset or item state."""

    transform: Affine
    shape: tuple[int, int]
    extent_stated: bool
    pixel_stated: bool


def _grid(item: StacJson, asset: StacJson, band: str, tile: Tile | None) -> _Grid:
    properties = item["properties"]
    transform, shape = asset.get("proj:transform"), asset.get("proj:shape")
    if transform and shape:
        return _Grid(_affine(item, transform), (int(shape[0]), int(shape[1])), True, True)
    resolution = float(
        asset.get("gsd")
        or _raster_band(asset).get("spatial_resolution")
        or _native_resolution(band)
    )
    box = asset.get("proj:bbox") or properties.get("proj:bbox")
    if not box and properties.get("proj:transform") and properties.get("proj:shape"):
        rows, columns = properties["proj:shape"]
        whole = _affine(item, properties["proj:transform"])
        box = (whole.c, whole.f + whole.e * rows, whole.c + whole.a * columns, whole.f)
    stated = bool(box)
    if not box and tile:
        left, top = tile.grid_origin
        box = (left, top - _TILE_SIDE, left + _TILE_SIDE, top)
    if not box:
        raise _unknown(item, f"{band} states neither proj:transform with proj:shape nor proj:bbox")
    left, bottom, right, top = box[0], box[1], box[-2], box[-1]
    rows, columns = round((top - bottom) / resolution), round((right - left) / resolution)
    whole = Affine(resolution, 0, left, 0, -resolution, top)
    return _Grid(whole, (rows, columns), stated, False)


def _affine(item: StacJson, numbers: Any) -> Affine:
    affine = Affine(*(float(number) for number in numbers[:6]))
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise _unknown(item, f"proj:transform {list(numbers)} is rotated or not north up")
    return affine


def _offset(item: StacJson, asset: StacJson, baseline: str, generated: str) -> int:
    """The number to add to a stored number, by rule: never twice, never forgotten.

    1. `earthsearch:boa_offset_applied` is true: 0, though such items may still list −0.1.
    2. Baseline below 04.00: 0, since those products have none, even where one is listed.
    3. An offset in the raster extension: that, over its scale (−0.1 / 0.0001 = −1000).
    4. Baseline 04.00 and above: −1000 (Planetary Computer lists none and applies none). Not 99.00
       and above, which tools other than ESA's write: CatalogError.
    5. No baseline: by generation date, −1000 since 25 January 2022. No date: CatalogError.
    """
    if item["properties"].get("earthsearch:boa_offset_applied") is True:
        return 0
    if baseline and baseline_number(baseline) < _OFFSET_BASELINE:
        return 0
    listed = _listed_offset(asset)
    if listed is not None:
        return listed
    if is_foreign(baseline):
        raise _unknown(
            item,
            f"its baseline {baseline} is not one of ESA's, and neither its datatake's baseline nor "
            "raster:bands says whether its numbers have an offset",
        )
    if baseline:
        return _OFFSET
    if generated:
        return _OFFSET if parse_time(generated) >= _OFFSET_SINCE else 0
    raise _unknown(item, "it states neither baseline, raster offset nor generation time")


def _listed_offset(asset: StacJson) -> int | None:
    band = _raster_band(asset)
    offset, scale = (_number(band.get(name), name) for name in ("offset", "scale"))
    if offset is None:
        return None
    if not scale:
        scale = _QUANTIFICATION if abs(offset) < 1 else 1.0
    return round(offset / scale)


def _number(stated: Any, name: str) -> float | None:
    """A number that an item states, also as text."""
    try:
        number = None if stated is None else float(stated)
    except (TypeError, ValueError):
        number = math.nan
    if number is not None and not math.isfinite(number):
        raise ValueError(f"its raster {name} is {stated!r}, which is no number")
    return number


def _raster_band(asset: StacJson) -> dict[str, Any]:
    """Offset, scale and resolution in the raster extension's version 1, 2 or STAC 1.1's bands."""
    version_1 = (asset.get("raster:bands") or [None])[0] or {}
    stac_1_1 = (asset.get("bands") or [None])[0] or {}
    names = ("offset", "scale", "spatial_resolution")
    later = [{name: of.get(f"raster:{name}") for name in names} for of in (asset, stac_1_1)]
    fields: dict[str, Any] = {}
    for stated in (*later, version_1):
        fields |= {name: stated[name] for name in names if stated.get(name) is not None}
    return fields


def is_foreign(baseline: str) -> bool:
    """Whether a product was made outside ESA's chain, which such tools say by 99.99."""
    return bool(baseline) and baseline_number(baseline) >= _FOREIGN_BASELINE


def baseline_number(baseline: str) -> tuple[int, int]:
    """A baseline "05.09" as numbers that can be compared: (5, 9)."""
    major, _, minor = baseline.partition(".")
    return int(major), int(minor)


def _unknown(item: StacJson, problem: str) -> CatalogError:
    return CatalogError(
        f"item {item.get('id')}",
        problem,
        "Use a catalogue whose items state it (Earth Search, Planetary Computer, CDSE do)",
    )
