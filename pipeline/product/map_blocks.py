"""A map in blocks: windows of its mosaic, read at full resolution and made coarser one by one.

A block is read wherever its cells' rasters can be: by this process, or by a worker of a cluster.
GDAL warps and resamples. Only that a mosaic's VRT is read at its own resolution first is done here:
GDAL would make coarse pixels of each source by itself, of its overviews, and so wrong ones where
sources meet.
"""

import math
import threading
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from dask.system import CPU_COUNT
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window

from pipeline.io.store import Store, public_url
from pipeline.product.cog_writer import BLOCK
from pipeline.product.map_crs import pixel_of
from pipeline.product.map_grid import MapResampling
from pipeline.product.vrt import Band, Frame
from pipeline.raster.gdal_errors import gdal_errors_of

_AT_ONCE = 4096 * 4096  # bytes of small pixels that are read at once
_LEAST_TILE = 16  # of a TIFF
_IN_FLIGHT = 2  # blocks beyond those that threads read: they wait to be written
_BEYOND = 10  # of the map's pixels: a seam's are within one or two of a cell
_CACHE_MB = 128  # GDAL would take 5 % of the memory
_ANY = Affine(2, 0, 0, 0, -2, 0)  # a grid; without one, rasterio warns
_GDAL_NAMES = {"majority": Resampling.mode, "average": Resampling.average}

WriteBlock = Callable[[Window, "np.ndarray | None"], None]
"""Takes a window of a map and its values (band, y, x); None where all are nodata."""

ReadBlocks = Callable[["MapBlocks", Sequence[Window], WriteBlock], None]
"""Reads windows of a map, in any order, and hands them over in the calling thread."""


