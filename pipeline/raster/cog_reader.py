"""A reader of windows of tiled GeoTIFFs, without GDAL: fetch blocks, inflate them, place them.

It is written by hand because GDAL takes half as much time again for the same
(`tests/benchmarks/bench_reading.py`, results in `tests/benchmarks/results/reading.md`). GDAL opens
the file anew for each window, copies a block several times, and blocks a thread that could decode
while it waits for the network. Fetching and decoding are two steps here: many fetches wait side by
side, and each window is decoded by the thread that needs it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import deflate
import numpy as np
from numba import int64

from pipeline.raster.byte_ranges import ByteRanges, RasterRanges
from pipeline.raster.cog_header import LONGEST_FILE, CogHeader, read_header
from pipeline.raster.compiled import array_type, compiled_for
from pipeline.raster.read_errors import damaged
from pipeline.raster.window import Span

_GAP = 4096  # bytes between two blocks that are read along rather than requested apart
_MOST_BYTES = 16 * 2**20  # bytes of one request
_HEADERS_KEPT = 8192  # of a tile's year there are about a thousand, of 2 to 10 kB each


@dataclass(frozen=True)
class StoredWindow:
    """The fetched, still compressed blocks of a window of a raster.

    `blocks` are block row, block column, and bytes, of each block that was ever written; `mask`
    has those of the raster's mask.
    """

    header: CogHeader
    rows: Span
    columns: Span
    blocks: list[tuple[tuple[int, int], memoryview]]
    mask: "StoredWindow | None" = None

    def decoded(self) -> np.ndarray:
        """The pixels in the header's dtype: (rows, columns); 0 in blocks that were never written.

        Pixels that the mask hides are nodata. Raises Unreadable where a block is damaged.
        """
        shape = (self.rows[1] - self.rows[0], self.columns[1] - self.columns[0])
        whole = len(self.blocks) == sum(1 for _ in _blocks(self.header, self.rows, self.columns))
        window = np.empty(shape, self.header.dtype) if whole else np.zeros(shape, self.header.dtype)
        for place, content in self.blocks:
            _put(_inflated(content, self.header), place, self, window)
        if self.mask is not None:
            window[self.mask.decoded() == 0] = self.header.grid.nodata
        return window


def fetch_window(file: ByteRanges, header: CogHeader, rows: Span, columns: Span) -> StoredWindow:
    """Fetch the blocks of a window that lies within the raster. Raises Unreadable."""
    places = dict(_blocks(header, rows, columns))
    contents = _contents(file, header, sorted(places))
    blocks = [(places[b], content) for b, content in contents]
    mask = None if header.mask is None else fetch_window(file, header.mask, rows, columns)
    return StoredWindow(header, rows, columns, blocks, mask)


def _blocks(header: CogHeader, rows: Span, columns: Span) -> Iterator[tuple[int, tuple[int, int]]]:
    """The number of each block that a window meets, and its row and column among the blocks."""
    across = -(-header.grid.width // header.block[1])
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
    longest = 2 * header.block_bytes + _GAP
    if any(not 0 < offset < LONGEST_FILE or count > longest for offset, count, _ in wanted):
        raise damaged()
    while wanted:
        start, end = wanted[0][0], 0
        together: list[tuple[int, int, int]] = []
        for offset, count, block in wanted:
            if together and (offset > end + _GAP or offset + count > start + _MOST_BYTES):
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
    size = header.block_bytes
    try:
        plain = deflate.zlib_decompress(content, size) if header.deflated else content
    except deflate.DeflateError:
        raise damaged() from None
    if len(plain) != size:
        raise damaged()
    if header.bits == 1:
        rows = np.frombuffer(plain, np.uint8).reshape(header.block[0], -1)
        return np.unpackbits(rows, axis=1, count=header.block[1])
    return np.frombuffer(plain, header.dtype).reshape(header.block)


def _put(
    block: np.ndarray, place: tuple[int, int], stored: StoredWindow, window: np.ndarray
) -> None:
    """Copy the part of a block that lies in the window."""
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


@compiled_for(
    *((array_type(d, "C"), int64, array_type(d, "A", changed=True)) for d in (np.uint8, np.uint16)),
)
def _summed(differences: np.ndarray, skip: int, target: np.ndarray) -> None:
    """Undo TIFF's predictor 2 in whole rows; their pixels from `skip` on go to `target`."""
    for y in range(target.shape[0]):
        total = differences[y, 0] * 0
        for x in range(skip):
            total += differences[y, x]
        for x in range(target.shape[1]):
            total += differences[y, skip + x]
            target[y, x] = total


class _KeptHeaders:
    """The headers that were used last, by the names of their files; threads share them."""

    def __init__(self) -> None:
        self._headers: OrderedDict[str, CogHeader] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._headers

    def read(self, file: RasterRanges, name: str) -> CogHeader | None:
        """The kept header of a file, or the file's own; None as `read_header`."""
        with self._lock:
            if name in self._headers:
                self._headers.move_to_end(name)
                return self._headers[name]
        header = read_header(file)
        if header is not None:
            with self._lock:
                self._headers[name] = header
                if len(self._headers) > _HEADERS_KEPT:
                    self._headers.popitem(last=False)
        return header

    def drop(self, name: str) -> None:
        """Have the header of a file read anew the next time."""
        with self._lock:
            self._headers.pop(name, None)


kept_headers = _KeptHeaders()
