"""The measuring of a machine: cells of a made archive are mapped, and a real catalogue is read."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import shapely
import torch
from dask.system import CPU_COUNT

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.inference import device_at_hand
from models.encoder.throughput import measure_throughput
from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item import Item
from pipeline.catalog.origin import access_of
from pipeline.catalog.search import search
from pipeline.costs.machine_rates import MachineRates, this_machine
from pipeline.errors import CatalogError
from pipeline.grid.cell_blocks import block_windows
from pipeline.grid.cells import SOURCE_BLOCK, Cell, cells_of, tiles_of
from pipeline.grid.region import Region, read_region
from pipeline.io.store import public_url
from pipeline.machine.made_archive import MADE_YEAR, write_made_archive
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.source_reading import SourceReading, TileReader
from pipeline.observations.cube import reaching
from pipeline.observations.read_band import read_clear, read_series
from pipeline.observations.reading import reading_of
from pipeline.raster.read_stats import ReadStats, total_stats
from pipeline.settings.map import SearchSettings, make_settings
from pipeline.settings.sections import ReadingSettings

_SMALL = 64  # pixels a side of the cell whose cost is that of windows and files
_ENCODING_SECONDS = 3.0  # of all cores, about, that the large cell's encoding takes
_NEAR = 0.15  # degrees around a place of the region, in which a block is read
_DATES = 12  # of the user's catalogue that are read
_GPU_SECONDS = 4.0


@dataclass(frozen=True)
class ReadMeasured:
    """A reading of a real catalogue.

    Attributes:
        catalog: Its address, without secrets.
        read: What was read.
        stats: Its facts.
        wall: Seconds that passed.
        cpu: Seconds of all cores.
    """

    catalog: str
    read: SourceReading
    stats: ReadStats
    wall: float
    cpu: float


@dataclass(frozen=True)
class _Mapped:
    """A cell that was mapped: seconds of cores, of stages (threads), and what it was."""

    cpu: float
    stages: Mapping[str, float]
    read: SourceReading
    pixels: int
    area: int

    def core(self, *stages: str) -> float:
        """Seconds of cores that stages took: their share of the whole cell's."""
        return self.cpu * sum(self.stages[stage] for stage in stages) / sum(self.stages.values())

    @property
    def held(self) -> float:
        """How long a thread was in its stages for a second of a core."""
        return max(1.0, sum(self.stages.values()) / self.cpu)