@dataclass(frozen=True)
class MapBlocks:
    """What is needed to read any block of a map; it can be pickled.

    Attributes:
        store: The run's folder.
        mosaic: The key of the mosaic's VRT of small pixels.
        files: All its VRTs by key, compressed by zlib.
        shape: Rows and columns of the map.
        across: Small pixels a side of a map's pixel.
        resampling: How it is made of them.
        bands: The number of bands.
        dtype: The type of the numbers.
        nodata: The value of pixels without one.
        key: Tells it from others.
    """

    store: Store
    mosaic: str
    files: Mapping[str, bytes]
    shape: tuple[int, int]
    across: int
    resampling: MapResampling
    bands: int
    dtype: str
    nodata: int
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(
        cls,
        store: Store,
        mosaic: str,
        files: Mapping[str, bytes],
        frame: Frame,
        bands: Sequence[Band],
        across: int,
        resampling: MapResampling,
    ) -> "MapBlocks":
        """The blocks of a mosaic that has a frame of small pixels, whole squares of `across`."""
        packed = {key: zlib.compress(content, 1) for key, content in files.items()}
        shape = (frame.rows // across, frame.columns // across)
        first = bands[0]
        return cls(
            store, mosaic, packed, shape, across, resampling, len(bands), first.dtype, first.nodata
        )

    @property
    def side(self) -> int:
        """Rows and columns of a block, a power of two: at most `_AT_ONCE` bytes are read for it."""
        pixel = self.bands * np.dtype(self.dtype).itemsize * self.across**2
        return 1 << (math.isqrt(max(_AT_ONCE // pixel, 1)).bit_length() - 1)

    @property
    def tile(self) -> int:
        """Rows and columns of the tiles of a TIFF that is written block by block."""
        return max(min(self.side, BLOCK), _LEAST_TILE)

    def windows(self) -> list[Window]:
        """All blocks, row by row."""
        rows, columns = self.shape
        return [
            Window(left, top, min(self.side, columns - left), min(self.side, rows - top))
            for top in range(0, rows, self.side)
            for left in range(0, columns, self.side)
        ]


def windows_with_cells(
    blocks: MapBlocks, frame: Frame, crs: CRS, items: Sequence[Mapping[str, Any]]
) -> list[Window]:
    """The blocks that cells, given by their STAC items, may reach; the others are nodata."""
    to_map: dict[int, Transformer] = {}
    bounds = []
    for item in items:
        epsg = int(item["properties"]["proj:code"].removeprefix("EPSG:"))
        if epsg not in to_map:
            to_map[epsg] = Transformer.from_crs(epsg, crs, always_xy=True)
        left, bottom, right, top = item["properties"]["proj:bbox"]
        bounds.append(to_map[epsg].transform_bounds(left, bottom, right, top, densify_pts=8))
    beyond = _BEYOND * pixel_of(crs)
    around = np.array(bounds) + np.array([-beyond, -beyond, beyond, beyond])
    tree = shapely.STRtree(shapely.box(*around.T))
    windows = blocks.windows()
    step, corner = frame.transform.a * blocks.across, frame.transform
    lefts = np.array([window.col_off for window in windows]) * step + corner.c
    tops = corner.f - np.array([window.row_off for window in windows]) * step
    widths = np.array([window.width for window in windows]) * step
    heights = np.array([window.height for window in windows]) * step
    boxes = shapely.box(lefts, tops - heights, lefts + widths, tops)
    return [windows[place] for place in np.unique(tree.query(boxes)[0]).tolist()]


def read_block(blocks: MapBlocks, window: Window) -> np.ndarray | None:
    """The values of a block (band, y, x); None where all are nodata.

    Args:
        blocks: The map.
        window: The block, in the map's pixels.

    Raises:
        OutputUnreadable: A cell's raster cannot be read.
    """
    options = {"GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": _CACHE_MB, **blocks.store.gdal_options()}
    across = blocks.across
    places = (window.col_off, window.row_off, window.width, window.height)
    with gdal_errors_of(public_url(blocks.store.root)), rasterio.Env(**options):
        fine = _opened_mosaic(blocks).read(window=Window(*(across * place for place in places)))
    values = coarser(fine, across, blocks.nodata, blocks.resampling)
    return values if (values != blocks.nodata).any() else None


def read_blocks_here(
    blocks: MapBlocks, windows: Sequence[Window], write: WriteBlock, threads: int | None = None
) -> None:
    """Read blocks in threads of this process, by default one for each core.

    A few more than there are threads are read before they are written, so the memory does not grow
    with the map.
    """
    at_once = threads or CPU_COUNT
    pool, left = ThreadPoolExecutor(at_once), iter(windows)
    try:
        in_flight: dict[Future[np.ndarray | None], Window] = {}
        while True:
            for window in islice(left, at_once + _IN_FLIGHT - len(in_flight)):
                in_flight[pool.submit(read_block, blocks, window)] = window
            if not in_flight:
                break
            for future in wait(in_flight, return_when=FIRST_COMPLETED).done:
                write(in_flight.pop(future), future.result())
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def coarser(fine: np.ndarray, across: int, nodata: int, resampling: MapResampling) -> np.ndarray:
    """Pixels that are `across` times as large, by GDAL.

    A majority is the most frequent value, an average is rounded (halves up). Pixels of nodata do
    not count; what is made of them alone is nodata.

    Args:
        fine: uint8 or uint16 (band, y, x), rows and columns multiples of `across`.
        across: Pixels a side.
        nodata: The value of pixels without one.
        resampling: "majority" or "average"; "nearest" has nothing to resample.
    """
    if across == 1:
        return fine
    bands, rows, columns = fine.shape
    shape = (bands, rows // across, columns // across)
    if resampling == "majority" and fine.dtype != np.uint8:
        # GDAL counts values of 8 bits, and searches those of 16: minutes instead of a second.
        present = np.unique(np.append(np.flatnonzero(np.bincount(fine.ravel())), nodata))
        if len(present) <= np.iinfo(np.uint8).max + 1:
            place = np.zeros(int(present[-1]) + 1, np.uint8)
            place[present] = np.arange(len(present))
            most = _resampled(place[fine], shape, int(place[nodata]), Resampling.mode)
            return present.astype(fine.dtype)[most]
    return _resampled(fine, shape, nodata, _GDAL_NAMES[resampling])


def _resampled(
    fine: np.ndarray, shape: tuple[int, int, int], nodata: int, resampling: Resampling
) -> np.ndarray:
    _, rows, columns = fine.shape
    profile = {"width": columns, "height": rows, "count": len(fine), "dtype": fine.dtype.name}
    with MemoryFile() as file:
        with file.open(driver="GTiff", nodata=nodata, transform=_ANY, **profile) as raster:
            raster.write(fine)
        with file.open() as raster:
            values: np.ndarray = raster.read(out_shape=shape, resampling=resampling)
    return values


class _Opened(threading.local):
    """The mosaic that a thread has open: GDAL's datasets are of one thread, and VRTs are large."""

    key = ""
    mosaic: DatasetReader
    files = ExitStack()


_opened = _Opened()


def _opened_mosaic(blocks: MapBlocks) -> DatasetReader:
    if _opened.key != blocks.key:
        _opened.key = ""
        _opened.files.close()
        with ExitStack() as stack:
            folder = uuid.uuid4().hex
            paths = {
                key: stack.enter_context(
                    MemoryFile(zlib.decompress(content), dirname=folder, filename=key)
                ).name
                for key, content in blocks.files.items()
            }
            _opened.mosaic = stack.enter_context(rasterio.open(paths[blocks.mosaic]))
            _opened.files = stack.pop_all()
        _opened.key = blocks.key
    return _opened.mosaic
