"""Runs of several cells, tiles and zones, with noise, that the tests of derived runs read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pipeline.grid.cells import Cell, cells_of, tiles_of
from pipeline.grid.region import read_region
from pipeline.layout import VOCABULARY_FILE
from pipeline.product.cell_commit import commit_cell
from tests.pipeline.made_run import VOCABULARY, MadeRun, begin, cell_rasters, result_of

FOUR_TILES = "5.985,49.601,6.015,49.617"
"""Tiles on both sides of 6° E, and on both sides of a border of tiles."""


@dataclass(frozen=True)
class Land:
    """The noise of a made run: a share of pixels is of the next class, by place in its zone."""

    seed: int
    noise: float = 0.15

    def ranks(self, cell: Cell, region: str) -> tuple[np.ndarray, np.ndarray]:
        """Two ranks (rank, y, x) and their percents, nodata where the cell does not own a pixel."""
        classes, _ = cell_rasters(cell, region)
        left, _, _, top = cell.bounds
        column = round(left / 10) + np.arange(cell.width)
        row = -round(top / 10) + np.arange(cell.height)
        key = (row[:, None] * 73_856_093) ^ (column[None] * 19_349_663) ^ (self.seed * 83_492_791)
        random = (np.abs(key) * 2_654_435_761 % 2**32) / 2**32
        there, noisy = classes > 0, random < self.noise
        other = classes % 5 + 1
        first = np.where(there, np.where(noisy, other, classes), 0)
        second = np.where(there, np.where(noisy, classes, other), 0)
        high = np.where(there, np.where(noisy, 45 + random * 90, 60 + 35 * random), 255)
        low = np.where(there, np.minimum(100 - high, 35), 255)
        return np.stack([first, second]).astype(np.uint8), np.stack([high, low]).astype(np.uint8)


def make_noisy_run(
    root: str, region: str, land: Land, cell_size: int = 2048, **settings: object
) -> MadeRun:
    store, run = begin(root, region, top_k=2, **settings)
    aoi = read_region(region)
    cells = tuple(cell for tile in tiles_of(aoi) for cell in cells_of(tile, aoi, cell_size))
    for cell in cells:
        classes, percents = land.ranks(cell, region)
        result = result_of(cell, classes[0], percents[0], 30)
        margin = np.where(
            classes[:1] > 0, np.maximum(percents[:1].astype(int) - percents[1:], 0), 255
        )
        result.rasters["top-classes"] = classes  # type: ignore[index]
        result.rasters["top-confidences"] = np.concatenate([percents, margin]).astype(np.uint8)  # type: ignore[index]
        commit_cell(store, run, cell, VOCABULARY, result)
    store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    return MadeRun(store, run, cells, VOCABULARY)


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., MadeRun]:
    """Runs of the same land by size of cells, made once."""
    made: dict[tuple[object, ...], MadeRun] = {}
    folder: Path = tmp_path_factory.mktemp("noisy")

    def get(cell_size: int = 2048, seed: int = 0, region: str = FOUR_TILES) -> MadeRun:
        key = (cell_size, seed, region)
        if key not in made:
            made[key] = make_noisy_run(str(folder / str(len(made))), region, Land(seed), cell_size)
        return made[key]

    return get
