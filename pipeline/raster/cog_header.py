"""The header of a tiled GeoTIFF of one band: the places of its blocks and the form of its pixels.

TIFF 6.0 (Adobe, 1992), BigTIFF, and GeoTIFF 1.1 (OGC 19-008r4), as far as archives of Sentinel-2
use them. GDAL reads all other files.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine

from pipeline.raster.byte_ranges import ByteRanges, FileRanges, RasterRanges
from pipeline.raster.read_errors import Unreadable, damaged
from pipeline.raster.window import RasterGrid, nodata_of

_HEADER_BYTES = 16384  # of a file, read at once: they hold the header of a COG
_FURTHER_BYTES = 4096  # read at once where a directory lies beyond
MASK_FILE = ".msk"
"""The suffix of the file beside a raster in which GDAL keeps a mask."""

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES = 254, 256, 257, 258, 259, 277
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS, _FORMAT = 317, 322, 323, 324, 325, 339
_BIT_ORDER = 266  # 2: each byte's bits are written the other way round
_SCALE, _TIEPOINT, _GEO_KEYS, _NODATA = 33550, 33922, 34735, 42113
_NEEDED = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _COUNTS,
}  # fmt: skip
_GRID = {_SCALE, _TIEPOINT, _GEO_KEYS}
_WANTED = _NEEDED | _GRID | {_BIT_ORDER, _SAMPLES, _PREDICTOR, _FORMAT, _NODATA}
_REDUCED, _MASK = 1, 4  # bits of a directory's subfile type: an overview, a mask
_ROTATED = 34264  # ModelTransformation: the grid is not north up, or an unknown program wrote it
_TYPES = {2: "u1", 3: "<u2", 4: "<u4", 12: "<f8", 16: "<u8"}
_WHOLE, _ASCII, _SHORT, _DOUBLE = (3, 4, 16), (2,), (3,), (12,)
# The types of tags and the numbers of their values; None: any. Of others, readers differ.
_FORMS: Mapping[int, tuple[tuple[int, ...], int | None]] = {
    **dict.fromkeys(_WANTED | {_SUBFILE}, (_WHOLE, 1)),
    **dict.fromkeys((_OFFSETS, _COUNTS), (_WHOLE, None)),
    _SCALE: (_DOUBLE, 3),
    _TIEPOINT: (_DOUBLE, 6),
    _GEO_KEYS: (_SHORT, None),
    _NODATA: (_ASCII, None),
}
_NONE, _DEFLATES = 1, (8, 32946)
_MODEL_TYPE, _RASTER_TYPE, _PROJECTED_CRS = 1024, 1025, 3072
_PROJECTED, _PIXEL_IS_AREA = 1, 1
# A header that exceeds these limits is damaged.
_MOST_ENTRIES, _MOST_BYTES, _LARGEST_BLOCK, _MOST_DIRECTORIES = 200, 64 * 2**20, 4096, 64
LONGEST_FILE = 2**48  # bytes


@dataclass(frozen=True)
class CogHeader:
    """A raster's grid and blocks.

    Attributes:
        grid: The grid; its CRS is a projected one.
        block: Rows and columns of a block.
        bits: Of a pixel: 8 or 16, little-endian; those of a mask also 1.
        deflated: Whether blocks are compressed by Deflate.
        differenced: TIFF's predictor 2: a pixel is stored as its difference from the last.
        offsets: First byte of each block: uint64 (block,), row by row; 0 where never written.
        counts: Bytes of each block: uint64 (block,).
        mask: The blocks of the mask in the file, if there is one: 0 where a pixel is not valid.
    """

    grid: RasterGrid
    block: tuple[int, int]
    bits: int
    deflated: bool
    differenced: bool
    offsets: np.ndarray
    counts: np.ndarray
    mask: "CogHeader | None" = None

    @property
    def dtype(self) -> np.dtype:
        """Of pixels as they are given: uint8 or uint16."""
        return np.dtype("<u2" if self.bits == 16 else "u1")

    @property
    def block_bytes(self) -> int:
        """Bytes of a block that is not compressed."""
        return self.block[0] * -(-self.block[1] * self.bits // 8)


def read_header(file: RasterRanges) -> CogHeader | None:
    """Read the header of a file; None where the file is of another kind. Raises Unreadable.

    A raster whose mask is in a file beside it is of another kind. On a server such a file is only
    looked for beside a raster that states no nodata.
    """
    header = _Header(file, file.read(0, _HEADER_BYTES))
    try:
        if header.parts[0][1][:2] != b"II":
            return None
        layout, first = _layout(header)
        tags, following = _tags(header, layout, first, _WANTED)
        parsed = _parse(tags)
        if parsed is None:
            return None
        if mask_tags := _tags_of_mask(header, layout, following):
            parsed = replace(parsed, mask=_parse_mask(mask_tags, parsed))
            if parsed.mask is None:
                return None
    except (struct.error, IndexError, ValueError, OverflowError):
        return None  # GDAL says what is wrong with it
    asked = isinstance(file, FileRanges) or _NODATA not in tags
    return None if asked and has_mask_file(file) else parsed


def has_mask_file(file: RasterRanges) -> bool:
    """Whether a file with a mask lies beside a raster. Raises Unreadable where that may pass."""
    try:
        start = file.beside(MASK_FILE).read(0, 2)
    except Unreadable as error:
        if error.failure.passing:
            raise
        return False  # stores that may not be listed refuse an absent file
    return start in (b"II", b"MM")


class _Header:
    """The first bytes of a file; bytes further on are fetched."""

    def __init__(self, file: ByteRanges, start: bytes) -> None:
        self.file, self.parts = file, [(0, start)]

    def read(self, offset: int, length: int) -> bytes:
        if length > _MOST_BYTES or offset > LONGEST_FILE:
            raise ValueError("longer than any header")
        for start, part in self.parts:
            if start <= offset and offset + length <= start + len(part):
                return part[offset - start : offset - start + length]
        content = self.file.read(offset, max(length, _FURTHER_BYTES))
        if len(content) < length:
            raise damaged()
        self.parts.append((offset, content))
        return content[:length]


@dataclass(frozen=True)
class _Layout:
    """The forms of a directory's count, of its entries, and of a place in the file.

    An entry is followed by its value or, beyond `inline` bytes, by the value's place.
    """

    count: str
    entry: str
    place: str

    @property
    def inline(self) -> int:
        return struct.calcsize(self.place)


_CLASSIC, _BIG = _Layout("<H", "<HHI", "<I"), _Layout("<Q", "<HHQ", "<Q")


def _layout(header: _Header) -> tuple[_Layout, int]:
    """The layout of a file, and the place of its first directory."""
    (version,) = struct.unpack("<H", header.read(2, 2))
    if version not in (42, 43):
        raise ValueError("no TIFF")
    layout, place = (_BIG, 8) if version == 43 else (_CLASSIC, 4)
    (first,) = struct.unpack(layout.place, header.read(place, layout.inline))
    return layout, first


def _tags_of_mask(header: _Header, layout: _Layout, place: int) -> Mapping[int, np.ndarray] | None:
    """The tags of the first directory, from a place on, that is the mask of the whole raster."""
    for _ in range(_MOST_DIRECTORIES):
        if not place:
            return None
        tags, following = _tags(header, layout, place, {_SUBFILE})
        if _SUBFILE in tags and int(tags[_SUBFILE][0]) & (_MASK | _REDUCED) == _MASK:
            return _tags(header, layout, place, _WANTED)[0]
        place = following
    raise ValueError("more directories than any file has")


def _tags(
    header: _Header, layout: _Layout, first: int, wanted: set[int]
) -> tuple[dict[int, np.ndarray], int]:
    """The values of the wanted tags of a directory, and the place of the next; 0: no more."""
    count, entry, inline = layout.count, layout.entry, layout.inline
    head, size = struct.calcsize(count), struct.calcsize(entry) + inline
    (entries,) = struct.unpack(count, header.read(first, head))
    if entries > _MOST_ENTRIES:
        raise ValueError("longer than any directory")
    directory = header.read(first + head, entries * size + inline)
    (following,) = struct.unpack(layout.place, directory[entries * size :])
    tags, before = {}, -1
    for start in range(0, entries * size, size):
        tag, kind, values = struct.unpack_from(entry, directory, start)
        if tag <= before:  # TIFF wants them in order; of a tag that comes twice, readers differ
            raise ValueError("its tags are not in order")
        before = tag
        if tag == _ROTATED:
            raise ValueError("its grid is not north up")
        if tag not in wanted:
            continue
        kinds, number = _FORMS[tag]
        if kind not in kinds or number not in (None, values):
            raise ValueError(f"tag {tag} is of type {kind}, with {values} values")
        dtype = np.dtype(_TYPES[kind])
        place, length = start + size - inline, values * dtype.itemsize
        content = directory[place : place + length]
        if length > inline:
            pointer = directory[place : place + inline]
            content = header.read(int.from_bytes(pointer, "little"), length)
        tags[tag] = np.frombuffer(content, dtype)
    return tags, following


def _parse(tags: Mapping[int, np.ndarray]) -> CogHeader | None:
    if not tags.keys() >= _NEEDED | _GRID or (epsg := _epsg(tags[_GEO_KEYS])) is None:
        return None
    width, height = int(tags[_WIDTH][0]), int(tags[_HEIGHT][0])
    step_x, step_y = (float(step) for step in tags[_SCALE][:2])
    column, row, _, x, y, _ = (float(part) for part in tags[_TIEPOINT][:6])
    left, top = x - column * step_x, y + row * step_y
    if not (step_x > 0 and step_y > 0 and all(map(math.isfinite, (left, top)))):
        return None
    transform = Affine(step_x, 0.0, left, 0.0, -step_y, top)
    parsed = _parse_blocks(tags, RasterGrid(width, height, transform, epsg, 0), (8, 16))
    if parsed is None:
        return None
    nodata = nodata_of(_nodata(tags), parsed.dtype)
    return replace(parsed, grid=replace(parsed.grid, nodata=nodata))


def _parse_mask(tags: Mapping[int, np.ndarray], of: CogHeader) -> CogHeader | None:
    if not tags.keys() >= _NEEDED:
        return None
    if (int(tags[_WIDTH][0]), int(tags[_HEIGHT][0])) != (of.grid.width, of.grid.height):
        return None
    return _parse_blocks(tags, replace(of.grid, nodata=0), (1, 8))


def _parse_blocks(
    tags: Mapping[int, np.ndarray], grid: RasterGrid, depths: tuple[int, ...]
) -> CogHeader | None:
    """The blocks of a grid; None where they are of another kind, or have other bits a pixel."""

    def number(tag: int, otherwise: int) -> int:
        return int(tags[tag][0]) if tag in tags else otherwise

    bits, compression, predictor = number(_BITS, 1), number(_COMPRESSION, 1), number(_PREDICTOR, 1)
    if (
        bits not in depths
        or number(_SAMPLES, 1) != 1
        or number(_BIT_ORDER, 1) != 1
        or number(_FORMAT, 1) != 1
        or compression not in (_NONE, *_DEFLATES)
        or predictor not in (1, 2)
        or (predictor == 2 and (compression == _NONE or bits == 1))
    ):
        return None
    block = (number(_TILE_HEIGHT, 0), number(_TILE_WIDTH, 0))
    if not (0 < block[0] <= _LARGEST_BLOCK and 0 < block[1] <= _LARGEST_BLOCK):
        return None
    blocks = -(-grid.height // block[0]) * -(-grid.width // block[1])
    if not len(tags[_OFFSETS]) == len(tags[_COUNTS]) == blocks:
        return None
    return CogHeader(
        grid=grid,
        block=block,
        bits=bits,
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
