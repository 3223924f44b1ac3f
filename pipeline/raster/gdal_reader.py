"""A window of any raster that GDAL can open, warped where its grid is another."""

from dataclasses import dataclass

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from pipeline.raster.read_errors import damaged
from pipeline.raster.window import (
    Extent,
    Span,
    Target,
    native_window,
    nodata_of,
    placement,
    require_extent,
    unsigned,
)


@dataclass(frozen=True)
class _GdalRaster:
    dataset: DatasetReader

    @property
    def width(self) -> int:
        return int(self.dataset.width)

    @property
    def height(self) -> int:
        return int(self.dataset.height)

    @property
    def transform(self) -> Affine:
        return self.dataset.transform

    @property
    def nodata(self) -> int:
        return nodata_of(self.dataset.nodata, np.dtype(self.dataset.dtypes[0]))

    def read(self, rows: Span, columns: Span) -> np.ndarray:
        window = Window(columns[0], rows[0], columns[1] - columns[0], rows[1] - rows[0])
        values: np.ndarray = self.dataset.read(1, window=window)
        return values


def read_with_gdal(
    path: str, epsg: int, target: Target, stated: Extent | None = None
) -> np.ndarray:
    """Read a window natively where the grids agree, else warped by nearest neighbour.

    Args:
        path: GDAL's name of the raster.
        epsg: The CRS of the target.
        target: The window.
        stated: The extent that the raster's item states.

    Returns:
        uint8 or uint16 (rows, columns), 0 = nodata or outside the raster.

    Raises:
        Unreadable: The raster is not what it should be.
        RasterioError: GDAL fails.
    """
    with rasterio.open(path, sharing=False) as dataset:
        if dataset.count != 1:
            raise damaged(f"has {dataset.count} bands, not one")
        if np.dtype(dataset.dtypes[0]).kind not in "ui":
            raise damaged(f"holds {dataset.dtypes[0]}, not integers")
        if dataset.crs is None:
            raise damaged("has no coordinate reference system")
        raster = _GdalRaster(dataset)
        own = epsg if dataset.crs == CRS.from_epsg(epsg) else dataset.crs.to_epsg()
        require_extent(raster, own, stated)
        if own == epsg:
            place = placement(raster, target)
            if place is not None:
                native = native_window(raster, place, target.shape)
                return native.placed(raster.read(native.rows, native.columns))
        return _warped(raster, epsg, target)


def _warped(raster: _GdalRaster, epsg: int, target: Target) -> np.ndarray:
    nodata = raster.nodata
    with WarpedVRT(
        raster.dataset,
        crs=CRS.from_epsg(epsg),
        transform=target.transform,
        height=target.shape[0],
        width=target.shape[1],
        resampling=Resampling.nearest,
        src_nodata=nodata,
        nodata=nodata,
    ) as warped:
        return unsigned(warped.read(1), nodata)
