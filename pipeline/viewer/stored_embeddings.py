"""Kept embeddings by the internal tiles of their files, the last ones of which stay in memory.

GDAL would put each of the hundreds of bands apart, in ten times the time. Here a tile's bytes are
decompressed as they are, a row of numbers for each pixel. A file of another layout goes by GDAL.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from rasterio.io import DatasetReader
from rasterio.windows import Window

from pipeline.classification.embedding_files import embedding_blocks
from pipeline.errors import OutputUnreadable
from pipeline.grid.cell_blocks import Block
from pipeline.io.store import Store, public_url
from pipeline.layout import cell_key
from pipeline.product.cell_report import PREFIX
from pipeline.product.read_layer import opened_raster

_KEPT_BYTES = 384 << 20
STORED_SIDE = 128
"""Pixels a side of the internal tiles of files of embeddings."""


@dataclass(frozen=True)
class StoredPart:
    """An internal tile of a file of embeddings.

    Attributes:
        key: The key of the file.
        block: The part of the cell that the file holds.
        row: The tile's row in the file, `column` its column.
    """

    key: str
    block: Block
    row: int
    column: int


@dataclass(frozen=True)
class _File:
    """Where the internal tiles of a file lie: first byte and bytes by row and column.

    `differenced` says that it has TIFF's predictor 2.
    """

    dim: int
    places: Mapping[tuple[int, int], tuple[int, int]] | None
    differenced: bool = False


class StoredEmbeddings:
    """Reads the embeddings of a run's pixels; it may be used by several threads at once."""

    def __init__(self, store: Store, items: Sequence[Mapping[str, Any]]) -> None:
        self._store = store
        self._blocks = {str(item["id"]): _files_of(item) for item in items}
        self._kept: OrderedDict[StoredPart, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()
        self._file = lru_cache(4096)(self._opened)

    def parts_of(self, cell: str) -> Iterator[StoredPart]:
        """All internal tiles of a cell's files."""
        for key, block in self._blocks.get(cell, ()):
            for row in range(-(-block.height // STORED_SIDE)):
                for column in range(-(-block.width // STORED_SIDE)):
                    yield StoredPart(key, block, row, column)

    @property
    def part_count(self) -> int:
        """The number of internal tiles of all files."""
        return sum(1 for cell in self._blocks for _ in self.parts_of(cell))

    def parts_at(
        self, cell: str, rows: np.ndarray, columns: np.ndarray
    ) -> list[tuple[StoredPart, np.ndarray, np.ndarray]]:
        """The internal tiles that hold pixels of a cell.

        Args:
            cell: The cell's id.
            rows: The pixels' rows in the cell, int64 (n,).
            columns: Their columns, likewise.

        Returns:
            Of each tile, which of the pixels lie in it, int64 (m,), and their places among its
            128 × 128 pixels, int64 (m,).
        """
        found = []
        for key, block in self._blocks.get(cell, ()):
            y, x = rows - block.row, columns - block.column
            within = np.flatnonzero((y >= 0) & (y < block.height) & (x >= 0) & (x < block.width))
            y, x = y[within], x[within]
            number = (y // STORED_SIDE) * 4096 + x // STORED_SIDE
            for each in np.unique(number).tolist():
                of = number == each
                part = StoredPart(key, block, *divmod(each, 4096))
                at = y[of] % STORED_SIDE * STORED_SIDE + x[of] % STORED_SIDE
                found.append((part, within[of], at))
        return found

    def read(self, part: StoredPart) -> np.ndarray:
        """The stored numbers of an internal tile: int8 (16384, dim), row by row, 0 = nodata.

        Raises OutputUnreadable where the file is gone or damaged.
        """
        with self._lock:
            if (held := self._kept.get(part)) is not None:
                self._kept.move_to_end(part)
                return held
        values = self._read(part)
        with self._lock:
            self._kept[part] = values
            while sum(each.nbytes for each in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
        return values

    def _read(self, part: StoredPart) -> np.ndarray:
        file = self._file(part.key)
        shape = (STORED_SIDE * STORED_SIDE, file.dim)
        if file.places is None:
            return self._by_gdal(part, shape)
        start, length = file.places.get((part.row, part.column), (0, 0))
        if length == 0:  # no pixel of it has an embedding
            return np.zeros(shape, np.int8)
        try:
            content = self._store.read_range(part.key, start, length)
            raw = pa.Codec("zstd").decompress(content, decompressed_size=shape[0] * shape[1])
            values = np.frombuffer(raw, np.int8).reshape(shape)
            return _summed(values) if file.differenced else values
        except (OSError, ValueError, pa.ArrowException) as error:
            raise OutputUnreadable(
                f"{public_url(self._store.path(part.key))}: its embeddings cannot be read. Put the "
                "file back, or map the cell again."
            ) from error

    def _by_gdal(self, part: StoredPart, shape: tuple[int, int]) -> np.ndarray:
        top, left = part.row * STORED_SIDE, part.column * STORED_SIDE
        high = min(STORED_SIDE, part.block.height - top)
        wide = min(STORED_SIDE, part.block.width - left)
        values = np.zeros((STORED_SIDE, STORED_SIDE, shape[1]), np.int8)
        with opened_raster(self._store, part.key) as raster:
            read = raster.read(window=Window(left, top, wide, high))
        values[:high, :wide] = read.transpose(1, 2, 0)
        return values.reshape(shape)

    def _opened(self, key: str) -> _File:
        with opened_raster(self._store, key, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR") as raster:
            if set(raster.dtypes) != {"int8"}:
                raise OutputUnreadable(f"{public_url(self._store.path(key))} holds no embeddings.")
            return _File(raster.count, _places(raster), "PREDICTOR" in _structure(raster))


def _places(raster: DatasetReader) -> dict[tuple[int, int], tuple[int, int]] | None:
    """Where a file's internal tiles lie; None where they are not those that timesen writes."""
    structure = _structure(raster)
    known = structure.get("COMPRESSION") == "ZSTD" and structure.get("INTERLEAVE") == "PIXEL"
    differences = structure.get("PREDICTOR", "2") == "2"
    if not (known and differences) or raster.block_shapes[0] != (STORED_SIDE,) * 2:
        return None
    places = {}
    for row in range(-(-raster.height // STORED_SIDE)):
        for column in range(-(-raster.width // STORED_SIDE)):
            named = f"{column}_{row}"
            start, length = (
                raster.get_tag_item(f"BLOCK_{what}_{named}", "TIFF", bidx=1)
                for what in ("OFFSET", "SIZE")
            )
            places[row, column] = (int(start or 0), int(length or 0))
    return places


def _structure(raster: DatasetReader) -> dict[str, str]:
    """What GDAL says of a file's layout; of a predictor only where there is one."""
    structure: dict[str, str] = raster.tags(ns="IMAGE_STRUCTURE")
    return structure


def _summed(values: np.ndarray) -> np.ndarray:
    """Undo TIFF's predictor 2 in an internal tile: a pixel is stored less the one to its left."""
    tile = values.reshape(STORED_SIDE, STORED_SIDE, -1).copy()
    for column in range(1, STORED_SIDE):
        tile[:, column] += tile[:, column - 1]
    return tile.reshape(values.shape)


def _files_of(item: Mapping[str, Any]) -> list[tuple[str, Block]]:
    tile = str(item["properties"][f"{PREFIX}tile"])
    return [
        (cell_key(tile, str(item["id"]), name), block) for block, name in embedding_blocks(item)
    ]
