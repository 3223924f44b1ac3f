"""A map of very many cells: opened and read by its VRT, and by its index for GDAL's driver GTI.

`python -m tests.benchmarks.bench_mosaic_index`; some five minutes. Writes
`tests/benchmarks/results/mosaic-index.md`.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.windows import Window

from pipeline.layout import cell_key
from pipeline.product.cell_report import PREFIX
from pipeline.product.layers import CLASS
from pipeline.product.mosaic import Mosaic
from pipeline.product.tile_index import index_key
from tests.pipeline.made_run import VOCABULARY, begin

RESULT = Path(__file__).resolve().parent / "results" / "mosaic-index.md"
COUNTS = (10, 1_000, 14_407)
SIDE = 64  # pixels of 10 m: the files are opened, their size is not measured
TIMES = 5
LEFT, TOP = 400_000, 5_600_000


def write_cells(folder: Path, count: int) -> list[dict[str, Any]]:
    """Write the class rasters of cells in a square; gives what of their items a mosaic looks at."""
    across, rng = math.ceil(math.sqrt(count)), np.random.default_rng(0)
    items = []
    for number in range(count):
        row, column = divmod(number, across)
        corner = (LEFT + 10 * SIDE * column, TOP - 10 * SIDE * row)
        grid = Affine(10, 0, corner[0], 0, -10, corner[1])
        name = f"31UFS-{row:03}-{column:03}"
        path = folder / cell_key("31UFS", name, CLASS.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=SIDE,
            height=SIDE,
            count=1,
            dtype="uint8",
            nodata=0,
            crs="EPSG:32631",
            transform=grid,
            compress="deflate",
        ) as raster:
            raster.write(rng.integers(1, 6, (1, SIDE, SIDE), np.uint8))
        lon, lat = 1.6 + 0.009 * column, 50.5 - 0.006 * row
        items.append(
            {
                "id": name,
                "bbox": [lon, lat - 0.006, lon + 0.009, lat],
                "assets": {CLASS.name: {}},
                "properties": {
                    "proj:code": "EPSG:32631",
                    "proj:shape": [SIDE, SIDE],
                    "proj:transform": list(grid)[:6],
                    f"{PREFIX}tile": "31UFS",
                },
            }
        )
    return items


def milliseconds(work: Callable[[], object]) -> float:
    """The median time of a work, by the clock."""
    spent = []
    for _ in range(TIMES):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return 1000 * median(spent)


def opened(path: Path) -> tuple[int, int]:
    """Open a map, as a GIS does to show its name."""
    with rasterio.open(path) as raster:
        return raster.shape


def window_read(path: Path) -> np.ndarray:
    """Open a map and read 512 × 512 pixels of its middle, of some 81 cells."""
    with rasterio.open(path) as raster:
        row, column = (max(0, side // 2 - 256) for side in raster.shape)
        values: np.ndarray = raster.read(1, window=Window(column, row, 512, 512))
    return values


def measured(folder: Path, count: int) -> str:
    """The line of a map of so many cells."""
    store, run = begin(str(folder / "run"), "1.6,49.8,2.9,50.5")
    items = write_cells(Path(store.root), count)
    mosaic = Mosaic(run, CLASS, VOCABULARY, CRS.from_epsg(32631))
    spent, sizes, paths = [], [], []
    for make, key in (
        (mosaic.files, CLASS.mosaic_file),
        (mosaic.indexes, index_key(CLASS.stem, 32631)),
    ):
        began = time.process_time()
        content = make(items)[key]
        spent.append(f"{time.process_time() - began:.2f} s")
        store.write(key, content)
        sizes.append(f"{len(content) / 1e6:.2f} MB")
        paths.append(Path(store.path(key)))
    same = (window_read(paths[0]) == window_read(paths[1])).all()
    times = [
        f"{milliseconds(partial(work, path)):.1f} ms"
        for work in (opened, window_read)
        for path in paths
    ]
    fields = (f"{count:,}", *sizes, *spent, *times, "yes" if same else "no")
    return f"| {' | '.join(fields)} |"


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    lines = []
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(measured(Path(folder), count))
    columns = (
        "cells", "VRT", "index", "VRT made", "index made", "VRT opened", "index opened",
        "VRT read", "index read", "same",
    )  # fmt: skip
    document = f"""# A map of very many cells, by its VRT and by its index

Made by `python -m tests.benchmarks.bench_mosaic_index`: cells with class rasters of
{SIDE} × {SIDE} pixels in EPSG:32631. Opening, and opening and reading 512 × 512 pixels, by
rasterio with GDAL {rasterio.__gdal_version__}: median of {TIMES} by the clock, files in the page
cache. Making: CPU time, from the cells' STAC items, without opening a raster. "Same": whether both
show the same pixels in that window.

| {" | ".join(columns)} |
|{"---:|" * len(columns)}
{chr(10).join(lines)}
"""
    arguments.out.write_text(document)
    print(document)


if __name__ == "__main__":
    main()
