"""A Sentinel-2 L2A item in the one form that the rest of the pipeline relies on."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from affine import Affine

SCL = "SCL"


@dataclass(frozen=True)
class Asset:
    """One single-band raster of an item.

    `transform` and `shape` (rows, columns) are in the CRS `epsg` (metres); `offset` is what is
    added to a stored digital number to get reflectance × 10000 without offset (−1000 for
    products of processing baseline 04.00 and later whose offset was not applied, else 0).
    `size` is the file's length in bytes where the catalogue says it; `stated` is whether it says
    the grid, too, which else is the tile's.
    """

    href: str
    epsg: int
    transform: Affine
    shape: tuple[int, int]
    offset: int = 0
    size: int | None = None
    stated: bool = False

    @property
    def resolution(self) -> float:
        """Pixel size in metres."""
        return float(self.transform.a)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Extent (min x, min y, max x, max y) in metres of `epsg`."""
        rows, columns = self.shape
        left, top, step = self.transform.c, self.transform.f, self.transform
        return (left, top + step.e * rows, left + step.a * columns, top)


@dataclass(frozen=True)
class Item:
    """One granule: the part of an acquisition that lies in one MGRS tile.

    `tile` is the name that `mgrs_tiles.parse_tile` gives the item's MGRS code; `acquisition`
    names the overpass (platform, orbit, day), so that split granules and reprocessed duplicates
    of one overpass share it; `assets` has the keys B02 … B12 (those that the item offers) and SCL.
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
    footprint: Any | None  # shapely geometry, EPSG:4326
    assets: Mapping[str, Asset]
    datastrip: str = ""  # its sensing start, YYYYMMDDTHHMMSS, which tells split granules apart
    attribution: str = ""  # the notice that its publisher wants; empty: that of Sentinel's terms
