"""The making of a plan: the cells of each tile, and what is read for them, from a run's items."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import shapely
from dask.system import CPU_COUNT
from pyproj import Geod

from models.encoder.checkpoint import Checkpoint
from models.files.json_text import parse_json
from pipeline import layout
from pipeline.catalog.item import SCL, Item
from pipeline.clusters.settings import workers_of
from pipeline.costs.prices import load_prices
from pipeline.costs.resources import total_resources
from pipeline.errors import CatalogError, RegionError
from pipeline.grid.cells import cells_with_pixels, tiles_of
from pipeline.grid.footprint import footprint
from pipeline.grid.mgrs import Tile
from pipeline.grid.region import Region
from pipeline.io.few_collections import few_collections
from pipeline.mapping.cost_estimate import (
    measured_encode_rate,
    memory_warning,
    output_bytes,
    worker_memory,
)
from pipeline.mapping.plan import Plan
from pipeline.mapping.plan_geojson import CellPlan, TilePlan
from pipeline.mapping.run_cost import (
    EncoderCost,
    encoder_cost,
    rates_of_run,
    run_seconds,
    tile_resources,
)
from pipeline.mapping.source_reading import SourceReading, TileReader
from pipeline.raster.access import OPEN
from pipeline.settings.map import MapSettings

_ELLIPSOID = Geod(ellps="WGS84")
# Kept embeddings that this machine compares with a vocabulary per second
# (tests.benchmarks.bench_ask).
_CLASSIFIED = 1e5 * CPU_COUNT
_THREADS = 4  # more wait for Python's lock
_SLACK = 0.005  # degrees; the error of footprints, which have few corners


class TileItems(Protocol):
    """The items of a run (duplicates resolved), of one tile at a time."""

    def of_tile(self, tile: str, /) -> Sequence[Item]:
        """The items of a tile, by time."""


@dataclass(frozen=True)
class PlannedTiles:
    """What a plan knows without its cost.

    Attributes:
        tiles: The tiles with their cells.
        band_pixels: The pixel size of each band, in metres, of an item.
        absent_bands: As those of `Plan`.
        scarce_bands: As those of `Plan`.
    """

    tiles: tuple[TilePlan, ...]
    band_pixels: tuple[float, ...] = ()
    absent_bands: Mapping[str, int] = field(default_factory=dict)
    scarce_bands: Mapping[str, int] = field(default_factory=dict)


def make_plan(
    settings: MapSettings,
    region: Region,
    items: TileItems,
    checkpoint: Checkpoint,
    *,
    refused: Sequence[CatalogError] = (),
    shortfalls: Sequence[str] = (),
    encode_rate: Callable[[Checkpoint], float] = measured_encode_rate,
    requests: int = OPEN.requests,
) -> Plan:
    """Plan a run over a snapshot of items.

    Args:
        settings: The run's settings.
        region: The region to map.
        items: The items of the run; those of one tile at a time are asked for.
        checkpoint: The encoder; its speed is measured here by default.
        refused: Errors of the items that the search left out.
        shortfalls: Where the catalogue gave fewer items than it says that it has.
        encode_rate: Gives the pixels per second that the checkpoint encodes.
        requests: The catalogue's number of requests that a process has under way at once.

    Raises:
        RegionError: The region holds no pixel's centre.
    """
    planned = plan_tiles(settings, region, items, checkpoint)
    if not planned.tiles:
        raise RegionError(
            region.source, "the region is smaller than a pixel", "Give one of at least 10 × 10 m"
        )
    plan = with_cost(planned, settings, checkpoint, encode_rate=encode_rate, requests=requests)
    return replace(plan, refused=tuple(refused), shortfalls=tuple(shortfalls))


@few_collections()
def plan_tiles(
    settings: MapSettings, region: Region, items: TileItems, checkpoint: Checkpoint
) -> PlannedTiles:
    """The tiles of a region with their cells, and what is read for them."""
    inputs, substitute = checkpoint.card.preprocessing, settings.reading.substitute
    bands, optional = inputs.bands, inputs.optional_bands
    # The bands and their substitutes; an item's assets show which of them it has.
    read = tuple(dict.fromkeys([*bands, *substitute.values()]))

    def planned(tile: Tile) -> tuple[TilePlan, Counter[str], Item | None]:
        of_tile = items.of_tile(tile.name)
        absent = Counter(
            band
            for item in of_tile
            for band in (*bands, SCL)
            if band not in item.assets and substitute.get(band) not in item.assets
        )
        plan = _planned(tile, region, of_tile, read, settings)
        return plan, absent, next(iter(of_tile), None)

    # Geometries, projections and rasters, which are most of the work, leave Python's lock free.
    with ThreadPoolExecutor(min(_THREADS, CPU_COUNT)) as pool:
        found = list(pool.map(planned, tiles_of(region)))
    lacking = sum((absent for _, absent, _ in found), Counter[str]())
    firsts = [first for _, _, first in found if first is not None]
    example = min(firsts, key=lambda item: (item.datetime, item.id), default=None)
    assets = {} if example is None else example.assets
    return PlannedTiles(
        tiles=tuple(plan for plan, _, _ in found),
        band_pixels=tuple(assets[band].resolution for band in bands if band in assets),
        absent_bands={band: lacking[band] for band in optional if lacking[band]},
        scarce_bands={
            band: lacking[band] for band in (*bands, SCL) if lacking[band] and band not in optional
        },
    )


def with_cost(
    planned: PlannedTiles,
    settings: MapSettings,
    checkpoint: Checkpoint,
    *,
    encode_rate: Callable[[Checkpoint], float] = measured_encode_rate,
    requests: int = OPEN.requests,
) -> Plan:
    """The plan with what it costs on this machine and with these settings, as `make_plan`."""
    tiles = planned.tiles
    pixels = sum(tile.pixels for tile in tiles)
    reader, machine = rates_of_run(settings)
    if settings.embeddings:
        encoder = EncoderCost(_CLASSIFIED, core=CPU_COUNT / _CLASSIFIED)
        tiles = tuple(_of_embeddings(tile, checkpoint, settings.embeddings) for tile in tiles)
    else:
        encoder = encoder_cost(checkpoint, settings.cluster, machine, encode_rate)
    largest = max((c for t in tiles for c in t.cells), key=lambda c: c.cell.height * c.cell.width)
    dates = max(cell.items for tile in tiles for cell in tile.cells)
    memory = worker_memory(largest.cell, dates, planned.band_pixels, checkpoint, settings, requests)
    dim, cells = checkpoint.card.architecture.embedding_dim, sum(len(t.cells) for t in tiles)
    output = output_bytes(pixels, cells, settings, dim)
    processes = workers_of(settings.cluster).count
    by_tile = tuple(
        tile_resources(tile, output / pixels, reader, encoder, processes) for tile in tiles
    )
    return Plan(
        tiles=tiles,
        output_bytes=output,
        seconds=run_seconds(total_resources(by_tile), settings.cluster, reader),
        encode_rate=None if settings.embeddings else encoder.rate,
        worker_memory=memory,
        memory_warning=memory_warning(memory, settings),
        checkpoint_warning=_checkpoint_warning(checkpoint, settings.catalog.url),
        absent_bands=planned.absent_bands,
        scarce_bands=planned.scarce_bands,
        band_pixels=planned.band_pixels,
        by_tile=by_tile,
        prices=load_prices(settings.costs.prices),
        rates=str(reader) if reader is machine else f"{reader}; {machine}",
    )


def _planned(
    tile: Tile, region: Region, items: Sequence[Item], bands: Sequence[str], settings: MapSettings
) -> TilePlan:
    counted = cells_with_pixels(tile, region, settings.cell_size)
    cells = [cell for cell, _ in counted]
    areas_of = [tile.owned if item.footprint is None else item.footprint for item in items]
    # Items of one orbit mostly share their footprint: it is compared with the cells once.
    number = {one: position for position, one in enumerate(dict.fromkeys(map(id, areas_of)))}
    footprints = np.array([*{id(one): one for one in areas_of}.values()], dtype=object)
    outlines = np.array([shapely.geometry.shape(footprint(c.bounds, c.epsg)[0]) for c in cells])
    reached = shapely.intersects(outlines[:, None], footprints[None, :]).astype(bool)
    reaches = reached[:, [number[id(one)] for one in areas_of]]
    overpasses = {(item.datetime.month, item.acquisition) for item in items}
    by_month = [sum(m == month for m, _ in overpasses) for month in range(1, 13)]
    most = settings.reading.most_a_month
    reader = TileReader(cells, bands)
    shares = _read_shares(items, [reader.clear_share(item) for item in items], most)
    for place, (item, share) in enumerate(zip(items, shares, strict=True)):
        reader.add(item, reaches[:, place], share, number[id(areas_of[place])])
    return TilePlan(
        tile=tile,
        cells=tuple(
            CellPlan(cell, pixels, int(count))
            for (cell, pixels), count in zip(counted, reaches.sum(axis=1), strict=True)
        ),
        items=len(items),
        acquisitions=tuple(by_month),
        uncovered=_uncovered(tile, region, footprints),
        read=reader.total,
    )


def _read_shares(items: Sequence[Item], clear: Sequence[float], most: int) -> list[float]:
    """The share of each item's windows that are read: where it is clear, `most` a month at most."""
    acquisitions: dict[tuple[int, str], float] = {}
    for item, share in zip(items, clear, strict=True):
        key = (item.datetime.month, item.acquisition)
        acquisitions[key] = max(acquisitions.get(key, 0.0), share)
    by_month = dict.fromkeys(range(1, 13), 1e-9)
    for (month, _), share in acquisitions.items():
        by_month[month] += share
    return [
        share * (min(1.0, most / by_month[item.datetime.month]) if most else 1.0)
        for item, share in zip(items, clear, strict=True)
    ]


