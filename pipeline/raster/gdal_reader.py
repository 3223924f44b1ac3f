"""A window of any raster that GDAL can open, warped where its grid is another."""

from dataclasses import dataclass

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from pipeline.raster.gdal_file import GdalFile
from pipeline.raster.read_errors import damaged
from pipeline.raster.window import (
    Extent,
    RasterGrid,
    Span,
    Target,
    as_unsigned,
    native_window,
    nodata_of,
    require_extent,
)


def read_with_gdal(
    file: GdalFile, epsg: int, target: Target, extent: Extent | None = None
) -> np.ndarray:
    """Read a window natively where the grids agree, else warped by nearest neighbour.

    Args:
        file: The raster.
        epsg: The CRS of the target.
        target: The window.
        extent: The extent that the raster's item states.

    Returns:
        uint8 or uint16 (rows, columns), 0 = nodata or outside the raster.

    Raises:
        Unreadable: The raster is not what it should be, or cannot be fetched.
        RasterioError: GDAL fails.
    """
    with file.opened() as dataset:
        band = _only_band(dataset)
        dtype = np.dtype(dataset.dtypes[band - 1])
        if dtype.kind not in "ui":
            raise damaged(f"holds {dtype}, not integers")
        if dataset.crs is None:
            raise damaged("has no coordinate reference system")
        own = epsg if dataset.crs == CRS.from_epsg(epsg) else dataset.crs.to_epsg()
        nodata = nodata_of(dataset.nodata, dtype)
        grid = RasterGrid(dataset.width, dataset.height, dataset.transform, own, nodata)
        require_extent(grid, extent)
        native = native_window(grid, target, extent) if own == epsg else None
        with file.mask_of(dataset) as mask_file:
            source = _Source(dataset, band, nodata, mask_file)
            if native is None:
                return source.warped(CRS.from_epsg(epsg), target)
            return native.placed(source.window(native.rows, native.columns))


def _only_band(dataset: DatasetReader) -> int:
    """The number of a raster's band, an alpha band aside."""
    bands = dataset.count - len(_alpha_bands(dataset))
    if bands != 1:
        raise damaged(f"has {bands} bands, not one")
    return next(n for n in dataset.indexes if n not in _alpha_bands(dataset))


def _alpha_bands(dataset: DatasetReader) -> list[int]:
    kinds = enumerate(dataset.colorinterp, 1)
    return [number for number, kind in kinds if kind == ColorInterp.alpha]


@dataclass(frozen=True)
class _Source:
    """A band with everything that says which of its pixels are valid."""

    dataset: DatasetReader
    band: int
    nodata: int
    mask_file: DatasetReader | None

    def window(self, rows: Span, columns: Span) -> np.ndarray:
        """Stored pixels; invalid ones are nodata."""
        (top, bottom), (left, right) = rows, columns
        window = Window(left, top, right - left, bottom - top)
        if not (window.width and window.height):
            return np.zeros((window.height, window.width), self.dataset.dtypes[self.band - 1])
        values = self.dataset.read(self.band, window=window)
        if self._masked:
            values[self.dataset.read_masks(self.band, window=window) == 0] = self.nodata
        for alpha in _alpha_bands(self.dataset):
            values[self.dataset.read(alpha, window=window) == 0] = self.nodata
        if self.mask_file is not None:
            number = min(self.band, self.mask_file.count)
            values[self.mask_file.read(number, window=window) == 0] = self.nodata
        return values

    def warped(self, crs: CRS, target: Target) -> np.ndarray:
        """The target's pixels by nearest neighbour: uint8 or uint16, 0 where invalid."""
        alpha = bool(_alpha_bands(self.dataset))
        masked = self._masked or alpha
        grid = {
            "crs": crs,
            "transform": target.transform,
            "height": target.shape[0],
            "width": target.shape[1],
            "resampling": Resampling.nearest,
        }
        # GDAL does not look at masks where it is given a number for nodata.
        nodata = {} if masked else {"src_nodata": self.nodata, "nodata": self.nodata}
        with WarpedVRT(self.dataset, **grid, **nodata, add_alpha=masked and not alpha) as warped:
            values = as_unsigned(warped.read(self.band), self.nodata)
            if masked:
                values[warped.dataset_mask() == 0] = 0
        if self.mask_file is not None:
            # A file of a mask may lack a grid: it is the raster's.
            own = {"src_crs": self.dataset.crs, "src_transform": self.dataset.transform}
            with WarpedVRT(self.mask_file, **own, **grid) as mask:
                values[mask.read(min(self.band, mask.count)) == 0] = 0
        return values

    @property
    def _masked(self) -> bool:
        """Whether GDAL has a mask that is neither a number nor an alpha band."""
        flags = self.dataset.mask_flag_enums[self.band - 1]
        return not {MaskFlags.all_valid, MaskFlags.nodata, MaskFlags.alpha} & set(flags)
