"""The rasters of a published STAC item: their bands, grids and offsets, in normal form."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import shapely
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
# The limits of what a catalogue may state; a granule has 10,980 pixels of 10 m.
_MOST_PIXELS = 1_000_000  # of a side
_PIXEL = (0.1, 10_000.0)  # metres
_FARTHEST = 1e8  # metres of a corner from the origin of its CRS
_LARGEST_OFFSET = 65_535

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
    if epsg != tile.epsg and not _exists(epsg):
        raise ValueError(f"its CRS is EPSG:{epsg}, which is unknown")
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
        size=_whole(size, "file:size", 1, 2**63 - 1) if size else None,
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
        return _whole(epsg, "CRS", 1024, 32767) if epsg else None  # EPSG's own numbers
    except ValueError:
        raise ValueError(f"its CRS is {code or epsg!r}") from None


@lru_cache(maxsize=256)
def _exists(epsg: int) -> bool:
    # Imported here: it takes a fifth of a second, and a catalogue is described without it.
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        CRS.from_epsg(epsg)
    except CRSError:
        return False
    return True


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
        return _Grid(_affine(item, transform), _shape(shape), True, True)
    resolution = float(
        asset.get("gsd")
        or _raster_band(asset).get("spatial_resolution")
        or _native_resolution(band)
    )
    box = asset.get("proj:bbox") or properties.get("proj:bbox")
    if not box and properties.get("proj:transform") and properties.get("proj:shape"):
        height, width = _shape(properties["proj:shape"])
        whole = _affine(item, properties["proj:transform"])
        box = (whole.c, whole.f + whole.e * height, whole.c + whole.a * width, whole.f)
    stated = bool(box)
    if not box and tile:
        west, north = tile.grid_origin
        box = (west, north - _TILE_SIDE, west + _TILE_SIDE, north)
    if not box:
        raise _unknown(item, f"{band} states neither proj:transform with proj:shape nor proj:bbox")
    left, bottom, right, top = _finite(box, "proj:bbox", 4)
    whole = _affine(item, (resolution, 0, left, 0, -resolution, top))
    shape = ((top - bottom) / resolution, (right - left) / resolution)
    return _Grid(whole, _shape([round(side) for side in shape]), stated, False)


def _affine(item: StacJson, numbers: Any) -> Affine:
    affine = Affine(*_finite(numbers, "proj:transform", 6))
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise _unknown(item, f"proj:transform {list(numbers)} is rotated or not north up")
    if not (_PIXEL[0] <= min(affine.a, -affine.e) and max(affine.a, -affine.e) <= _PIXEL[1]):
        raise ValueError(f"its pixels are {affine.a:g} × {-affine.e:g} m")
    if max(abs(affine.c), abs(affine.f)) > _FARTHEST:
        raise ValueError(f"its corner is at {affine.c:g}, {affine.f:g} m")
    return affine


def _shape(stated: Any) -> tuple[int, int]:
    """Rows and columns, as many as a raster may have."""
    rows, columns = (_whole(side, "proj:shape", 1, _MOST_PIXELS) for side in list(stated)[:2])
    return rows, columns


def _finite(stated: Any, name: str, count: int) -> list[float]:
    """The first numbers of a list, all finite; of a box in three dimensions, those of two."""
    if not isinstance(stated, list | tuple) or len(stated) < count:
        raise ValueError(f"its {name} is {stated!r:.100}, not {count} numbers")
    if count == 4 and len(stated) == 6:
        stated = [stated[0], stated[1], stated[3], stated[4]]
    numbers = [float(number) for number in stated[:count]]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"its {name} is not of finite numbers")
    return numbers


def _whole(stated: Any, name: str, least: int, most: int) -> int:
    """A whole number within limits, also as text."""
    try:
        number = int(stated)
    except (TypeError, ValueError, OverflowError):
        number = least - 1
    if not least <= number <= most:
        raise ValueError(f"its {name} is {stated!r:.100}")
    return number


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
    if not abs(offset / scale) <= _LARGEST_OFFSET:
        raise ValueError(f"its raster offset {offset:g} over its scale {scale:g} is too large")
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
        item_name(item),
        problem,
        "Use a catalogue whose items state it (Earth Search, Planetary Computer, CDSE do)",
    )
