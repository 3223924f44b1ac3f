"""Items → lazy observations on a cell's grid, through stackstac."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

import dask.array as da
import numpy as np
import pandas as pd
import shapely
import stackstac
import xarray as xr
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from pipeline.catalog.item import Asset, Item
from pipeline.grid.cells import PIXEL, Cell
from pipeline.grid.footprint import footprint
from pipeline.raster.prefetch import ReadAhead
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from pipeline.raster.window import Extent

Bounds = tuple[float, float, float, float]

# Metres around a cell in which an item's footprint is looked for. Footprints are simplified, and an
# edge of 110 km that is straight in degrees lies 0.4 km off the straight one in UTM at 60° of
# latitude, 2.1 km at 83°.
_AROUND = 2500.0


@dataclass(frozen=True)
class Block:
    """A part of a cell, in pixels of 10 m from the cell's upper left corner; all even."""

    row: int
    column: int
    height: int
    width: int

    def bounds(self, cell: Cell) -> Bounds:
        """Extent (min x, min y, max x, max y) in metres of the cell's CRS."""
        left, _, _, top = cell.bounds
        left, top = left + self.column * PIXEL, top - self.row * PIXEL
        return (left, top - self.height * PIXEL, left + self.width * PIXEL, top)

    def slices(self, resolution: int = PIXEL) -> tuple[slice, slice]:
        """Rows and columns of the block in an array of the cell at 10 or 20 m."""
        n = resolution // PIXEL
        return (
            slice(self.row // n, (self.row + self.height) // n),
            slice(self.column // n, (self.column + self.width) // n),
        )


def block_windows(cell: Cell, source_block: int = 1024) -> tuple[Block, ...]:
    """The cell cut where its tile's source blocks end: each is decoded for one of them only.

    Source blocks begin at the tile's grid origin and have `source_block` pixels of 10 m (even)
    a side: COGs have blocks of 1024 pixels, which are 2048 of these for bands of 20 m.
    """
    return tuple(
        Block(row, column, height, width)
        for row, height in _cuts(cell.row_offset, cell.height, source_block)
        for column, width in _cuts(cell.column_offset, cell.width, source_block)
    )


def band_resolution(items: Sequence[Item], band: str) -> int:
    """Metres at which a band is read, 10 or 20: the finest of the items decides.

    20 where no item offers it.
    """
    offered = [item.assets[band].resolution for item in items if band in item.assets]
    return 2 * PIXEL if min(offered, default=2 * PIXEL) >= 2 * PIXEL else PIXEL


def substituted(items: Sequence[Item], substitutes: Mapping[str, str]) -> list[Item]:
    """The items, with an absent band read from the asset of the band that stands for it.

    `substitutes` is absent band → standing-in band, e.g. {"B8A": "B08"}; a band that an item
    offers is never replaced.
    """
    return [
        replace(
            item,
            assets={
                **{b: item.assets[by] for b, by in substitutes.items() if by in item.assets},
                **item.assets,
            },
        )
        for item in items
    ]


def reaching(items: Sequence[Item], cell: Cell) -> list[Item]:
    """The items whose footprint reaches into a cell, or may do so: one that states none is kept."""
    left, bottom, right, top = cell.bounds
    around = (left - _AROUND, bottom - _AROUND, right + _AROUND, top + _AROUND)
    geometry = shapely.geometry.shape(footprint(around, cell.epsg)[0])
    shapely.prepare(geometry)
    return [
        item
        for item in items
        if item.footprint is None or shapely.intersects(geometry, item.footprint)
    ]


def month_of(item: Item) -> int:
    """The month of an item in UTC, 0 … 11."""
    return _utc(item.datetime).month - 1


def acquisition_numbers(items: Sequence[Item]) -> np.ndarray:
    """A number for each item, equal for those of one acquisition: int32 (item,)."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(i.acquisition, len(numbers)) for i in items], np.int32)


def observations(
    items: Sequence[Item],
    bands: Sequence[str],
    bounds: Bounds,
    epsg: int,
    resolution: float,
    *,
    dtype: type[np.unsignedinteger] = np.uint16,
    settings: ReaderSettings | None = None,
    faults: FaultLog | None = None,
    dates: int = -1,
) -> xr.DataArray:
    """Lazy `uint16 (time, band, y, x)`: reflectance × 10000 without offset, 0 = nodata.

    There is one time for each item and one band for each of `bands`, in the order given, whether
    or not an item offers the band or reaches into `bounds` (metres of `epsg`, whole pixels of
    `resolution`). Coordinates: time (UTC), id, acquisition, month (0 … 11) by time; band; y and x,
    pixel centres. Attributes: crs, transform. A chunk holds `dates` times of one
    band, by default all.

    Computing it raises ReadingError for a raster that is unreachable, or damaged where `settings`
    are strict; else a damaged one's observation is 0 and noted in `faults`.
    """
    array = (
        _stacked(items, bands, bounds, epsg, resolution, np.dtype(dtype), settings, faults, dates)
        if items
        # Of one chunk: Dask cannot choose chunks for what is empty.
        else da.zeros((0, len(bands), *_shape(bounds, resolution)), dtype=dtype, chunks=-1)
    )
    height, width = array.shape[2:]
    left, _, _, top = bounds
    return xr.DataArray(
        array,
        dims=("time", "band", "y", "x"),
        coords={
            "time": pd.DatetimeIndex([_utc(i.datetime) for i in items]).tz_localize(None),
            "band": list(bands),
            "y": top - resolution * (np.arange(height) + 0.5),
            "x": left + resolution * (np.arange(width) + 0.5),
            "id": ("time", [item.id for item in items]),
            "acquisition": ("time", [item.acquisition for item in items]),
            "month": ("time", np.array([month_of(item) for item in items], np.int8)),
        },
        attrs={
            "crs": f"EPSG:{epsg}",
            "transform": Affine(resolution, 0, left, 0, -resolution, top),
        },
    )


def overlaps(asset: Asset, bounds: Bounds, epsg: int) -> bool:
    """Whether a raster, by its metadata, reaches into `bounds` (metres of `epsg`)."""
    left, bottom, right, top = asset.bounds
    if asset.epsg != epsg:
        try:
            left, bottom, right, top = transform_bounds(
                CRS.from_epsg(asset.epsg), CRS.from_epsg(epsg), left, bottom, right, top
            )
        except RasterioError:
            return True  # cannot be told beforehand; the reader will see
    return left < bounds[2] and right > bounds[0] and bottom < bounds[3] and top > bounds[1]


def _stacked(
    items: Sequence[Item],
    bands: Sequence[str],
    bounds: Bounds,
    epsg: int,
    resolution: float,
    dtype: np.dtype,
    settings: ReaderSettings | None,
    faults: FaultLog | None,
    dates: int,
) -> da.Array:
    settings = settings or ReaderSettings()
    assets = [(band, item.assets[band]) for item in items for band in bands if band in item.assets]
    stack = stackstac.stack(
        [_stac_item(item, bands, bounds, epsg) for item in items],
        assets=list(bands),
        epsg=epsg,
        resolution=resolution,
        bounds=bounds,
        snap_bounds=False,
        chunksize=(dates, 1, -1, -1),
        dtype=dtype,
        fill_value=dtype.type(0),
        rescale=False,
        sortby_date=False,
        xy_coords=False,
        properties=False,
        band_coords=False,
        errors_as_nodata=(),
        reader=partial(  # a factory of readers serves as well as a class
            NativeReader,
            offsets={asset.href: asset.offset for _, asset in assets},
            bands={asset.href: band for band, asset in assets},
            extents={a.href: Extent(a.epsg, a.bounds) for _, a in assets if a.stated},
            faults=FaultLog() if faults is None else faults,
            settings=settings,
            ahead=ReadAhead(settings.access.requests),
        ),
    )
    return stack.data


def _stac_item(item: Item, bands: Sequence[str], bounds: Bounds, epsg: int) -> dict[str, Any]:
    """The item as stackstac takes it.

    stackstac drops items and bands that lie outside the bounds by their metadata. So that the
    result keeps its shape, every band of every item is said to cover the bounds, and what is
    absent or outside gets an empty href, which stackstac leaves at the fill value.
    """
    hrefs = {}
    for band in bands:
        asset = item.assets.get(band)
        hrefs[band] = asset.href if asset and overlaps(asset, bounds, epsg) else ""
    return {
        "type": "Feature",
        "id": item.id,
        "bbox": None,
        "properties": {
            "datetime": _utc(item.datetime).isoformat(),
            "proj:epsg": epsg,
            "proj:bbox": bounds,
        },
        "assets": {band: {"href": href} for band, href in hrefs.items()},
    }


def _shape(bounds: Bounds, resolution: float) -> tuple[int, int]:
    left, bottom, right, top = bounds
    return round((top - bottom) / resolution), round((right - left) / resolution)


def _cuts(offset: int, length: int, block: int) -> list[tuple[int, int]]:
    """(start, length) of the parts of offset … offset + length that whole blocks cut out."""
    edges = [offset, *range((offset // block + 1) * block, offset + length, block), offset + length]
    return [(a - offset, b - a) for a, b in pairwise(edges)]


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
