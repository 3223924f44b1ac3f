"""The floor of reading: the stored blocks that a cell needs lie in memory, and are decoded."""

import http.client
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import numpy as np
import rasterio
from rasterio.io import MemoryFile
from rasterio.windows import Window

from pipeline.raster.access import OPEN
from pipeline.raster.byte_ranges import ByteRanges, HttpRanges
from pipeline.raster.cog_header import CogHeader, read_header
from pipeline.raster.cog_reader import _blocks, _contents, fetch_window
from tests.benchmarks.reading_archive import rasters_of
from tests.benchmarks.reading_job import THREADS, Job

Span = tuple[int, int]
_Raster = TypeVar("_Raster")
Delivered = dict[str, list[np.ndarray]]
"""Asset's name → the result of each of its chunks."""

_PREPARING = 8  # threads


@dataclass(frozen=True)
class Held:
    """Ranges of a file that were fetched once, for whoever asks for the same ones again."""

    file: ByteRanges
    ranges: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def read(self, start: int, length: int) -> bytes:
        if (start, length) not in self.ranges:
            self.ranges[start, length] = self.file.read(start, length)
        return self.ranges[start, length]


class Bare:
    """Ranges of a file by no more than HTTP needs: one kept connection per thread, no retries."""

    _kept = threading.local()

    def __init__(self, href: str) -> None:
        self._parts = urlsplit(href)

    def read(self, start: int, length: int) -> bytes:
        if not hasattr(self._kept, "connection"):
            self._kept.connection = http.client.HTTPConnection(self._parts.netloc)
        span = {"Range": f"bytes={start}-{start + length - 1}"}
        self._kept.connection.request("GET", self._parts.path, headers=span)
        content: bytes = self._kept.connection.getresponse().read()
        return content


@dataclass(frozen=True)
class Wanted:
    """A raster's window, in its own pixels, and the file's header."""

    name: str
    href: str
    file: ByteRanges
    header: CogHeader
    rows: Span
    columns: Span

    @property
    def blocks(self) -> list[int]:
        return sorted(dict(_blocks(self.header, self.rows, self.columns)))

    @property
    def stored(self) -> int:
        """Bytes of the deflated blocks that the window needs."""
        return int(self.header.counts[self.blocks].sum())


def windows(job: Job) -> Iterator[Wanted]:
    """The windows of all rasters of a job, on their own grids."""
    left, bottom, right, top = job.cell.bounds

    def wanted(raster: tuple[str, str]) -> Wanted:
        name, href = raster
        file = HttpRanges(href, OPEN, 30.0, 30.0, lambda: None)
        header = read_header(file)
        assert header is not None  # the archive is of tiled GeoTIFFs
        grid = header.grid.transform
        rows = (round((grid.f - top) / grid.a), round((grid.f - bottom) / grid.a))
        columns = (round((left - grid.c) / grid.a), round((right - grid.c) / grid.a))
        return Wanted(name, href, file, header, rows, columns)

    with ThreadPoolExecutor(_PREPARING) as pool:
        yield from pool.map(wanted, rasters_of(job.items))


def decoding(job: Job) -> Callable[[], Delivered]:
    """Inflating the blocks and undoing their differences, by the reader's own code."""

    def held(wanted: Wanted) -> tuple[Wanted, Held]:
        file = Held(wanted.file)
        for _ in _contents(file, wanted.header, wanted.blocks):
            pass
        return wanted, file

    with ThreadPoolExecutor(_PREPARING) as pool:
        rasters = list(pool.map(held, windows(job)))

    return lambda: _decoded(rasters, job)


def fetching(job: Job) -> Callable[[], Delivered]:
    """The same, but each block is first fetched by a bare HTTP client."""
    rasters = [(wanted, Bare(wanted.href)) for wanted in windows(job)]
    return lambda: _decoded(rasters, job)


def gdal_in_memory(job: Job) -> Callable[[], Delivered]:
    """The same windows by GDAL of whole files in /vsimem."""
    asked = list(windows(job))
    files = [MemoryFile(urllib.request.urlopen(wanted.href).read()) for wanted in asked]

    def read(pair: tuple[Wanted, MemoryFile]) -> np.ndarray:
        wanted, file = pair
        (top, bottom), (left, right) = wanted.rows, wanted.columns
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), file.open() as raster:
            return taken(raster.read(1, window=Window(left, top, right - left, bottom - top)), job)

    pairs = list(zip(asked, files, strict=True))
    return lambda: _in_threads(read, pairs, [wanted.name for wanted in asked])


def taken(values: np.ndarray, job: Job) -> np.ndarray:
    """The result of a chunk: all of it, or its maximum."""
    return values if job.whole else values.max(keepdims=True)


def stored_bytes(job: Job) -> int:
    """Bytes of the deflated blocks that a job needs."""
    return sum(wanted.stored for wanted in windows(job))


def _decoded(rasters: Sequence[tuple[Wanted, ByteRanges]], job: Job) -> Delivered:
    def decode(raster: tuple[Wanted, ByteRanges]) -> np.ndarray:
        wanted, file = raster
        return taken(fetch_window(file, wanted.header, wanted.rows, wanted.columns).decoded(), job)

    return _in_threads(decode, rasters, [wanted.name for wanted, _ in rasters])


def _in_threads(
    read: Callable[[_Raster], np.ndarray], rasters: Sequence[_Raster], names: list[str]
) -> Delivered:
    delivered: Delivered = {name: [] for name in names}
    with ThreadPoolExecutor(THREADS) as pool:
        for name, values in zip(names, pool.map(read, rasters), strict=True):
            delivered[name].append(values)
    return delivered