def _of_embeddings(tile: TilePlan, checkpoint: Checkpoint, source: str) -> TilePlan:
    """The plan of a tile if only the embeddings are read that another run kept."""
    stored = sum(c.pixels for c in tile.cells) * checkpoint.card.architecture.embedding_dim
    remote = stored if "://" in source else 0.0
    return replace(tile, read=SourceReading(bytes=stored, remote_bytes=remote))


def _uncovered(tile: Tile, region: Region, footprints: np.ndarray) -> float:
    """The part of the region that a tile owns and no footprint covers, in m²."""
    wanted = shapely.intersection(tile.owned, region.geometry)
    if len(footprints):
        covered = shapely.union_all(footprints).buffer(_SLACK)
        wanted = shapely.difference(wanted, covered)
    return abs(float(_ELLIPSOID.geometry_area_perimeter(wanted)[0])) if wanted.area else 0.0


def _checkpoint_warning(checkpoint: Checkpoint, catalog: str) -> str | None:
    """A warning of a demonstration checkpoint on any catalogue but the sample archive."""
    if not checkpoint.card.demonstration or _is_sample_archive(catalog):
        return None
    return (
        f"checkpoint {checkpoint.card.name} is for demonstration and knows nothing of this "
        "catalogue's land: take real-land, or a checkpoint of your own"
    )


def _is_sample_archive(catalog: str) -> bool:
    path = Path(catalog)
    root = path if path.suffix == ".json" else path / "catalog.json"
    try:
        document = parse_json(root.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("id") == layout.SAMPLE_CATALOG
