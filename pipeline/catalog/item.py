"""A Sentinel-2 L2A item in normal form, the one form that the rest of the pipeline uses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from affine import Affine

SCL = "SCL"
_DARK = ("B02", "B04", "B03")  # bands in which land is darkest, in the order they are chosen


@dataclass(frozen=True)
class Asset:
    """One single-band raster of an item.

    Attributes:
        href: Its address or path.
        epsg: Its CRS.
        transform: Pixel (column, row) → easting, northing in metres of that CRS.
        shape: Rows and columns.
        offset: The number that is added to a stored number to get reflectance × 10000: −1000 for
            products of processing baseline 04.00 and later whose offset was not applied, else 0.
        size: Bytes of the file, if the catalogue states them.
        grid_stated: Whether the catalogue states the extent; else it is the tile's.
        pixel_stated: Whether the catalogue states the grid itself, pixels and all.
        epsg_stated: Whether the catalogue states the CRS; else it is the tile's.
    """

    href: str
    epsg: int
    transform: Affine
    shape: tuple[int, int]
    offset: int = 0
    size: int | None = None
    grid_stated: bool = False
    # Assets are equal whatever says so.
    pixel_stated: bool = field(default=False, compare=False)
    epsg_stated: bool = field(default=False, compare=False)

    @property
    def resolution(self) -> float:
        """Pixel size in metres."""
        return float(self.transform.a)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Extent (min x, min y, max x, max y) in metres of `epsg`."""
        rows, columns = self.shape
        grid = self.transform
        return (grid.c, grid.f + grid.e * rows, grid.c + grid.a * columns, grid.f)


@dataclass(frozen=True)
class Item:
    """One granule: the part of an acquisition that lies in one MGRS tile.

    Attributes:
        id: Its name in the catalogue.
        tile: The name of its tile, by `pipeline.grid.mgrs.parse_tile`.
        datetime: Its sensing time, in UTC.
        acquisition: The overpass: platform, orbit, day. Split granules and reprocessed duplicates
            of one overpass share it.
        platform: "s2a" … "s2d".
        cloud_cover: Percent; None where it is not stated.
        baseline: The processing baseline, "05.09", or empty.
        generated: The product's generation time, ISO 8601 in UTC, or empty.
        epsg: The CRS of its tile.
        footprint: A shapely geometry in EPSG:4326, if the item has one.
        assets: The rasters that it offers, by band (B02 … B12) and SCL.
        datastrip: The sensing start of its datastrip, YYYYMMDDTHHMMSS, which differs between the
            granules of a split overpass; or empty.
        attribution: The notice that its publisher wants; empty: that of Sentinel's terms.
    """

    id: str
    tile: str
    datetime: datetime
    acquisition: str
    platform: str
    cloud_cover: float | None
    baseline: str
    generated: str
    epsg: int
    footprint: Any | None
    assets: Mapping[str, Asset]
    datastrip: str = ""
    attribution: str = ""


def dark_band(item: Item) -> str | None:
    """The band by which an item's offset can be checked; None where there is none to check."""
    offsets: Mapping[str, int] = {b: a.offset for b, a in item.assets.items()}
    return next((band for band in _DARK if offsets.get(band, 0) < 0), None)
