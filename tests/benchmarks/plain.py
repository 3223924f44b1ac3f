"""Monthly series of one cell the way a notebook makes them, to compare with: time and memory.

`python -m tests.benchmarks.plain WAY ITEMS CELL OUT`: WAY is `timesen`, `stackstac` or `odc-stac`;
each runs in a process of its own, so that its peak memory is its own. ITEMS is a JSON file of
STAC items, CELL one of the cell's bounds, CRS and the scene classes to keep; the series is left in
OUT (npy, month × band × y × x) and time and memory are printed as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import dask
import numpy as np
import xarray as xr

from tests.benchmarks.memory import peak_bytes

# Earth Search's asset names, in the order of Sentinel-2's bands.
ASSETS = ["blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16",
          "swir22"]  # fmt: skip
Stac = list[dict[str, Any]]
Cube = TypeVar("Cube", xr.DataArray, xr.Dataset)


def with_stackstac(items: Stac, cell: dict[str, Any]) -> np.ndarray:
    """stackstac as it comes: float64, its own chunks, reflectance by the items' scale."""
    import stackstac

    stack = stackstac.stack(
        items, assets=[*ASSETS, "scl"], epsg=cell["epsg"], resolution=10, bounds=cell["bounds"]
    )
    clear = stack.sel(band=ASSETS).where(stack.sel(band="scl").isin(cell["keep"]))
    return _filled(clear).transpose("month", "band", "y", "x").values * 10_000


def with_odc_stac(items: Stac, cell: dict[str, Any]) -> np.ndarray:
    """odc-stac as it comes: lazy, stored numbers as uint16, from which the offset is then taken."""
    import odc.stac
    import pystac
    from affine import Affine
    from odc.geo.geobox import GeoBox

    left, bottom, right, top = cell["bounds"]
    shape = (round((top - bottom) / 10), round((right - left) / 10))
    cube = odc.stac.load(
        [pystac.Item.from_dict(item) for item in items],
        bands=[*ASSETS, "scl"],
        geobox=GeoBox(shape, Affine(10, 0, left, 0, -10, top), f"EPSG:{cell['epsg']}"),
        chunks={},
    )
    kept = cube.scl.isin(cell["keep"])
    clear = cube[ASSETS].where(kept & (cube[ASSETS] != 0)) - 1000.0
    return _filled(clear).to_array("band").transpose("month", "band", "y", "x").values


def with_timesen(items: Stac, cell: dict[str, Any]) -> np.ndarray:
    """The pipeline's own tasks up to the series; 20 m repeated to 10 m, so that all compare."""
    from models.encoder.preprocessing import BANDS
    from pipeline.catalog.normalise import normalise
    from pipeline.grid.cell_blocks import Block, block_windows
    from pipeline.grid.cells import Cell
    from pipeline.grid.mgrs import parse_tile
    from pipeline.observations.clear_mask import Masking
    from pipeline.observations.cube import band_resolution
    from pipeline.observations.read_band import read_clear, read_series

    normal = [normalise(item) for item in items]
    where = Cell(parse_tile(cell["tile"]), *cell["place"])
    clear = read_clear(normal, where, Masking(tuple(cell["keep"])))
    series = np.empty((12, len(BANDS), *where.shape), np.uint16)

    def make(index: int, band: str, block: Block) -> None:
        part = read_series(normal, band, where, block, clear)
        n = part.resolution // 10
        series[:, index, *block.slices()] = part.series.repeat(n, axis=1).repeat(n, axis=2)

    parts = [
        dask.delayed(make)(index, band, block)
        for index, band in enumerate(BANDS)
        for block in block_windows(where, 1024 * band_resolution(normal, band) // 10)
    ]
    dask.compute(parts)
    return series


WAYS: dict[str, Callable[[Stac, dict[str, Any]], np.ndarray]] = {
    "timesen": with_timesen,
    "stackstac": with_stackstac,
    "odc-stac": with_odc_stac,
}


def _filled(clear: Cube) -> Cube:
    """Monthly medians, and the year's where a month has none."""
    monthly = clear.groupby("time.month").median("time")
    return monthly.fillna(clear.median("time")).compute()


def main(way: str, items: Path, cell: Path, out: Path) -> None:
    """Make the series one way; print seconds (without imports) and peak bytes as JSON."""
    stac, where = json.loads(items.read_text()), json.loads(cell.read_text())
    make = WAYS[way]
    small = {**where, "bounds": _corner(where["bounds"]), "place": [*where["place"][:4], 64, 64]}
    with dask.config.set(scheduler="threads", num_workers=where["threads"]):
        make(stac[:2], small)  # imports and compiles
        began = time.perf_counter()
        series = make(stac, where)
        seconds = time.perf_counter() - began
    peak = peak_bytes()
    np.save(out, series)
    print(json.dumps({"seconds": seconds, "peak": peak}))


def _corner(bounds: list[float]) -> list[float]:
    left, _, _, top = bounds
    return [left, top - 640, left + 640, top]


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
