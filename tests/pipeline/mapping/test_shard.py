"""Shards of a plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SettingsError
from pipeline.grid.cells import Cell
from pipeline.grid.mgrs import parse_tile
from pipeline.mapping.shard import cells_of_shard
from pipeline.settings.map import make_settings

TILE = parse_tile("31UFS")


def made_cell(number: int, height: int, width: int) -> Cell:
    return Cell(TILE, number // 9, number % 9, 0, 0, height, width)


sizes = st.lists(st.tuples(st.integers(1, 2048), st.integers(1, 2048)), min_size=1, max_size=60)


@given(sizes, st.integers(1, 20), st.randoms())
def test_shards_are_disjoint_and_all_cells_and_of_like_size(
    sizes: list[tuple[int, int]], of: int, random: object
) -> None:
    cells = [made_cell(number, *size) for number, size in enumerate(sizes)]
    shards = [cells_of_shard(cells, number, of) for number in range(1, of + 1)]
    assert sorted(cell.id for shard in shards for cell in shard) == sorted(c.id for c in cells)
    pixels = [sum(cell.height * cell.width for cell in shard) for shard in shards]
    largest = max(cell.height * cell.width for cell in cells)
    assert all(abs(each - sum(pixels) / of) <= largest for each in pixels)
    random.shuffle(cells)  # type: ignore[attr-defined]
    assert shards == [cells_of_shard(cells, number, of) for number in range(1, of + 1)]


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "1/0", "a/b", "1/3/4", "-1/3", "１/3"])
def test_what_is_no_shard_is_refused(shard: str) -> None:
    raw = {"region": "31UFS", "year": 2024, "classes": "forest, lake", "out": "map"}
    with pytest.raises(SettingsError, match="shard"):
        make_settings(raw | {"shard": shard})
    assert make_settings(raw | {"shard": "3/3"}).shard == "3/3"
