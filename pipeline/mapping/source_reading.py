"""What is read of a tile's rasters: whole blocks, window by window, by the grids of its items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from affine import Affine

from pipeline.catalog.item import SCL, Asset, Item, dark_band
from pipeline.grid.cell_blocks import block_windows
from pipeline.grid.cells import PIXEL, SOURCE_BLOCK, Cell

# Bytes of a compressed pixel if the catalogue states no file size. A 10 m band of a full
# granule (10980² pixels) is a COG of about 200 MB; a scene classification (5490²) of 2 to 4 MB.
BAND_BYTES = 1.6
SCL_BYTES = 0.1
_OVERVIEWS = 4 / 3  # of a file's bytes to those of its full resolution, where it has overviews
_HEADER_BYTES = 16384  # that are read at once of a file for its header
# Clouds come in patches of some 5 km: a cell of a granule with the cloud cover c (0 … 1) is not
# read where all its n patches are cloudy, c^n. A small cell has two: clouds end somewhere.
_PATCH = 25e6  # m²
_BLOCKS = (256, 512, SOURCE_BLOCK)  # a raster that fits into one block has the smallest such


@dataclass
class SourceReading:
    """What is read of rasters; all are numbers that add up over items.

    Attributes:
        bytes: Stored bytes, headers included.
        remote_bytes: Those of them that come over a network.
        values: Pixel values that are decoded: those of whole blocks.
        composited: Pixel values within cells.
        windows: Windows of rasters.
        requests: Requests for windows that come over a network.
        remote_rasters: Rasters that do; each needs a request for its header, too.
    """

    bytes: float = 0.0
    remote_bytes: float = 0.0
    values: float = 0.0
    composited: float = 0.0
    windows: float = 0.0
    requests: float = 0.0
    remote_rasters: float = 0.0


@dataclass(frozen=True)
class _Windows:
    """What the windows of each cell meet of a raster's grid: float (cell,) each."""

    decoded: np.ndarray
    inside: np.ndarray
    count: np.ndarray
    requests: np.ndarray


@dataclass
class TileReader:
    """Counts what is read for a tile's cells of one item after the other.

    Args:
        cells: The cells.
        bands: The bands that are read beside the scene classification, where an item has them.
    """

    cells: Sequence[Cell]
    bands: Sequence[str]
    total: SourceReading = field(default_factory=SourceReading)
    _windows: dict[tuple[Affine, tuple[int, int], bool], _Windows] = field(default_factory=dict)
    _sums: dict[tuple[int, int], tuple[float, float, float, float]] = field(default_factory=dict)

    def clear_share(self, item: Item) -> float:
        """The share of the cells (0 … 1) in which an item is expected to show some clear land."""
        if item.cloud_cover is None:
            return 1.0
        area = sum(cell.height * cell.width for cell in self.cells) * PIXEL**2 / len(self.cells)
        return float(1.0 - min(item.cloud_cover / 100, 1.0) ** (2 + area / _PATCH))

    def add(self, item: Item, reached: np.ndarray, share: float, shape: int) -> None:
        """Count an item.

        Args:
            item: The item.
            reached: bool (cell,), the cells that it reaches into.
            share: The share of the bands' windows that are read (0 … 1).
            shape: A number that items with the same `reached` share.
        """
        if not reached.any():
            return
        dark = dark_band(item)
        for name, asset in read_assets(item, self.bands):
            windows = self._of_grid(asset, name == SCL)
            part = 1.0 if name == SCL else share
            key = (shape, id(windows))
            if key not in self._sums:
                columns = (windows.decoded, windows.inside, windows.count, windows.requests)
                self._sums[key] = tuple(float(c @ reached) for c in columns)  # type: ignore[assignment]
            decoded, inside, count, requests = self._sums[key]
            if not count:
                continue
            if name == dark:  # a window of each cell is read once more, to check the offset
                part += share * float(reached.sum()) / count
            stored = part * decoded * pixel_bytes(name, asset)
            stored += min(part, 1.0) * min(_HEADER_BYTES, asset.size or _HEADER_BYTES)
            total = self.total
            total.bytes += stored
            total.values += part * decoded
            total.composited += part * inside
            total.windows += part * count
            if "://" in asset.href:
                total.remote_bytes += stored
                total.requests += part * requests
                total.remote_rasters += min(part, 1.0)

    def _of_grid(self, asset: Asset, whole_cell: bool) -> _Windows:
        key = (asset.transform, asset.shape, whole_cell)
        if key not in self._windows:
            met = np.array([_met(cell, asset, whole_cell) for cell in self.cells], float)
            self._windows[key] = _Windows(*met.reshape(-1, 4).T)
        return self._windows[key]


def read_assets(item: Item, bands: Sequence[str]) -> Iterator[tuple[str, Asset]]:
    """The assets of an item that are read, by band, and its scene classification."""
    for name in (*bands, SCL):
        if name in item.assets:
            yield name, item.assets[name]


def pixel_bytes(name: str, asset: Asset) -> float:
    """Stored bytes per pixel of full resolution, by the file's size or as of typical files."""
    rows, columns = asset.shape
    if not asset.size:
        return SCL_BYTES if name == SCL else BAND_BYTES
    overviews = _OVERVIEWS if max(rows, columns) > SOURCE_BLOCK else 1.0
    return asset.size / (rows * columns * overviews)


def _met(cell: Cell, asset: Asset, whole_cell: bool) -> tuple[float, float, float, float]:
    """Decoded pixels, pixels within, windows and requests of a raster for a cell.

    A raster of another CRS counts as one that is read over the cell, pixel by pixel.
    """
    metres, (rows, columns) = asset.resolution, asset.shape
    side = SOURCE_BLOCK if metres <= PIXEL else 2 * SOURCE_BLOCK
    if whole_cell:
        places = [cell.bounds]
    else:
        places = [block.bounds(cell) for block in block_windows(cell, side)]
    if asset.epsg != cell.epsg:
        within = cell.height * cell.width * (PIXEL / metres) ** 2
        return within, within, len(places), len(places)
    block = next((size for size in _BLOCKS if size >= max(rows, columns)), SOURCE_BLOCK)
    first_x, _, _, first_y = asset.bounds
    decoded = inside = count = requests = 0.0
    for left, bottom, right, top in places:
        top_row, end_row = _pixels(first_y - top, first_y - bottom, metres, rows)
        left_column, end_column = _pixels(left - first_x, right - first_x, metres, columns)
        if top_row >= end_row or left_column >= end_column:
            continue
        high = _blocks(top_row, end_row, block, rows)
        wide = _blocks(left_column, end_column, block, columns)
        count += 1
        inside += (end_row - top_row) * (end_column - left_column)
        decoded += high[1] * wide[1]
        requests += 1 if wide[1] == columns else high[0]  # blocks of a row lie side by side
    return decoded, inside, count, requests


def _pixels(start: float, end: float, metres: float, size: int) -> tuple[int, int]:
    """First and last pixel (exclusive) of a raster's side between two distances from its edge."""
    return max(0, int(start // metres)), min(size, int(-(-end // metres)))


def _blocks(first: int, end: int, block: int, size: int) -> tuple[int, int]:
    """How many blocks a side of a window meets, and their pixels within the raster."""
    start, stop = first // block, -(-end // block)
    return stop - start, min(stop * block, size) - start * block
