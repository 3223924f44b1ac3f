"""The COGs of a run under other settings: their size, and the time to write and to read them.

`python -m tests.benchmarks.bench_cog [--run RUN]`, of a run that kept embeddings, else of one that
it maps first; some ten minutes. Writes `tests/benchmarks/results/cog.md`. It needs
`gdal_translate`.
"""

import argparse
import itertools
import math
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.shutil import copy as gdal_copy

from flows.cli.map import run_map
from pipeline.classification.embedding_files import embedding_blocks, read_embeddings
from pipeline.grid.mgrs import to_lonlat, to_utm
from pipeline.io.store import Store
from pipeline.layout import cell_key
from pipeline.product.cell_report import PREFIX
from pipeline.product.cog_writer import BLOCK, cog_bytes
from pipeline.product.committed_cells import mapped_items
from pipeline.product.layers import CLASS, CLEAR_MONTHS, CLEAR_OBSERVATIONS, CONFIDENCE, OutputLayer
from pipeline.product.ledger import read_run
from pipeline.product.read_layer import read_layer
from pipeline.settings.map import make_settings
from tests.benchmarks import archive

RESULT = Path(__file__).resolve().parent / "results" / "cog.md"
LAYERS = (CLASS, CONFIDENCE, CLEAR_MONTHS, CLEAR_OBSERVATIONS)
METHODS = (
    ("DEFLATE", 6), ("DEFLATE", 9), ("DEFLATE", 12), ("ZSTD", 9), ("ZSTD", 19),
    ("LERC_DEFLATE", 9), ("LERC_ZSTD", 19),
)  # fmt: skip
PREDICTORS = ("NO", "STANDARD")
BLOCKS = (256, 512, 1024)
TIMES = 3
SIDE = 10_240  # metres of the region that is mapped
GRID = Affine(10, 0, 600_000, 0, -10, 5_500_000)


@dataclass(frozen=True)
class Settings:
    """Settings of a COG."""

    compress: str
    level: int | None
    predictor: str
    block: int

    def options(self, overview: str) -> dict[str, Any]:
        """As creation options of GDAL's COG driver."""
        lerc = self.compress.startswith("LERC")
        return {
            "COMPRESS": self.compress,
            "BLOCKSIZE": self.block,
            "OVERVIEW_RESAMPLING": overview.upper(),
            **({} if self.level is None else {"LEVEL": self.level}),
            **({"MAX_Z_ERROR": 0} if lerc else {"PREDICTOR": self.predictor}),
            **({} if lerc else {"OVERVIEW_PREDICTOR": self.predictor}),
        }

    def __str__(self) -> str:
        level = "" if self.level is None else f" {self.level}"
        predictor = ", predictor" if self.predictor == "STANDARD" else ""
        return f"{self.compress}{level}{predictor}, {self.block}"


def all_settings() -> Iterator[Settings]:
    """All settings that are tried; LERC has a predictor of its own."""
    for (compress, level), predictor, block in itertools.product(METHODS, PREDICTORS, BLOCKS):
        if predictor == "NO" or not compress.startswith("LERC"):
            yield Settings(compress, level, predictor, block)


def own_settings(layer: OutputLayer) -> Settings:
    """What `pipeline.product.cog_writer` uses for a layer."""
    plain = layer.overview == "mode" or layer.compression == "ZSTD"
    level = {"DEFLATE": 9, "ZSTD": 19}[layer.compression]
    return Settings(layer.compression, level, "NO" if plain else "STANDARD", BLOCK)


def written(plain: str, settings: Settings, overview: str) -> bytes:
    """A raster as a COG, of one thread."""
    with rasterio.Env(GDAL_NUM_THREADS="1"), MemoryFile() as cog:
        gdal_copy(plain, cog.name, driver="COG", **settings.options(overview))
        return bytes(cog.read())


def processor_seconds(work: Callable[[], object], times: int = 1) -> float:
    """The median CPU time of a work."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return median(spent)


def make_run(folder: Path) -> Path:
    """Map a part of the benchmarks' archive of a year, 1,024 × 1,024 pixels in two cells."""
    made = archive.write_archive(folder / "archive")
    west, south, east, north = shapely.from_geojson(made.region.read_text()).bounds
    lon, lat = (west + east) / 2, (south + north) / 2
    x, y = to_utm(32631).transform(lon, lat)
    corners = [to_lonlat(32631).transform(x + dx, y + dy) for dx, dy in ((0, 0), (SIDE, SIDE))]
    (left, bottom), (right, top) = corners
    settings = make_settings(
        {
            "region": f"{left:.6f},{bottom:.6f},{right:.6f},{top:.6f}",
            "year": archive.YEAR,
            "vocabulary": "sample-landscape",
            "checkpoint": "sample",
            "catalog": {"url": str(made.folder)},
            "keep_embeddings": True,
            "out": str(folder / "run"),
        }
    )
    if run_map(settings):
        raise SystemExit(1)
    return folder / "run"


