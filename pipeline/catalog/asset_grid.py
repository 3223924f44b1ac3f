"""The grid of a published raster: CRS, transform and shape, by what its item states of it."""

import math
from functools import lru_cache
from typing import Any, NamedTuple

from affine import Affine

from pipeline.catalog.asset_offset import StacFields, Unstated, raster_band
from pipeline.grid.mgrs import Tile

_TEN_METRES = ("B02", "B03", "B04", "B08")
_TILE_SIDE = 109_800  # metres, of a granule
# The limits of what a catalogue may state; a granule has 10,980 pixels of 10 m.
_MOST_PIXELS = 1_000_000  # of a side
_PIXEL = (0.1, 10_000.0)  # metres
_FARTHEST = 1e8  # metres of a corner from the origin of its CRS


def native_resolution(band: str) -> int:
    """Metres of a pixel of a band (or SCL) as Sentinel-2 delivers it."""
    return 10 if band in _TEN_METRES else 20


def stated_epsg(fields: StacFields) -> int | None:
    """The EPSG code that an asset or an item states, if it states one."""
    code = str(fields.get("proj:code") or "")
    epsg = code[5:] if code.upper().startswith("EPSG:") else fields.get("proj:epsg")
    try:
        return whole_number(epsg, "CRS", 1024, 32767) if epsg else None  # EPSG's own numbers
    except ValueError:
        raise ValueError(f"its CRS is {code or epsg!r}") from None


@lru_cache(maxsize=256)
def epsg_exists(epsg: int) -> bool:
    """Whether EPSG has such a CRS."""
    # Imported here: it takes a fifth of a second, and a catalogue is described without it.
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        CRS.from_epsg(epsg)
    except CRSError:
        return False
    return True


class StatedGrid(NamedTuple):
    """The pixels of a raster.

    Attributes:
        transform: Pixel (column, row) → metres.
        shape: Rows and columns.
        extent_stated: Whether asset or item state the extent; else it is the tile's.
        pixel_stated: Whether the asset states transform and shape.
    """

    transform: Affine
    shape: tuple[int, int]
    extent_stated: bool
    pixel_stated: bool


def raster_grid(
    properties: StacFields, asset: StacFields, band: str, tile: Tile | None
) -> StatedGrid:
    """The grid of a band's raster, from its asset, its item's properties, or its tile.

    Raises ValueError for malformed fields, and Unstated where neither says enough.
    """
    transform, shape = asset.get("proj:transform"), asset.get("proj:shape")
    if transform and shape:
        return StatedGrid(_affine(transform), _shape(shape), True, True)
    resolution = float(
        asset.get("gsd") or raster_band(asset).get("spatial_resolution") or native_resolution(band)
    )
    box = asset.get("proj:bbox") or properties.get("proj:bbox")
    if not box and properties.get("proj:transform") and properties.get("proj:shape"):
        height, width = _shape(properties["proj:shape"])
        whole = _affine(properties["proj:transform"])
        box = (whole.c, whole.f + whole.e * height, whole.c + whole.a * width, whole.f)
    stated = bool(box)
    if not box and tile:
        west, north = tile.grid_origin
        box = (west, north - _TILE_SIDE, west + _TILE_SIDE, north)
    if not box:
        raise Unstated(f"{band} states neither proj:transform with proj:shape nor proj:bbox")
    left, bottom, right, top = _finite(box, "proj:bbox", 4)
    whole = _affine((resolution, 0, left, 0, -resolution, top))
    shape = ((top - bottom) / resolution, (right - left) / resolution)
    return StatedGrid(whole, _shape([round(side) for side in shape]), stated, False)


def _affine(numbers: Any) -> Affine:
    affine = Affine(*_finite(numbers, "proj:transform", 6))
    if affine.b or affine.d or affine.a <= 0 or affine.e >= 0:
        raise Unstated(f"proj:transform {list(numbers)} is rotated or not north up")
    if not (_PIXEL[0] <= min(affine.a, -affine.e) and max(affine.a, -affine.e) <= _PIXEL[1]):
        raise ValueError(f"its pixels are {affine.a:g} × {-affine.e:g} m")
    if max(abs(affine.c), abs(affine.f)) > _FARTHEST:
        raise ValueError(f"its corner is at {affine.c:g}, {affine.f:g} m")
    return affine


def _shape(stated: Any) -> tuple[int, int]:
    """Rows and columns, as many as a raster may have."""
    rows, columns = (whole_number(side, "proj:shape", 1, _MOST_PIXELS) for side in list(stated)[:2])
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


def whole_number(stated: Any, name: str, least: int, most: int) -> int:
    """A whole number within limits, also as text."""
    try:
        number = int(stated)
    except (TypeError, ValueError, OverflowError):
        number = least - 1
    if not least <= number <= most:
        raise ValueError(f"its {name} is {stated!r:.100}")
    return number
