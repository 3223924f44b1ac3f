"""The items of a cell, and their lazy observations on its grid, read through stackstac."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import shapely
import stackstac
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.warp import transform_bounds

from pipeline.catalog.item import Asset, Item
from pipeline.grid.cells import PIXEL, Cell
from pipeline.grid.footprint import footprint
from pipeline.raster.prefetch import ReadAhead
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.reused_memory import keep_freed_memory, reused_array
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from pipeline.raster.window import Extent
from pipeline.raster.window_array import WindowArray

Bounds = tuple[float, float, float, float]

# Metres around a cell that an item's footprint may touch. Footprints are simplified: an edge of
# 110 km that is straight in degrees lies 0.4 km off the straight one in UTM at 60° of latitude,
# 2.1 km at 83°.
_MARGIN = 2500.0
_CONFIRMED = 0.95  # share of a footprint, which is simplified, that a true extent covers


def band_resolution(items: Sequence[Item], band: str) -> int:
    """Metres at which a band is read: 10, or 20 where all assets are as coarse or there is none."""
    offered = [item.assets[band].resolution for item in items if band in item.assets]
    return 2 * PIXEL if min(offered, default=2 * PIXEL) >= 2 * PIXEL else PIXEL


def substituted(items: Sequence[Item], substitutes: Mapping[str, str]) -> list[Item]:
    """The items; an absent band gets the asset of the band that stands for it.

    `substitutes` is absent band → standing-in band, e.g. {"B8A": "B08"}. A band that an item
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
    """The items whose footprint reaches into a cell, and those without a footprint."""
    left, bottom, right, top = cell.bounds
    around = (left - _MARGIN, bottom - _MARGIN, right + _MARGIN, top + _MARGIN)
    geometry = shapely.geometry.shape(footprint(around, cell.epsg)[0])
    shapely.prepare(geometry)
    return [
        item
        for item in items
        if item.footprint is None or shapely.intersects(geometry, item.footprint)
    ]


def month_of(item: Item) -> int:
    """The month of an item, 0 … 11."""
    return item.datetime.month - 1


def acquisition_numbers(items: Sequence[Item]) -> np.ndarray:
    """The number of each item's acquisition, by first appearance: int32 (item,)."""
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
    into: WindowArray | None = None,
) -> da.Array:
    """The lazy observations of items in a window.

    Computing them raises ReadingError for a raster that is unreachable, or damaged where
    `settings` are strict. The observation of another damaged raster is 0, and a fault.

    Args:
        items: The items.
        bands: The bands, or SCL.
        bounds: Metres of `epsg`, whole pixels of `resolution`.
        epsg: The CRS.
        resolution: Metres of a pixel.
        dtype: uint16, or uint8 for SCL.
        settings: How rasters are opened.
        faults: Takes the rasters that are left out.
        dates: How many items a chunk holds, of one band; -1: all.
        into: Takes the observations of one band; the lazy array is then all 0.

    Returns:
        `dtype` (item, band, y, x): reflectance × 10000 without offset, 0 = nodata. Items and bands
        keep their order and number, whether or not an item offers a band or reaches into `bounds`.
    """
    if not items:  # of one chunk: Dask cannot choose chunks for an empty array
        left, bottom, right, top = bounds
        shape = round((top - bottom) / resolution), round((right - left) / resolution)
        return da.zeros((0, len(bands), *shape), dtype=dtype, chunks=-1)
    settings = settings or ReaderSettings()
    assets = [(band, item.assets[band]) for item in items for band in bands if band in item.assets]
    return stackstac.stack(
        [_stac_item(item, bands, bounds, epsg) for item in items],
        assets=list(bands),
        epsg=epsg,
        resolution=resolution,
        bounds=bounds,
        snap_bounds=False,
        chunksize=(dates, 1, -1, -1),
        dtype=np.dtype(dtype),
        fill_value=dtype(0),
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
            extents={asset.href: _extent(asset) for _, asset in assets if asset.grid_stated},
            faults=FaultLog() if faults is None else faults,
            settings=settings,
            ahead=ReadAhead(settings.access.requests),
            into=into,
        ),
    ).data