def rasters_of(run: Path) -> Iterator[tuple[OutputLayer, np.ndarray]]:
    """The layers of a run's largest cell: (band, y, x)."""
    store = Store(str(run))
    items = mapped_items(store, read_run(store))
    largest = max(items, key=lambda item: math.prod(item["properties"]["proj:shape"]))
    for layer in LAYERS:
        yield layer, read_layer(store, largest, layer)


def embeddings_of(run: Path) -> np.ndarray:
    """128 × 128 pixels of the largest block of embeddings of a run: int8 (dim, y, x)."""
    store = Store(str(run))
    found = []
    for item in mapped_items(store, read_run(store)):
        tile = item["properties"][f"{PREFIX}tile"]
        found += [
            (block.height * block.width, cell_key(tile, item["id"], name), block)
            for block, name in embedding_blocks(item)
        ]
    _, key, block = max(found, key=lambda one: one[0])
    return read_embeddings(store, key, block)[:, :128, :128]


def plain_tiff(path: Path | str, array: np.ndarray, nodata: int | None) -> None:
    """Write an array without compression."""
    bands, rows, columns = array.shape
    profile = {"width": columns, "height": rows, "count": bands, "dtype": array.dtype.name}
    with rasterio.open(
        path, "w", driver="GTiff", nodata=nodata, crs="EPSG:32631", transform=GRID, **profile
    ) as raster:
        raster.write(array)


def read_all(content: bytes) -> np.ndarray:
    """All pixels of a COG."""
    with rasterio.Env(GDAL_NUM_THREADS="1"), MemoryFile(content) as file, file.open() as raster:
        values: np.ndarray = raster.read()
    return values


def translate_seconds(source: Path, target: Path, options: dict[str, Any]) -> float:
    """The CPU time of `gdal_translate` to a COG."""
    words = itertools.chain.from_iterable(
        ("-co", f"{key}={value}") for key, value in options.items()
    )
    command = ["gdal_translate", "-q", "-of", "COG", *words, "-co", "NUM_THREADS=1"]
    target.unlink(missing_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, str(source), str(target)], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@dataclass(frozen=True)
class Measured:
    """A raster under some settings: bytes, and CPU seconds to write and to read it."""

    settings: Settings
    size: int
    write: float
    read: float


def tried(layer: OutputLayer, array: np.ndarray) -> list[Measured]:
    """A raster under all settings; all give its pixels back."""
    found = []
    with MemoryFile() as plain:
        plain_tiff(plain.name, array, layer.nodata)
        for settings in all_settings():
            began = time.process_time()
            content = written(plain.name, settings, layer.overview)
            write = time.process_time() - began
            assert (read_all(content) == array).all()
            read = processor_seconds(partial(read_all, content), TIMES)
            found.append(Measured(settings, len(content), write, read))
    return found


def beside_translate(layer: OutputLayer, array: np.ndarray, folder: Path) -> float:
    """The CPU time of our writing relative to that of `gdal_translate` without its start."""
    plain, tiny, target = folder / "plain.tif", folder / "tiny.tif", folder / "cog.tif"
    plain_tiff(plain, array, layer.nodata)
    plain_tiff(tiny, array[:, :1, :1], layer.nodata)
    options = own_settings(layer).options(layer.overview)
    ours, theirs = [], []
    for _ in range(TIMES):
        ours.append(processor_seconds(partial(own_cog, layer, array)))
        start = translate_seconds(tiny, target, options)
        theirs.append(translate_seconds(plain, target, options) - start)
    return median(ours) / median(theirs)


def own_cog(layer: OutputLayer, array: np.ndarray) -> bytes:
    """A raster as a run writes it."""
    return cog_bytes(
        array,
        GRID,
        32631,
        layer.nodata,
        description=[layer.title] * len(array),
        overview=layer.overview,
        compression=layer.compression,
    )


