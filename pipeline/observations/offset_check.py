"""A check of stated offsets by the data: an offset that was applied before is not applied again.

Catalogues say by item whether the offset of a product's numbers is still to be applied, and some
say it wrongly (Earth Search's `boa_offset_applied`). Applied twice, −1000 turns most of the blue of
land into the lowest value that there is, which no land has.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.catalog.item import Item, dark_band
from pipeline.grid.cell_blocks import Block, block_windows
from pipeline.grid.cells import SOURCE_BLOCK, Cell
from pipeline.io.store import public_url
from pipeline.observations.cube import band_resolution, observations
from pipeline.raster.read_stats import Fault, FaultLog
from pipeline.raster.stackstac_reader import ReaderSettings

LAND = (4, 5)
"""Scene classes that count as land: vegetation and bare ground."""

_SHARE = 0.4  # of land at the lowest value: numbers without offset have more, others nearly none
_LEAST = 100  # pixels that are enough to judge
_LOWEST = 1  # of reflectance × 10000; 0 is nodata

OFFSET_REASON = "would be below 0 on clear land after the offset that its item states"
"""Why an item is left out whose offset was applied before."""


def wrong_offsets(
    items: Sequence[Item],
    numbers: Sequence[int],
    land: np.ndarray,
    resolution: int,
    cell: Cell,
    settings: ReaderSettings,
    log: FaultLog,
) -> dict[int, Fault]:
    """The items whose numbers contradict the negative offset that they state.

    Of each item a dark band is read in the source block where most of its land is clear. Raises
    ReadingError where a raster is unreachable.

    Args:
        items: The items of the cell.
        numbers: The places of those to check.
        land: Clear land: uint8 (⌈items / 8⌉, y, x), as `ClearMask.bits`.
        resolution: Metres of a pixel of `land`.
        cell: The cell.
        settings: How rasters are opened.
        log: Takes retries, and no faults: whether a damaged raster matters shows when it is read.

    Returns:
        Faults of their dark bands, by place.
    """
    together: dict[tuple[str, Block], list[int]] = {}
    for number in numbers:
        band = dark_band(items[number])
        if band is None:
            continue
        seen = {
            block: int(np.count_nonzero(_plane(land, number, block, resolution)))
            for block in block_windows(cell, SOURCE_BLOCK)
        }
        clearest = max(seen, key=lambda block: seen[block])
        if seen[clearest]:
            together.setdefault((band, clearest), []).append(number)
    faults, own = {}, FaultLog()
    for (band, block), group in together.items():
        finest = min(band_resolution(items, band), resolution)
        stack = observations(
            [items[n] for n in group], [band], block.bounds(cell), cell.epsg, finest,
            settings=replace(settings, strict=False), faults=own,
        )  # fmt: skip
        values = stack.compute(scheduler="synchronous")[:, 0]
        ratio = resolution // finest
        for shown, number in zip(values, group, strict=True):
            clear = _plane(land, number, block, resolution)
            if _is_clamped(shown[clear.repeat(ratio, axis=0).repeat(ratio, axis=1)]):
                href = items[number].assets[band].href
                faults[number] = Fault(public_url(href), band, OFFSET_REASON)
    for _ in range(own.retries):
        log.retried()
    log.count(own.fetched, own.requests)
    return faults


def _plane(land: np.ndarray, number: int, block: Block, resolution: int) -> np.ndarray:
    part = land[number // 8, *block.slices(resolution)]
    return (part & np.uint8(1 << number % 8)).astype(bool)


def _is_clamped(values: np.ndarray) -> bool:
    known = values[values > 0]
    return len(known) >= _LEAST and bool(np.mean(known == _LOWEST) >= _SHARE)
