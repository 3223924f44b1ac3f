"""A mosaic of a run on a coarse grid, read through its overviews: pictures are made of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import rasterio
from pyproj import CRS

from pipeline.io.store import Store, public_url
from pipeline.product.layers import OutputLayer
from pipeline.raster.gdal_errors import gdal_errors_of

_CACHE_MB = 64  # each block of a cell's overviews is read once; GDAL would keep 5 % of the memory


@dataclass(frozen=True)
class CoarseGrid:
    """A grid of coarse pixels over a mosaic.

    Attributes:
        shape: Rows and columns.
        corner: x and y of the upper left corner.
        pixel: Width and height of a pixel, in units of the CRS.
        crs: The mosaic's CRS.
    """

    shape: tuple[int, int]
    corner: tuple[float, float]
    pixel: tuple[float, float]
    crs: CRS


@dataclass(frozen=True)
class CoarseMosaic:
    """The first band of a mosaic (y, x), on a coarse grid."""

    values: np.ndarray
    grid: CoarseGrid


def read_coarsely(store: Store, layer: OutputLayer, longer_side: int) -> CoarseMosaic:
    """Read the mosaic of a layer, whose VRT must be there.

    `longer_side` is the most pixels of its longer side. Raises OutputUnreadable where it cannot be
    read.
    """
    with _opened(store, layer) as mosaic:
        grid = _grid(mosaic, longer_side, 1)
        return CoarseMosaic(mosaic.read(1, out_shape=grid.shape), grid)


def coarse_grid(store: Store, layer: OutputLayer, longer_side: int, finest: int) -> CoarseGrid:
    """The grid over the mosaic of a layer; none of its pixels is read.

    A pixel is `finest` pixels of the mosaic wide, or more where the longer side would have more
    than `longer_side`. Raises OutputUnreadable where the VRT cannot be read.
    """
    with _opened(store, layer) as mosaic:
        return _grid(mosaic, longer_side, finest)


@contextmanager
def _opened(store: Store, layer: OutputLayer) -> Iterator[rasterio.DatasetReader]:
    with (
        gdal_errors_of(public_url(store.path(layer.mosaic_file))),
        rasterio.Env(**store.gdal_options(), GDAL_CACHEMAX=_CACHE_MB),
        rasterio.open(store.gdal_path(layer.mosaic_file)) as mosaic,
    ):
        yield mosaic


def _grid(mosaic: rasterio.DatasetReader, longer_side: int, finest: int) -> CoarseGrid:
    factor = max(finest, max(mosaic.shape) / longer_side)
    rows, columns = (max(1, round(side / factor)) for side in mosaic.shape)
    left, bottom, right, top = mosaic.bounds
    pixel = ((right - left) / columns, (top - bottom) / rows)
    return CoarseGrid((rows, columns), (left, top), pixel, CRS.from_wkt(mosaic.crs.to_wkt()))