def embeddings_table(stored: np.ndarray) -> Iterator[str]:
    """Embeddings under several settings of a plain GeoTIFF, pixel by pixel (`embeddings_tif`)."""
    ways = (
        ("ZSTD", 1, 1), ("ZSTD", 9, 1), ("ZSTD", 19, 1), ("ZSTD", 1, 2), ("DEFLATE", 6, 1),
        ("DEFLATE", 6, 2), ("LERC_ZSTD", 1, 1),
    )  # fmt: skip
    bands, rows, columns = stored.shape
    found = []
    for compress, level, predictor in ways:
        options: dict[str, Any] = {"compress": compress.lower(), "interleave": "pixel"}
        name = "zlevel" if compress == "DEFLATE" else "zstd_level"
        options |= {name: level, **({} if "LERC" in compress else {"predictor": predictor})}
        shape = {"width": columns, "height": rows, "count": bands, "dtype": "int8"}
        tile = {"tiled": True, "blockxsize": 128, "blockysize": 128}

        def write(options: dict[str, Any] = options | shape | tile) -> bytes:
            with rasterio.Env(GDAL_NUM_THREADS="1"), MemoryFile() as file:
                with file.open(
                    driver="GTiff", crs="EPSG:32631", transform=GRID, **options
                ) as raster:
                    raster.write(stored)
                return bytes(file.read())

        began = time.process_time()
        content = write()
        seconds = time.process_time() - began
        read = processor_seconds(partial(read_all, content))
        label = f"{compress} {level}{', predictor' if predictor == 2 else ''}"
        found.append((label, len(content), seconds, read))
    least = min(size for _, size, _, _ in found)
    yield "| embeddings | size | × least | write | read |"
    yield "|---|---:|---:|---:|---:|"
    for label, size, write_seconds, read in found:
        own = " (ours)" if label == "ZSTD 1, predictor" else ""
        times = f"{write_seconds:.2f} s | {read:.2f} s"
        yield f"| {label}{own} | {size / 1e6:.2f} MB | {size / least:.3f} | {times} |"


def summary(layer: OutputLayer, found: list[Measured], ratio: float) -> str:
    """The line of a layer: what a run uses, beside the least size and `gdal_translate`."""
    least = min(found, key=lambda one: one.size)
    (own,) = (one for one in found if one.settings == own_settings(layer))
    fields = (
        layer.name, own.settings, f"{own.size:,}", f"{own.size / least.size:.3f}", least.settings,
        f"{own.write / least.write:.2f}", f"{ratio:.2f}", f"{1000 * own.read:.1f} ms",
    )  # fmt: skip
    return f"| {' | '.join(map(str, fields))} |"


def details(layer: OutputLayer, found: list[Measured]) -> Iterator[str]:
    """All settings of a layer, the smallest first."""
    least = min(found, key=lambda one: one.size)
    yield f"| {layer.name} | × least size | write | read |"
    yield "|---|---:|---:|---:|"
    for one in sorted(found, key=lambda one: one.size):
        own = " (ours)" if one.settings == own_settings(layer) else ""
        times = f"{1000 * one.write:.0f} ms | {1000 * one.read:.1f} ms"
        yield f"| {one.settings}{own} | {one.size / least.size:.3f} | {times} |"


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    lines: list[str] = []
    tables: list[str] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        run = arguments.run or make_run(folder)
        sizes = []
        for layer, array in rasters_of(run):
            sizes.append(f"{layer.name} {' × '.join(map(str, array.shape))}")
            found = tried(layer, array)
            print(sizes[-1], flush=True)
            lines.append(summary(layer, found, beside_translate(layer, array, folder)))
            tables += ["", *details(layer, found)]
        tables += ["", *embeddings_table(embeddings_of(run))]
    told = subprocess.run(["gdal_translate", "--version"], capture_output=True, text=True)
    version = told.stdout.split(",")[0]
    columns = (
        "raster", "ours", "bytes", "× least size", "of", "write: × that",
        "write: × gdal_translate", "read",
    )  # fmt: skip
    document = "\n".join(
        [
            "# Settings of a run's COGs",
            "",
            "Made by `python -m tests.benchmarks.bench_cog`. A cell that was mapped with the",
            "checkpoint `sample` from made scenes of a year: fields with texture and noise,",
            "clouds. Patterns repeat in it more than on land, which long windows (ZSTD) and large",
            "blocks profit of. All settings are lossless: each file is read back and compared. CPU",
            "time of one thread. The ratio to `gdal_translate` (the same settings, the time that",
            f"it takes to start taken off) is of medians of {TIMES}, in turns. It is of {version},",
            f"ours of rasterio's GDAL {rasterio.__gdal_version__}. Bands, rows and columns:",
            f"{', '.join(sizes)}.",
            "",
            f"| {' | '.join(columns)} |",
            "|---|---|---:|---:|---|---:|---:|---:|",
            *lines,
            *tables,
            "",
        ]
    )
    arguments.out.write_text(document)
    print(document)


if __name__ == "__main__":
    main()
