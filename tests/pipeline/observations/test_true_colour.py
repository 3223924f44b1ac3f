import numpy as np
import pytest

from pipeline.grid.cell_blocks import Block, block_windows
from pipeline.grid.cells import Cell
from pipeline.grid.mgrs import parse_tile
from pipeline.observations.true_colour import block_true_colour, cell_true_colour


def _cell(row_offset: int, column_offset: int, height: int, width: int) -> Cell:
    return Cell(parse_tile("31UFS"), 0, 0, row_offset, column_offset, height, width)


@pytest.mark.parametrize(
    ("cell", "source_block"),
    [(_cell(0, 0, 64, 48), 16), (_cell(14, 6, 50, 46), 16), (_cell(30, 2, 2, 38), 10)],
)
def test_blocks_make_the_picture_of_the_whole_cell(cell: Cell, source_block: int) -> None:
    rng = np.random.default_rng(cell.height)
    red, green = rng.integers(1, 12_000, (2, 12, *cell.shape)).astype(np.uint16)
    blue = rng.integers(1, 4000, (12, cell.height // 2, cell.width // 2)).astype(np.uint16)
    red[:, : cell.height // 3] = 0  # never seen there
    owned = np.ones(cell.shape, bool)
    owned[:, : cell.width // 2] = False

    parts = []
    for block in block_windows(cell, source_block):
        rows, columns = block.slices()
        half_rows, half_columns = block.slices(20)
        bands = (red[:, rows, columns], green[:, rows, columns], blue[:, half_rows, half_columns])
        parts.append((block, block_true_colour(block, cell, bands, owned)))
    picture = cell_true_colour(cell, parts)

    assert picture.shape == (3, -(-cell.height // 4), -(-cell.width // 4))
    full = np.stack([red, green, blue.repeat(2, 1).repeat(2, 2)])
    for y in range(picture.shape[1]):
        for x in range(picture.shape[2]):
            series = full[:, :, min(4 * y + 2, cell.height - 1), min(4 * x + 2, cell.width - 1)]
            reflectance = np.minimum(np.sort(series, axis=1)[:, 5] / 10_000, 1)
            expected = np.maximum(np.round(255 * np.sqrt(reflectance)), 1)
            seen = series.all() and owned[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].any()
            np.testing.assert_array_equal(picture[:, y, x], expected if seen else 0)


def test_a_series_is_left_as_it_is() -> None:
    cell = _cell(0, 0, 8, 8)
    series = np.arange(12 * 64, dtype=np.uint16)[::-1].reshape(12, 8, 8) + 1
    before = series.copy()
    block_true_colour(Block(0, 0, 8, 8), cell, [series] * 3, np.ones((8, 8), bool))
    np.testing.assert_array_equal(series, before)
