"""The pixels of a tiled GeoTIFF's window: its blocks fetched, inflated, and put in their places.

GDAL takes half as much time again for the same (`tests.benchmarks.bench_reading`): it opens the
file anew for each window, copies a block several times, and waits for the network with a thread
that could decode.

A tiled GeoTIFF as a raster of which windows are read, without GDAL.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import deflate
import numpy as np
from affine import Affine
from numba import njit

from pipeline.raster.byte_ranges import ByteRanges
from pipeline.raster.cog_header import LONGEST_FILE, CogHeader, read_header
from pipeline.raster.read_errors import damaged
from pipeline.raster.window import nodata_of

_GAP = 4096  # bytes between blocks that are rather read than asked for separately
_MOST = 16 * 2**20  # bytes of one request

Span = tuple[int, int]  # first, and first after


@dataclass(frozen=True)
class StoredWindow:
    """A window of a raster as it is stored: fetched, which waits, and not decoded, which works."""

    header: CogHeader
    rows: Span
    columns: Span
    blocks: list[tuple[Span, memoryview]]
    """Row and column among the raster's blocks, and bytes, of each block that was ever written."""

    def decoded(self) -> np.ndarray:
        """The pixels in the header's dtype: (rows, columns); 0 in blocks that were never written.

        Raises Unreadable.
        """
        shape = (self.rows[1] - self.rows[0], self.columns[1] - self.columns[0])
        whole = len(self.blocks) == sum(1 for _ in _blocks(self.header, self.rows, self.columns))
        window = np.empty(shape, self.header.dtype) if whole else np.zeros(shape, self.header.dtype)
        for place, content in self.blocks:
            _put(_inflated(content, self.header), place, self, window)
        return window


def fetch_window(file: ByteRanges, header: CogHeader, rows: Span, columns: Span) -> StoredWindow:
    """Fetch the blocks of a window that lies within the raster. Raises Unreadable."""
    places = dict(_blocks(header, rows, columns))
    contents = _contents(file, header, sorted(places))
    return StoredWindow(header, rows, columns, [(places[b], content) for b, content in contents])


def _blocks(header: CogHeader, rows: Span, columns: Span) -> Iterator[tuple[int, Span]]:
    """The number of each block that a window meets, and its row and column among the blocks."""
    across = -(-header.width // header.block[1])
    for row in range(rows[0] // header.block[0], -(-rows[1] // header.block[0])):
        for column in range(columns[0] // header.block[1], -(-columns[1] // header.block[1])):
            yield row * across + column, (row, column)


def _contents(
    file: ByteRanges, header: CogHeader, blocks: list[int]
) -> Iterator[tuple[int, memoryview]]:
    """The stored bytes of blocks; neighbours in the file come with one request."""
    wanted = sorted(
        (int(header.offsets[b]), int(header.counts[b]), b) for b in blocks if header.counts[b]
    )
    longest = 2 * header.block[0] * header.block[1] * header.dtype.itemsize + _GAP
    if any(not 0 < offset < LONGEST_FILE or count > longest for offset, count, _ in wanted):
        raise damaged()
    while wanted:
        start, end = wanted[0][0], 0
        together: list[tuple[int, int, int]] = []
        for offset, count, block in wanted:
            if together and (offset > end + _GAP or offset + count > start + _MOST):
                break
            end = max(end, offset + count)
            together.append((offset - start, count, block))
        wanted = wanted[len(together) :]
        content = memoryview(file.read(start, end - start))
        if len(content) < end - start:
            raise damaged()
        for offset, count, block in together:
            yield block, content[offset : offset + count]


def _inflated(content: memoryview, header: CogHeader) -> np.ndarray:
    """A whole block's stored numbers: (block rows, block columns)."""
    size = header.block[0] * header.block[1] * header.dtype.itemsize
    try:
        plain = deflate.zlib_decompress(content, size) if header.deflated else content
    except deflate.DeflateError:
        raise damaged() from None
    if len(plain) != size:
        raise damaged()
    return np.frombuffer(plain, header.dtype).reshape(header.block)


def _put(block: np.ndarray, place: Span, stored: StoredWindow, window: np.ndarray) -> None:
    """Put what a block holds of the window there."""
    header, rows, columns = stored.header, stored.rows, stored.columns
    first_row, first_column = place[0] * header.block[0], place[1] * header.block[1]
    top, bottom = max(rows[0], first_row), min(rows[1], first_row + header.block[0])
    left, right = max(columns[0], first_column), min(columns[1], first_column + header.block[1])
    of_block = slice(top - first_row, bottom - first_row)
    target = window[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]
    if header.differenced:
        _summed(block[of_block], left - first_column, target)
    else:
        target[:] = block[of_block, left - first_column : right - first_column]


@njit(nogil=True, cache=True)
def _summed(differences: np.ndarray, skip: int, target: np.ndarray) -> None:
    """Undo TIFF's predictor 2 in whole rows; their pixels from `skip` on go to `target`."""
    for y in range(target.shape[0]):
        total = differences[y, 0] * 0
        for x in range(skip):
            total += differences[y, x]
        for x in range(target.shape[1]):
            total += differences[y, skip + x]
            target[y, x] = total


_KEPT = 8192  # headers: of a tile's year there are about a thousand, of 2 to 10 kB each


@dataclass(frozen=True)
class CogRaster:
    """A raster of one band; its header was read, its pixels are fetched when asked for."""

    file: ByteRanges
    header: CogHeader

    @property
    def width(self) -> int:
        """Columns."""
        return self.header.width

    @property
    def height(self) -> int:
        """Rows."""
        return self.header.height

    @property
    def transform(self) -> Affine:
        """Its grid, in metres of `header.epsg`."""
        return self.header.transform

    @property
    def nodata(self) -> int:
        """The stored number that stands for nodata."""
        return nodata_of(self.header.nodata, self.header.dtype)

    def fetch(self, rows: Span, columns: Span) -> StoredWindow:
        """A window within the raster, still to be decoded. Raises Unreadable."""
        return fetch_window(self.file, self.header, rows, columns)


def open_cog(file: ByteRanges, name: str) -> CogRaster | None:
    """The raster of a file; None where it is of a kind that is not read here. Raises Unreadable.

    Its header is kept under `name` for later windows of the same file.
    """
    header = _headers.get(name)
    if header is None:
        header = read_header(file)
        if header is None:
            return None
        _headers.put(name, header)
    return CogRaster(file, header)


def knows(name: str) -> bool:
    """Whether the header of a file is kept."""
    return _headers.get(name) is not None


def forget(name: str) -> None:
    """Read the header of a file anew the next time: what was read of it does not fit."""
    _headers.drop(name)


class _Headers:
    """The headers used last; threads share them."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, CogHeader] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str) -> CogHeader | None:
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
            return self._held.get(name)

    def put(self, name: str, header: CogHeader) -> None:
        with self._lock:
            self._held[name] = header
            if len(self._held) > _KEPT:
                self._held.popitem(last=False)

    def drop(self, name: str) -> None:
        with self._lock:
            self._held.pop(name, None)


_headers = _Headers()
