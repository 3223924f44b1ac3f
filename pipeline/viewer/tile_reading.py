"""The numbers of a tile, from every COG of a run that it touches.

Near views are read by rio-tiler, which takes the overview that fits. Far views touch hundreds of
cells: they are put together from small pictures of the cells, which are read once and kept.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rio_tiler.reader import part

from pipeline.grid.cells import PIXEL
from pipeline.product.layers import OutputLayer
from pipeline.product.read_layer import opened_raster
from pipeline.viewer.map_tiles import TILE_SIDE, CellIndex, MapTile, pixels_in_cell
from pipeline.viewer.viewed_run import ViewedCell, ViewedRun
from pipeline.viewer.zone_gaps import close_gaps

_SIDE, _SMALLER_SIDE = 128, 64  # pixels of the longer side of a cell's picture
_MANY = 4000  # cells: of more, smaller pictures are kept, which take 4 kB a layer
_NEAR_ENOUGH = 0.75  # of a picture's pixel: a tile of smaller pixels is read from the COGs
_AT_ONCE = 8  # cells' pictures that are read at once: on object storage each is a few requests
_WEB_MERCATOR = CRS.from_epsg(3857)
_GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_CACHEMAX": 256, "VSI_CACHE": "TRUE"}


class MapTileReader:
    """Reads the tiles of a run's layers; it may be used by several threads at once."""

    def __init__(self, run: ViewedRun) -> None:
        self._run, self._index = run, CellIndex(run.cells)
        self._side = _SIDE if len(run.cells) <= _MANY else _SMALLER_SIDE
        self._small: dict[tuple[str, str], np.ndarray] = {}
        self._reading = threading.Lock()

    def read(self, layer: OutputLayer, tile: MapTile) -> np.ndarray | None:
        """The numbers of a layer: (band, 256, 256), its nodata where no cell has a number.

        The nearest pixels are taken. None where no cell of the run touches the tile.

        Raises OutputUnreadable where a raster cannot be read.
        """
        cells = self._index.touched(tile, layer.name)
        if not cells:
            return None
        far = [c for c in cells if tile.ground >= _NEAR_ENOUGH * self._pixel(c, layer)]
        if len(far) == len(cells):
            return self._from_pictures(layer, tile, cells)
        return self._from_rasters(layer, tile, cells)

    def _from_rasters(
        self, layer: OutputLayer, tile: MapTile, cells: Sequence[ViewedCell]
    ) -> np.ndarray:
        nodata = layer.nodata or 0
        whole: np.ndarray | None = None
        seen = {cell.epsg: np.zeros((TILE_SIDE, TILE_SIDE), bool) for cell in cells}
        for cell in cells:
            values = self._warped(layer, tile, cell)
            there = (values != nodata).any(axis=0)
            if whole is None:
                whole = np.full_like(values, nodata)
            np.copyto(whole, values, where=there)
            seen[cell.epsg] |= there
            if there.all():  # cells do not overlap: the others have nothing here
                return values
        assert whole is not None  # a tile that is read touches a cell
        close_gaps(whole, seen, tile)
        return whole

    def _warped(self, layer: OutputLayer, tile: MapTile, cell: ViewedCell) -> np.ndarray:
        with opened_raster(self._run.store, cell.key(layer), **_GDAL) as raster:
            image = part(
                raster,
                tile.bounds,
                dst_crs=_WEB_MERCATOR,
                bounds_crs=_WEB_MERCATOR,
                width=TILE_SIDE,
                height=TILE_SIDE,
                indexes=tuple(range(1, raster.count + 1)),
                nodata=layer.nodata,
            )
        values: np.ndarray = image.array.data
        return values

    def _from_pictures(
        self, layer: OutputLayer, tile: MapTile, cells: Sequence[ViewedCell]
    ) -> np.ndarray:
        nodata = layer.nodata or 0
        pictures = self._pictures(layer, cells)
        first = pictures[0]
        whole = np.full((len(first), TILE_SIDE, TILE_SIDE), nodata, first.dtype)
        flat = whole.reshape(len(whole), -1)
        for cell, picture in zip(cells, pictures, strict=True):
            places, rows, columns = pixels_in_cell(tile, cell)
            high, wide = picture.shape[1:]
            found = picture[:, rows * high // cell.shape[0], columns * wide // cell.shape[1]]
            free = (flat[:, places] == nodata).all(axis=0)
            flat[:, places[free]] = found[:, free]
        return whole

    def _pictures(self, layer: OutputLayer, cells: Sequence[ViewedCell]) -> list[np.ndarray]:
        with self._reading:  # tiles that are asked for together need the same ones
            absent = [cell for cell in cells if (layer.name, cell.id) not in self._small]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                read = pool.map(lambda cell: self._picture(layer, cell), absent)
                for cell, picture in zip(absent, read, strict=True):
                    self._small[layer.name, cell.id] = picture
        return [self._small[layer.name, cell.id] for cell in cells]

    def _picture(self, layer: OutputLayer, cell: ViewedCell) -> np.ndarray:
        with opened_raster(self._run.store, cell.key(layer), **_GDAL) as file:
            factor = max(1.0, max(file.shape) / self._side)
            shape = tuple(max(1, round(side / factor)) for side in file.shape)
            # Nearest pixels would leave holes where cells end: the others leave nodata out.
            values: np.ndarray = file.read(
                out_shape=(file.count, *shape), resampling=Resampling[layer.overview]
            )
        return values

    def load_far_views(self, layers: Sequence[OutputLayer]) -> None:
        """Read the pictures of all cells in advance; what cannot be read is told by its tile."""
        for layer in layers:
            for cell in self._run.cells:
                if layer.name in cell.layers:
                    with suppress(Exception):
                        self._pictures(layer, [cell])

    def _pixel(self, cell: ViewedCell, layer: OutputLayer) -> float:
        """Metres a side of a pixel of a cell's picture."""
        return PIXEL * max(layer.step or 1, max(cell.shape) / self._side)