def measure_machine(
    checkpoint: str,
    settings: SearchSettings | None = None,
    reading: ReadingSettings | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[MachineRates, ReadMeasured | None]:
    """Measure this machine; about a minute, and the time of reading some 130 rasters.

    Args:
        checkpoint: The checkpoint's name or folder.
        settings: Region, year and catalogue to read from; by default only the made archive is read.
        reading: How observations are read.
        say: Takes a line of progress.

    Raises:
        UserError, WorldError: As planning and reading a run do.
    """
    loaded = load_checkpoint(checkpoint)
    say("Mapping made-up cells …")
    with tempfile.TemporaryDirectory() as name:
        small = _mapped(Path(name) / "small", _SMALL, checkpoint)
        large = _mapped(Path(name) / "large", SOURCE_BLOCK, checkpoint)
    window = small.core("read") / small.read.windows
    rates = MachineRates(
        machine=this_machine(),
        measured=datetime.now(UTC).date(),
        window=window,
        read=_positive(large.core("read") - large.read.windows * window) / large.read.values,
        composite=_positive(large.core("composite")) / large.read.composited,
        classify=large.core("prepare", "classify") / large.pixels,
        write=max(0.0, large.core("write") - small.core("write")) / large.area,
        cell=small.cpu - small.core("read", "encode"),
        held=large.held,
        **_encoding(loaded, large),
    )
    if settings is None:
        return rates, None
    say(f"Reading from {public_url(describe_catalog(settings.catalog.url).url)} …")
    done = measure_reading(loaded, settings, reading or ReadingSettings())
    share = done.stats.seconds["read"] / sum(done.stats.seconds.values())
    spent = sum(done.stats.seconds.values())
    return (
        rates.model_copy(
            update={
                "catalog": done.catalog,
                "read": _positive(share * done.cpu - done.read.windows * window) / done.read.values,
                "waiting": max(1.0, spent / done.cpu / rates.held),
            }
        ),
        done,
    )


def measure_reading(
    checkpoint: Checkpoint, settings: SearchSettings, reading: ReadingSettings
) -> ReadMeasured:
    """Read a block of a tile at some dates of a catalogue, a thread per core, as a run does.

    Raises CatalogError where the catalogue has no items there.
    """
    region = read_region(settings.region)
    middle = region.geometry.representative_point()  # of a continent a part is searched, not all
    region = region.within(
        *(middle.x - _NEAR, middle.y - _NEAR, middle.x + _NEAR, middle.y + _NEAR)
    )
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    found = search(region, settings, catalog)
    tiles = {tile: found.items.of_tile(tile.name) for tile in tiles_of(region)}
    tile = max(tiles, key=lambda one: len(tiles[one]))
    cell = max(map(_block_of, cells_of(tile, region)), key=lambda one: one.height * one.width)
    items = _spread(reaching(tiles[tile], cell), _DATES)
    if not items:
        raise CatalogError(
            public_url(catalog.url), "it has no items there", "Give another region or year"
        )
    card = checkpoint.card.preprocessing
    rules = reading_of(
        reading, card.bands, card.scl_keep, access_of(catalog, settings.network),
        card.optional_bands,
    )  # fmt: skip
    masking = replace(rules.masking, keep=tuple(range(1, 12)), dilate=0.0, most=None, least=0.0)
    began, before = time.perf_counter(), time.process_time()
    clear = read_clear(items, cell, masking, rules.reader)
    bands = [band for band in rules.bands if any(band in item.assets for item in items)]
    with ThreadPoolExecutor(CPU_COUNT) as pool:
        series = [
            pool.submit(read_series, items, band, cell, block, clear, rules.reader)
            for band in bands
            for block in block_windows(cell, SOURCE_BLOCK)
        ]
        stats = total_stats([clear.stats, *(one.result().stats for one in series)])
    cpu, wall = time.process_time() - before, time.perf_counter() - began
    return ReadMeasured(public_url(catalog.url), _counted([cell], items, bands), stats, wall, cpu)


def _mapped(folder: Path, side: int, checkpoint: str) -> _Mapped:
    """Map a cell of a made archive, after a corner of it, which loads code and encoder."""
    made = write_made_archive(folder / "archive", side)
    settings = {
        "region": str(made.region),
        "year": MADE_YEAR,
        "vocabulary": "sample-landscape",
        "checkpoint": checkpoint,
        "catalog": {"url": str(made.folder)},
        "out": str(folder / "run"),
        "cell_size": SOURCE_BLOCK,
    }
    prepared = prepare_run(make_settings(settings))
    cell = next(one for one in prepared.cells if one.row == one.column == 4)
    cell, run = replace(cell, height=side, width=side), prepared.run
    corner = replace(cell, height=min(side, 32), width=min(side, 32))
    items = prepared.items_of(cell)
    rate = prepared.plan.encode_rate or 1.0
    width = max(1, min(side, round(_ENCODING_SECONDS * rate / side)))
    narrow = replace(run, region=_columns(cell, run.region, width))
    cell_graph(corner, items, run).compute(scheduler="threads")
    before = time.process_time()
    report = cell_graph(cell, items, narrow).compute(scheduler="threads")
    cpu = time.process_time() - before
    read = _counted([cell], items, run.reading.bands)
    mapped = sum(report.pixels.values())
    return _Mapped(cpu, report.stats.seconds, read, max(mapped, 1), side**2)


def _columns(cell: Cell, region: Region, width: int) -> Region:
    """The region that holds the first columns of a cell only: these are encoded."""
    west, south, east, north = cell.lonlat_bounds
    edge = west + (east - west) * width / cell.width
    strip = shapely.box(west - 0.01, south - 0.01, edge, north + 0.01)
    return replace(region, geometry=region.geometry.intersection(strip))


def _encoding(checkpoint: Checkpoint, large: _Mapped) -> dict[str, object]:
    """The cost of encoding a pixel by this checkpoint, on the GPU if there is one."""
    mark, device = checkpoint.fingerprint[:12], device_at_hand()
    if device.type == "cuda":
        found = measure_throughput(checkpoint, device, threads=1, seconds=_GPU_SECONDS)
        name = torch.cuda.get_device_name(device)
        return {"gpu": name, "gpu_encode": {mark: 1 / found.pixels}}
    return {"encode": {mark: large.core("encode") / large.pixels}}


def _counted(cells: Sequence[Cell], items: Sequence[Item], bands: Sequence[str]) -> SourceReading:
    reader = TileReader(cells, bands)
    for item in items:
        reader.add(item, np.ones(len(cells), bool), 1.0, 0)
    return reader.total


def _block_of(cell: Cell) -> Cell:
    """The largest source block of a cell, as a cell."""
    block = max(block_windows(cell, SOURCE_BLOCK), key=lambda one: one.height * one.width)
    return replace(
        cell,
        row_offset=cell.row_offset + block.row,
        column_offset=cell.column_offset + block.column,
        height=block.height,
        width=block.width,
    )


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """Some of the items, spread evenly over the year."""
    chosen = np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)
    return [items[number] for number in chosen]


def _positive(seconds: float) -> float:
    return max(seconds, 1e-9)
