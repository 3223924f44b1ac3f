"""The areas of the transitions between two maps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from affine import Affine

from pipeline.areas.pixel_area import PixelAreas
from pipeline.derived.derived_run import SourceRun, cell_of_item
from pipeline.derived.lattice import CellLattice
from pipeline.derived.transitions import Transitions
from pipeline.grid.cells import Cell
from pipeline.product.layers import CLASS
from pipeline.product.read_layer import read_layer


@dataclass(frozen=True, eq=False)
class ChangedArea:
    """The areas of the transitions between two maps, where both have a class.

    Attributes:
        transitions: The classes of both maps, n.
        hectares: On the ellipsoid, float64 (n, n): rows are the earlier map's classes.
        pixels: int64 (n, n).
        by_cell: The pixels of both maps, by cell of the earlier one; only cells that have any.
    """

    transitions: Transitions
    hectares: np.ndarray
    pixels: np.ndarray
    by_cell: Mapping[Cell, int]

    @property
    def changed(self) -> float:
        """The hectares that change their class."""
        return float(self.hectares.sum() - np.trace(self.hectares))

    def frame(self) -> pd.DataFrame:
        """A row for each transition that occurs, the largest first, areas in hectares."""
        names = [entry.name for entry in self.transitions.legend]
        before, after = np.nonzero(self.pixels)
        order = np.argsort(-self.hectares[before, after], kind="stable")
        rows = [
            {
                "from": names[i],
                "to": names[j],
                "value": self.transitions.value(i, j),
                "pixels": int(self.pixels[i, j]),
                "hectares": round(float(self.hectares[i, j]), 4),
                "share": round(float(self.hectares[i, j] / self.hectares.sum()), 6),
            }
            for i, j in zip(before[order].tolist(), after[order].tolist(), strict=True)
        ]
        return pd.DataFrame(rows)


def changed_area(
    before: SourceRun,
    lattice: CellLattice,
    transitions: Transitions,
    done: Callable[[str, int, int], None],
) -> ChangedArea:
    """Sum up the areas of the transitions, cell by cell of the earlier run.

    Args:
        before: The earlier run.
        lattice: The cells of the later run.
        transitions: The classes of both.
        done: Called with a stage, the number of cells that are done, and of all.

    Raises OutputUnreadable where a raster cannot be read.
    """
    count = len(transitions.legend)
    hectares, pixels = np.zeros(count * count), np.zeros(count * count, np.int64)
    by_cell: dict[Cell, int] = {}
    for number, item in enumerate(before.items, start=1):
        values = _transition_values(before, lattice, item, transitions)
        if values is not None and values.any():
            weights = pixel_hectares(item)
            hectares += np.bincount(values.ravel(), weights.ravel(), count * count + 1)[1:]
            pixels += np.bincount(values.ravel(), minlength=count * count + 1)[1:]
            by_cell[cell_of_item(item)] = int(np.count_nonzero(values))
        done("summing up", number, len(before.items))
    square = (count, count)
    return ChangedArea(transitions, hectares.reshape(square), pixels.reshape(square), by_cell)


def _transition_values(
    before: SourceRun, lattice: CellLattice, item: Mapping[str, Any], transitions: Transitions
) -> np.ndarray | None:
    """The transitions of a cell, uint16 (y, x); None where the later run has no cell there."""
    properties = item["properties"]
    bounds = tuple(properties["proj:bbox"])
    later = lattice.read([CLASS], int(properties["proj:epsg"]), bounds)
    if not later:
        return None
    earlier = read_layer(before.store, item, CLASS)[0]
    return transitions.values(
        transitions.places(earlier, later=False),
        transitions.places(later[CLASS.name][0], later=True),
    )


def pixel_hectares(item: Mapping[str, Any]) -> np.ndarray:
    """The areas of a cell's pixels in hectares, float64 (y, x)."""
    properties = item["properties"]
    rows, columns = properties["proj:shape"]
    transform = Affine(*properties["proj:transform"][:6])
    areas = PixelAreas.of_grid(int(properties["proj:epsg"]), transform, (rows, columns))
    return areas.hectares(slice(0, rows), slice(0, columns))
