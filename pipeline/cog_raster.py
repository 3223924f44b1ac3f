"""A tiled GeoTIFF as a raster of which windows are read, without GDAL."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from affine import Affine

from pipeline.byte_ranges import ByteRanges
from pipeline.cog_blocks import Span, StoredWindow, fetch_window
from pipeline.cog_header import CogHeader, read_header
from pipeline.native_window import nodata_of

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