def read_observations(
    items: Sequence[Item],
    band: str,
    bounds: Bounds,
    epsg: int,
    resolution: float,
    *,
    settings: ReaderSettings | None = None,
    faults: FaultLog | None = None,
    reuse: bool = False,
) -> np.ndarray:
    """Read the observations of one band in this thread: uint16 (item, y, x), as `observations`.

    With `reuse` the array lies in memory that this thread's next call of the kind overwrites.
    """
    keep_freed_memory()
    left, bottom, right, top = bounds
    size = (round((top - bottom) / resolution), round((right - left) / resolution))
    values = (reused_array if reuse else np.empty)((len(items), *size), np.uint16)
    hrefs = [item.assets[band].href if band in item.assets else "" for item in items]
    into = WindowArray(values, hrefs)
    lazy = observations(
        items, [band], bounds, epsg, resolution, settings=settings, faults=faults, into=into
    )
    for chunk in lazy.to_delayed().ravel():  # `compute` of an array copies what it gives
        chunk.compute(scheduler="synchronous")
    into.fill_others()
    return values


def _extent(asset: Asset) -> Extent:
    pixel = asset.resolution if asset.pixel_stated else None
    return Extent(asset.epsg, asset.bounds, pixel, asset.epsg_stated)


def is_opened(item: Item, band: str, bounds: Bounds, epsg: int) -> bool:
    """Whether an item's raster of a band is opened for `bounds` (metres of `epsg`).

    It is if its metadata say that it reaches there, and also if the item's footprint says that
    they are wrong: then its own grid decides, and an item that contradicts it is a fault.
    """
    asset = item.assets.get(band)
    return asset is not None and (overlaps(asset, bounds, epsg) or _is_doubtful(item, asset))


def _is_doubtful(item: Item, asset: Asset) -> bool:
    """Whether the extent that is stated of a raster leaves out a part of its item's footprint."""
    if not asset.grid_stated:
        return False
    if item.footprint is None:
        return True  # nothing confirms it
    try:
        west, south, east, north = transform_bounds(
            CRS.from_epsg(asset.epsg), CRS.from_epsg(4326), *asset.bounds
        )
    except (RasterioError, CRSError):
        return True
    shown = item.footprint.intersection(shapely.box(west, south, east, north)).area
    return bool(west > east or shown < _CONFIRMED * item.footprint.area)


def overlaps(asset: Asset, bounds: Bounds, epsg: int) -> bool:
    """Whether a raster reaches into `bounds` (metres of `epsg`) by its metadata."""
    left, bottom, right, top = asset.bounds
    if asset.epsg != epsg:
        try:
            left, bottom, right, top = transform_bounds(
                CRS.from_epsg(asset.epsg), CRS.from_epsg(epsg), left, bottom, right, top
            )
        except (RasterioError, CRSError):
            return True  # unknown before it is read
    return left < bounds[2] and right > bounds[0] and bottom < bounds[3] and top > bounds[1]


def _stac_item(item: Item, bands: Sequence[str], bounds: Bounds, epsg: int) -> dict[str, Any]:
    """The item in the form that stackstac needs.

    stackstac drops items and bands that lie outside the bounds by their metadata. The result must
    keep its shape, so every item claims to cover the bounds, and a raster that is absent or lies
    outside has an empty href, which stackstac leaves at the fill value.
    """
    hrefs = {}
    for band in bands:
        hrefs[band] = item.assets[band].href if is_opened(item, band, bounds, epsg) else ""
    return {
        "type": "Feature",
        "id": item.id,
        "bbox": None,
        "properties": {
            "datetime": item.datetime.isoformat(),
            "proj:epsg": epsg,
            "proj:bbox": bounds,
        },
        "assets": {band: {"href": href} for band, href in hrefs.items()},
    }
