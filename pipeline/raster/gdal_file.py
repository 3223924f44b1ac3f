"""How GDAL opens a raster: a path of its own, or a file on a web server through our HTTP client.

GDAL's own HTTP client connects to any address, follows redirects to any other, and keeps all that a
server sends. Through ours, the rules of `pipeline.io.network_rules` hold for each request.
"""

import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rasterio._err import CPLE_BaseError
from rasterio.errors import (
    CRSError,
    NotGeoreferencedWarning,
    RasterioDeprecationWarning,
    RasterioError,
)
from rasterio.io import DatasetReader, FilePath

from pipeline.raster.access import Access
from pipeline.raster.byte_ranges import FileRanges, HttpRanges
from pipeline.raster.cog_header import MASK_FILE, has_mask_file
from pipeline.raster.gdal_env import gdal_failure
from pipeline.raster.http_failures import BROKE_OFF
from pipeline.raster.read_errors import ReadFailure, Unreadable, damaged

DRIVERS = ("GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID")
"""GDAL's drivers that may open a raster. Others (VRT, WMS, …) open further files and addresses."""
_BLOCK = 16_384  # bytes; a request is for whole blocks
_MOST_BLOCKS = 512  # of a request
_MOST_AHEAD = 128  # of a request for less, where requests follow one another in the file
_GROWTH = 4  # of such requests, from each to the next
_KEPT = 512  # blocks of a file
_FILES_KEPT = 8
_LONGEST_READ = 2**28  # bytes that GDAL wants at once; no honest block or strip is longer
_TIFF, _JPEG_2000 = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), (b"\0\0\0\x0cjP  ", b"\xffO\xffQ")
_STARTS = (*_TIFF, *_JPEG_2000)
_LONGEST_START = max(map(len, _STARTS))
# A mask's own file has no grid. Filters within a block would not be safe in threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning, module=re.escape(__name__))
# `rasterio.open` with `opener` is to take its place, but it tries one driver, not a list of them.
warnings.filterwarnings("ignore", "FilePath is supplanted", RasterioDeprecationWarning)


class GdalFile(Protocol):
    """A raster that GDAL can open, within `gdal_session`."""

    @contextmanager
    def opened(self) -> Iterator[DatasetReader]:
        """The raster. Raises Unreadable or RasterioError, here and while the block reads it."""

    @contextmanager
    def mask_of(self, dataset: DatasetReader) -> Iterator[DatasetReader | None]:
        """The mask in a file beside the raster, if there is one. Raises as `opened`.

        On a server it is sought as by `pipeline.raster.cog_header.read_header`.
        """


def _open(name: str) -> DatasetReader:
    """Open a raster by the allowed drivers; what it says of overviews elsewhere is not followed."""
    return DatasetReader(name, driver=list(DRIVERS), sharing=False, OVERVIEW_LEVEL="NONE")


def _require_kind(start: bytes) -> None:
    """Raise Unreadable where a file that GDAL does not know begins as none of the allowed kinds."""
    if not any(sign.startswith(start[: len(sign)]) for sign in _STARTS):
        raise damaged("is neither a GeoTIFF nor a JPEG 2000 file")


@dataclass(frozen=True)
class NamedFile:
    """A raster by the name under which GDAL opens it: a path, or one of its own file systems."""

    name: str

    @contextmanager
    def opened(self) -> Iterator[DatasetReader]:
        """As `GdalFile.opened`."""
        try:
            dataset = _open(self.name)
        except RasterioError:
            if not self.name.startswith("/vsi"):
                _require_kind(FileRanges(self.name).read(0, _LONGEST_START))
            raise
        with dataset:
            yield dataset

    @contextmanager
    def mask_of(self, dataset: DatasetReader) -> Iterator[DatasetReader | None]:
        """As `GdalFile.mask_of`."""
        remote = self.name.startswith("/vsi")
        name, *query = self.name.partition("?") if remote else (self.name,)
        name = "".join((name, MASK_FILE, *query))
        sought = _may_have_mask(dataset) if remote else Path(name).is_file()
        try:
            mask = _open(name) if sought else None
        except RasterioError as error:
            if not remote or gdal_failure(error).passing:
                raise
            mask = None
        with mask or nullcontext():
            yield mask


@dataclass(frozen=True)
class WebFile:
    """A raster on a web server. Some of what was fetched of the last ones is kept."""

    ranges: HttpRanges

    @contextmanager
    def opened(self) -> Iterator[DatasetReader]:
        """As `GdalFile.opened`."""
        opening = _Opening(self.ranges)
        try:
            with FilePath(_Position(opening)) as file, _open(file.name) as dataset:
                yield dataset
        except (RasterioError, CPLE_BaseError, CRSError, UnicodeDecodeError):
            if opening.failure is None:
                _kept_blocks.drop(self.ranges)  # the file may have been replaced since
                _require_kind(opening.read(0, _LONGEST_START))
                raise
        if opening.failure is not None:  # in place of what GDAL makes of it
            raise Unreadable(opening.failure)

    @contextmanager
    def mask_of(self, dataset: DatasetReader) -> Iterator[DatasetReader | None]:
        """As `GdalFile.mask_of`."""
        if _may_have_mask(dataset) and has_mask_file(self.ranges):
            with WebFile(self.ranges.beside(MASK_FILE)).opened() as mask:
                yield mask
        else:
            yield None


