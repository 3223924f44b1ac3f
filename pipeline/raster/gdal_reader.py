"""A window of any raster that GDAL can open, warped where its grid is another."""

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from pipeline.raster.read_errors import damaged
from pipeline.raster.window import (
    Extent,
    RasterGrid,
    Target,
    as_unsigned,
    native_window,
    nodata_of,
    require_extent,
)


def read_with_gdal(
    path: str, epsg: int, target: Target, extent: Extent | None = None
) -> np.ndarray:
    """Read a window natively where the grids agree, else warped by nearest neighbour.

    Args:
        path: GDAL's name of the raster.
        epsg: The CRS of the target.
        target: The window.
        extent: The extent that the raster's item states.

    Returns:
        uint8 or uint16 (rows, columns), 0 = nodata or outside the raster.

    Raises:
        Unreadable: The raster is not what it should be.
        RasterioError: GDAL fails.
    """
    with rasterio.open(path, sharing=False) as dataset:
        if dataset.count != 1:
            raise damaged(f"has {dataset.count} bands, not one")
        dtype = np.dtype(dataset.dtypes[0])
        if dtype.kind not in "ui":
            raise damaged(f"holds {dtype}, not integers")
        if dataset.crs is None:
            raise damaged("has no coordinate reference system")
        own = epsg if dataset.crs == CRS.from_epsg(epsg) else dataset.crs.to_epsg()
        nodata = nodata_of(dataset.nodata, dtype)
        grid = RasterGrid(dataset.width, dataset.height, dataset.transform, own, nodata)
        require_extent(grid, extent)
        native = native_window(grid, target) if own == epsg else None
        if native is None:
            return _warped(dataset, nodata, epsg, target)
        (top, bottom), (left, right) = native.rows, native.columns
        return native.placed(dataset.read(1, window=Window(left, top, right - left, bottom - top)))


def _warped(dataset: DatasetReader, nodata: int, epsg: int, target: Target) -> np.ndarray:
    with WarpedVRT(
        dataset,
        crs=CRS.from_epsg(epsg),
        transform=target.transform,
        height=target.shape[0],
        width=target.shape[1],
        resampling=Resampling.nearest,
        src_nodata=nodata,
        nodata=nodata,
    ) as warped:
        return as_unsigned(warped.read(1), nodata)
