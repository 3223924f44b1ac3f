"""A shard of a run: the part of its cells that one start of `timesen map --shard 3/10` maps."""

from collections.abc import Sequence
from itertools import accumulate

from pipeline.grid.cells import Cell


def cells_of_shard(cells: Sequence[Cell], number: int, of: int) -> tuple[Cell, ...]:
    """The cells of shard `number` (1 … `of`) of a plan, in the order of their ids.

    The shards are disjoint, and together they are all cells. They depend on the plan alone, not on
    what is done. In the order of their ids the cells are cut into pieces of about the same number
    of pixels, at most a cell apart, so that a tile has few shards. A plan of fewer cells than
    shards leaves some of them empty.
    """
    ordered = sorted(cells, key=lambda cell: cell.id)
    sizes = [cell.height * cell.width for cell in ordered]
    total = sum(sizes)
    # A cell belongs to the shard in which its middle lies; whole numbers, so no rounding.
    return tuple(
        cell
        for cell, size, end in zip(ordered, sizes, accumulate(sizes), strict=True)
        if (2 * end - size) * of // (2 * total) == number - 1
    )
