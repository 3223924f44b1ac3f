"""The header of a tiled GeoTIFF of one band: the places of its blocks and the form of its pixels.

TIFF 6.0 (Adobe, 1992), BigTIFF, and GeoTIFF 1.1 (OGC 19-008r4), as far as archives of Sentinel-2
use them. GDAL reads all other files.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from affine import Affine

from pipeline.raster.byte_ranges import ByteRanges
from pipeline.raster.read_errors import damaged
from pipeline.raster.window import RasterGrid, nodata_of

_HEADER_BYTES = 16384  # of a file, read at once: they hold the header of a COG

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 256, 257, 258, 259, 277
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS, _FORMAT = 317, 322, 323, 324, 325, 339
_SCALE, _TIEPOINT, _GEO_KEYS, _NODATA = 33550, 33922, 34735, 42113
_WANTED = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT,
    _OFFSETS, _COUNTS, _FORMAT, _SCALE, _TIEPOINT, _GEO_KEYS, _NODATA,
}  # fmt: skip
_ROTATED = 34264  # ModelTransformation: the grid is not north up, or an unknown program wrote it
_TYPES = {1: "u1", 2: "u1", 3: "<u2", 4: "<u4", 12: "<f8", 16: "<u8"}
_NONE, _DEFLATES = 1, (8, 32946)
_MODEL_TYPE, _RASTER_TYPE, _PROJECTED_CRS = 1024, 1025, 3072
_PROJECTED, _PIXEL_IS_AREA = 1, 1
# A header that exceeds these limits is damaged.
_MOST_ENTRIES, _MOST_BYTES, _LARGEST_BLOCK = 200, 64 * 2**20, 4096
LONGEST_FILE = 2**48  # bytes


@dataclass(frozen=True)
class CogHeader:
    """A raster's grid and blocks.

    Attributes:
        grid: The grid; its CRS is a projected one.
        block: Rows and columns of a block.
        dtype: uint8 or uint16, stored little-endian.
        deflated: Whether blocks are compressed by Deflate.
        differenced: TIFF's predictor 2: a pixel is stored as its difference from the last.
        offsets: First byte of each block: uint64 (block,), row by row; 0 where never written.
        counts: Bytes of each block: uint64 (block,).
    """

    grid: RasterGrid
    block: tuple[int, int]
    dtype: np.dtype
    deflated: bool
    differenced: bool
    offsets: np.ndarray
    counts: np.ndarray


def read_header(file: ByteRanges) -> CogHeader | None:
    """Read the header of a file; None where the file is of another kind. Raises Unreadable."""
    header = _Header(file, file.read(0, _HEADER_BYTES))
    try:
        if header.start[:2] != b"II":
            return None
        return _parse(_tags(header))
    except (struct.error, IndexError, ValueError, OverflowError):
        return None  # GDAL says what is wrong with it


class _Header:
    """The first bytes of a file; bytes further on are fetched."""

    def __init__(self, file: ByteRanges, start: bytes) -> None:
        self.file, self.start = file, start

    def read(self, offset: int, length: int) -> bytes:
        if length > _MOST_BYTES or offset > LONGEST_FILE:
            raise ValueError("longer than any header")
        content = self.start[offset : offset + length]
        if len(content) < length:
            content = self.file.read(offset, length)
        if len(content) < length:
            raise damaged()
        return content


def _tags(header: _Header) -> dict[int, np.ndarray]:
    """The values of the wanted tags of the first directory."""
    (version,) = struct.unpack("<H", header.read(2, 2))
    if version == 43:
        first, count, entry, inline = *struct.unpack("<Q", header.read(8, 8)), "<Q", "<HHQ", 8
    elif version == 42:
        first, count, entry, inline = *struct.unpack("<I", header.read(4, 4)), "<H", "<HHI", 4
    else:
        raise ValueError("no TIFF")
    head, size = struct.calcsize(count), struct.calcsize(entry) + inline
    (entries,) = struct.unpack(count, header.read(first, head))
    if entries > _MOST_ENTRIES:
        raise ValueError("longer than any directory")
    directory = header.read(first + head, entries * size)
    tags = {}
    for start in range(0, len(directory), size):
        tag, kind, values = struct.unpack_from(entry, directory, start)
        if tag == _ROTATED:
            raise ValueError("its grid is not north up")
        if tag not in _WANTED:
            continue
        if kind not in _TYPES:
            raise ValueError(f"tag {tag} is of type {kind}")
        dtype = np.dtype(_TYPES[kind])
        place, length = start + size - inline, values * dtype.itemsize
        content = directory[place : place + length]
        if length > inline:
            pointer = directory[place : place + inline]
            content = header.read(int.from_bytes(pointer, "little"), length)
        tags[tag] = np.frombuffer(content, dtype)
    return tags


def _parse(tags: Mapping[int, np.ndarray]) -> CogHeader | None:
    if not _WANTED - {_SAMPLES, _PREDICTOR, _FORMAT, _NODATA} <= tags.keys():
        return None

    def number(tag: int, otherwise: int) -> int:
        return int(tags[tag][0]) if tag in tags else otherwise

    bits, compression, predictor = number(_BITS, 1), number(_COMPRESSION, 1), number(_PREDICTOR, 1)
    epsg = _epsg(tags[_GEO_KEYS])
    if (
        bits not in (8, 16)
        or number(_SAMPLES, 1) != 1
        or number(_FORMAT, 1) != 1
        or compression not in (_NONE, *_DEFLATES)
        or predictor not in (1, 2)
        or (predictor == 2 and compression == _NONE)
        or epsg is None
    ):
        return None
    width, height = number(_WIDTH, 0), number(_HEIGHT, 0)
    block = (number(_TILE_HEIGHT, 0), number(_TILE_WIDTH, 0))
    if not (0 < block[0] <= _LARGEST_BLOCK and 0 < block[1] <= _LARGEST_BLOCK):
        return None
    blocks = -(-height // block[0]) * -(-width // block[1])
    if not len(tags[_OFFSETS]) == len(tags[_COUNTS]) == blocks:
        return None
    step_x, step_y = (float(step) for step in tags[_SCALE][:2])
    column, row, _, x, y, _ = (float(part) for part in tags[_TIEPOINT][:6])
    left, top = x - column * step_x, y + row * step_y
    if not (step_x > 0 and step_y > 0 and all(map(math.isfinite, (left, top)))):
        return None
    dtype = np.dtype(f"<u{bits // 8}")
    transform = Affine(step_x, 0.0, left, 0.0, -step_y, top)
    return CogHeader(
        grid=RasterGrid(width, height, transform, epsg, nodata_of(_nodata(tags), dtype)),
        block=block,
        dtype=dtype,
        deflated=compression != _NONE,
        differenced=predictor == 2,
        offsets=tags[_OFFSETS].astype(np.uint64),
        counts=tags[_COUNTS].astype(np.uint64),
    )


def _epsg(keys: np.ndarray) -> int | None:
    """The EPSG code of a projected CRS whose pixels are areas; None for any other."""
    entries = {int(k[0]): k for k in keys[4:].reshape(-1, 4)}

    def value(key: int) -> int | None:
        entry = entries.get(key)
        return int(entry[3]) if entry is not None and entry[1] == 0 else None

    code = value(_PROJECTED_CRS)
    if value(_MODEL_TYPE) != _PROJECTED or value(_RASTER_TYPE) != _PIXEL_IS_AREA:
        return None
    return code if code and 1024 <= code < 32767 else None  # 32767: defined by the file itself


def _nodata(tags: Mapping[int, np.ndarray]) -> float | None:
    if _NODATA not in tags:
        return None
    return float(tags[_NODATA].tobytes().split(b"\0")[0])
