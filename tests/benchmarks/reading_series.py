"""The monthly series of a cell by the pipeline's own tasks: time, memory, and what was read.

`python -m tests.benchmarks.reading_series MASKING JOB`: MASKING is a JSON object of the fields of
`Masking`. Each series is dropped when it is made, as a worker drops it once it is encoded.
"""

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.encoder.preprocessing import BANDS
from pipeline.catalog.item import Item
from pipeline.catalog.normalise import normalise
from pipeline.grid.cell_blocks import Block, block_windows
from pipeline.grid.cells import SOURCE_BLOCK, Cell
from pipeline.observations.clear_mask import ClearMask, Masking
from pipeline.observations.cube import band_resolution
from pipeline.observations.read_band import read_clear, read_series
from tests.benchmarks.memory import peak_bytes, reset_peak
from tests.benchmarks.reading_job import THREADS, read_job


@dataclass(frozen=True)
class Spent:
    """The cost of a cell's series.

    `seconds` of all and `mask_seconds` of the scene classification, by the clock; `reading` and
    `compositing`, summed over threads; `mask_peak` and `peak`, the most memory while the mask and
    while the series were made (bytes); `read` of `shown` acquisitions were read.
    """

    seconds: float
    mask_seconds: float
    reading: float
    compositing: float
    mask_peak: int
    peak: int
    shown: int
    read: int


def parts_of(items: Sequence[Item], cell: Cell) -> list[tuple[str, Block]]:
    """The bands and blocks that are tasks of a cell."""
    return [
        (band, block)
        for band in BANDS
        for block in block_windows(cell, SOURCE_BLOCK * band_resolution(items, band) // 10)
    ]


def make_series(items: Sequence[Item], cell: Cell, masking: Masking) -> Spent:
    """Read the mask, then all bands, and composite them."""
    began = time.perf_counter()
    reset_peak()
    clear: ClearMask = read_clear(items, cell, masking)
    mask_peak, mask_seconds = peak_bytes(), time.perf_counter() - began
    reset_peak()

    def series(part: tuple[str, Block]) -> tuple[float, float]:
        band, block = part
        done = read_series(items, band, cell, block, clear)
        return done.stats.seconds["read"], done.stats.seconds["composite"]

    with ThreadPoolExecutor(THREADS) as pool:
        spent = list(pool.map(series, parts_of(items, cell)))
    return Spent(
        seconds=time.perf_counter() - began,
        mask_seconds=mask_seconds,
        reading=clear.stats.seconds["read"] + sum(reading for reading, _ in spent),
        compositing=sum(compositing for _, compositing in spent),
        mask_peak=mask_peak,
        peak=peak_bytes(),
        shown=clear.acquisitions,
        read=clear.clear_acquisitions,
    )


def masking_of(fields: dict[str, Any]) -> Masking:
    """The masking of a JSON object."""
    return Masking(**fields | {"keep": tuple(fields["keep"])})


def main(masking: str, path: Path) -> None:
    """Make the series and print its cost."""
    job, how = read_job(path), masking_of(json.loads(masking))
    warm = job.warming
    make_series([normalise(item) for item in warm.items], warm.cell, how)
    spent = make_series([normalise(item) for item in job.items], job.cell, how)
    print(json.dumps(vars(spent)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