def _may_have_mask(dataset: DatasetReader) -> bool:
    return dataset.driver == "GTiff" and dataset.nodata is None


class _Blocks:
    """The blocks of a file that were fetched, the last ones used; threads share them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._size: int | None = None
        self._following, self._fetched = 0, 0  # the block behind the last request, and its blocks
        self._lock = threading.Lock()

    def read(self, ranges: HttpRanges, start: int, length: int) -> bytes:
        """Bytes from `start` on, fewer at the file's end. Raises Unreadable."""
        if length > _LONGEST_READ:
            raise damaged()
        with self._lock:
            return self._read(ranges, start, length)

    def size(self, ranges: HttpRanges) -> int:
        """Bytes of the file. Raises Unreadable."""
        self.read(ranges, 0, 1)
        return self._size or 0

    def _read(self, ranges: HttpRanges, start: int, length: int) -> bytes:
        if self._size is None:
            self._fetch(ranges, 0, 1)
        end = min(start + length, self._size or 0)
        if start >= end:
            return b""
        first, last = start // _BLOCK, (end - 1) // _BLOCK
        parts: list[bytes] = []
        for number in range(first, last + 1):
            if number not in self._kept:
                self._fetch(ranges, number, last + 1 - number)
            self._kept.move_to_end(number)
            parts.append(self._kept[number])
        return b"".join(parts)[start - first * _BLOCK : end - first * _BLOCK]

    def _fetch(self, ranges: HttpRanges, first: int, count: int) -> None:
        """Fetch blocks up to the next that is kept; ever more at once where reads go on."""
        goes_on = first == self._following
        ahead = min(_GROWTH * self._fetched, _MOST_AHEAD) if goes_on else 1
        count = min(max(count, ahead), _MOST_BLOCKS)
        kept = (n for n in range(first + 1, first + count) if n in self._kept)
        count = next(kept, first + count) - first
        answer = ranges.part(first * _BLOCK, count * _BLOCK)
        if answer.total is None:
            reason = "its server does not state the size of the file"
            raise Unreadable(ReadFailure(reason, unreachable=True))
        if self._size is not None and answer.total != self._size:
            self._kept.clear()  # the file was replaced
            self._size = None
            reason = "the file was replaced while it was read"
            raise Unreadable(ReadFailure(reason, unreachable=True, passing=True))
        self._size = answer.total
        needed = min(count * _BLOCK, max(0, self._size - first * _BLOCK))
        if len(answer.content) < needed:
            raise Unreadable(BROKE_OFF)
        for number in range(count):
            self._kept[first + number] = answer.content[number * _BLOCK : (number + 1) * _BLOCK]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        self._following, self._fetched = first + count, count


class _KeptBlocks:
    """The blocks of the files that were read last, by their addresses."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[str, Access], _Blocks] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, ranges: HttpRanges) -> _Blocks:
        with self._lock:
            blocks = self._files.setdefault((ranges.href, ranges.access), _Blocks())
            self._files.move_to_end((ranges.href, ranges.access))
            while len(self._files) > _FILES_KEPT:
                self._files.popitem(last=False)
            return blocks

    def drop(self, ranges: HttpRanges) -> None:
        with self._lock:
            self._files.pop((ranges.href, ranges.access), None)


_kept_blocks = _KeptBlocks()


class _Opening:
    """A file that GDAL has open. GDAL does not pass a failure on, so it is kept here."""

    def __init__(self, ranges: HttpRanges) -> None:
        self.failure: ReadFailure | None = None
        self._ranges, self._blocks = ranges, _kept_blocks.of(ranges)

    def read(self, start: int, length: int) -> bytes:
        """Bytes from `start` on, fewer at the file's end; none after a failure."""
        try:
            return b"" if self.failure else self._blocks.read(self._ranges, start, length)
        except Unreadable as error:
            self.failure = error.failure
            return b""

    def size(self) -> int:
        """Bytes of the file; 0 after a failure."""
        try:
            return 0 if self.failure else self._blocks.size(self._ranges)
        except Unreadable as error:
            self.failure = error.failure
            return 0


class _Position:
    """A place in a file, with the methods that `FilePath` calls of a Python file.

    `FilePath` opens the file again, for each handle of GDAL, by `file.fs.open(file.path)`.
    """

    mode, path = "rb", ""

    def __init__(self, opening: _Opening) -> None:
        self._opening, self._at = opening, 0

    @property
    def fs(self) -> "_Position":
        return self

    def open(self, path: str, mode: str = "rb", **options: object) -> "_Position":
        return _Position(self._opening)

    def read(self, length: int = -1) -> bytes:
        if length < 0:
            length = max(0, self._opening.size() - self._at)
        content = self._opening.read(self._at, length)
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: 0}
        size = self._opening.size() if whence == os.SEEK_END else 0
        self._at = max(0, starts[whence] + size + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        """Nothing is held open."""
