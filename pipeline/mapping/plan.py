"""The plan of a run: what it will read, compute and write, to be looked at before it starts."""

import json
from calendar import month_name
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Geod

from models.encoder.checkpoint import Checkpoint
from models.files.json_text import parse_json
from pipeline import layout
from pipeline.catalog.item import SCL, Item
from pipeline.catalog.normalise import items_without
from pipeline.errors import CatalogError, RegionError
from pipeline.grid.cells import PIXEL, Cell, cells_of, owned_pixels, region_near, tiles_of
from pipeline.grid.footprint import footprint
from pipeline.grid.mgrs import Tile
from pipeline.grid.region import Region
from pipeline.mapping.cost_estimate import (
    TYPICAL,
    Rates,
    item_bytes,
    item_values,
    measured_encode_rate,
    memory_warning,
    output_bytes,
    run_seconds,
    worker_memory,
)
from pipeline.mapping.plan_geojson import (
    CELLS_KEY,
    TILES_KEY,
    CellPlan,
    TilePlan,
    cell_feature,
    tile_feature,
)
from pipeline.observations.cube import substituted
from pipeline.raster.access import OPEN
from pipeline.settings.map import MapSettings

PLAN_KEY = f"{layout.PLAN_FOLDER}plan.json"

_ELLIPSOID = Geod(ellps="WGS84")
_SLACK = 0.005  # degrees; the error of footprints, which have few corners


@dataclass(frozen=True)
class Plan:
    """The tiles and cells of a run, and its cost.

    Attributes:
        tiles: The tiles with their cells.
        output_bytes: The size of the product.
        seconds: The fastest and the slowest time of the run.
        encode_rate: Pixels per second; None if another run's embeddings are classified.
        worker_memory: Bytes that a worker needs at its peak.
        memory_warning: Advice if workers have less.
        checkpoint_warning: What a demonstration checkpoint is not for.
        refused: Errors of the items that cannot be used; these are left out.
        shortfalls: Where the catalogue gave fewer items than it says that it has.
        absent_bands: Optional bands that some items lack, with nothing in their place → how many
            of the items.
        scarce_bands: Bands that are needed (or SCL), and that some items lack → how many of them.
    """

    tiles: tuple[TilePlan, ...]
    output_bytes: float
    seconds: tuple[float, float]
    encode_rate: float | None
    worker_memory: float
    memory_warning: str | None = None
    checkpoint_warning: str | None = None
    refused: tuple[CatalogError, ...] = ()
    shortfalls: tuple[str, ...] = ()
    absent_bands: Mapping[str, int] = field(default_factory=dict)
    scarce_bands: Mapping[str, int] = field(default_factory=dict)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, tile by tile."""
        return tuple(cell.cell for tile in self.tiles for cell in tile.cells)

    @property
    def pixels(self) -> int:
        """Pixels of 10 m that will be mapped."""
        return sum(cell.pixels for tile in self.tiles for cell in tile.cells)

    @property
    def bytes_to_read(self) -> float:
        """Bytes of source rasters."""
        return sum(tile.bytes_to_read for tile in self.tiles)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings before a run: scarce memory, items left out, absent bands, land and months."""
        warnings = [text for text in (self.checkpoint_warning, self.memory_warning) if text]
        warnings += [f"{shortfall}: the map lacks the others" for shortfall in self.shortfalls]
        if self.refused:
            warnings.append(
                f"{len(self.refused)} of the catalogue's items cannot be used and are left out, "
                f"for one {self.refused[0].given}: {self.refused[0].problem}"
            )
        items = sum(tile.items for tile in self.tiles)
        warnings += [
            f"{'no item has' if count >= items else f'{count} of {items} items lack'} band {band}: "
            "the checkpoint does without it"
            for band, count in self.absent_bands.items()
        ]
        for band, count in self.scarce_bands.items():
            effect = "they are not used" if band == SCL else "it is made of the others"
            warnings.append(f"{count} of {items} items lack {band}: {effect}")
        uncovered = sum(tile.uncovered for tile in self.tiles)
        if uncovered >= 1e4:
            share = uncovered / (self.pixels * PIXEL**2)
            names = listed([t.tile.name for t in self.tiles if t.uncovered >= 1e4])
            warnings.append(
                f"no item covers {uncovered / 1e6:.1f} km² of the region ({share:.1%}; tiles "
                f"{names}): these pixels will be nodata"
            )
        gaps = [t for t in self.tiles if t.items and 0 in t.acquisitions]
        if gaps:
            lacking = [
                month_name[number]
                for number in range(1, 13)
                if any(tile.acquisitions[number - 1] == 0 for tile in gaps)
            ]
            warnings.append(
                f"tiles {listed([t.tile.name for t in gaps])} have months without any acquisition "
                f"({', '.join(lacking)}): these take the median of the year"
            )
        return tuple(warnings)

    def summary(self) -> str:
        """The plan in a few lines of text; `warnings` are not among them."""
        items = sum(tile.items for tile in self.tiles)
        by_month = np.array([tile.acquisitions for tile in self.tiles]).mean(axis=0)
        months = " ".join(f"{count:.0f}" for count in by_month)
        how = "the embeddings exist already"
        if self.encode_rate is not None:
            how = f"this machine encodes {self.encode_rate:,.0f} pixels per second"
        return "\n".join([
            f"tiles          {len(self.tiles)}: {listed([t.tile.name for t in self.tiles])}",
            f"cells          {len(self.cells)}",
            f"items          {items}",
            f"acquisitions   {months} (January to December, mean of tiles)",
            f"pixels         {self.pixels:,} ({self.pixels * PIXEL**2 / 1e6:,.1f} km²)",
            f"to read        about {_bytes(self.bytes_to_read)}",
            f"output         about {_bytes(self.output_bytes)}",
            f"time           {_time(self.seconds[0])} to {_time(self.seconds[1])}; {how}",
            f"worker memory  about {_bytes(self.worker_memory)}",
        ])  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """The files `plan/plan.json`, `plan/tiles.geojson` and `cells.geojson` (EPSG:4326)."""
        tiles = [tile_feature(tile) for tile in self.tiles]
        cells = [cell_feature(cell) for tile in self.tiles for cell in tile.cells]
        numbers = {
            "tiles": len(self.tiles),
            "cells": len(self.cells),
            "items": sum(tile.items for tile in self.tiles),
            "pixels": self.pixels,
            "bytes_to_read": round(self.bytes_to_read),
            "output_bytes": round(self.output_bytes),
            "seconds": [round(value, 1) for value in self.seconds],
            "encoded_pixels_per_second": self.encode_rate and round(self.encode_rate),
            "worker_memory_bytes": round(self.worker_memory),
            "absent_bands": dict(self.absent_bands),
            "warnings": list(self.warnings),
        }
        return {
            TILES_KEY: _json({"type": "FeatureCollection", "features": tiles}),
            CELLS_KEY: _json({"type": "FeatureCollection", "features": cells}),
            PLAN_KEY: _json(numbers),
        }


def make_plan(
    settings: MapSettings,
    region: Region,
    items: Sequence[Item],
    checkpoint: Checkpoint,
    *,
    refused: Sequence[CatalogError] = (),
    shortfalls: Sequence[str] = (),
    encode_rate: Callable[[Checkpoint], float] = measured_encode_rate,
    rates: Rates = TYPICAL,
    requests: int = OPEN.requests,
) -> Plan:
    """Plan a run over a snapshot of items (duplicates resolved).

    Args:
        settings: The run's settings.
        region: The region to map.
        items: The items of the run.
        checkpoint: The encoder; its speed is measured here by default.
        refused: Errors of the items that the search left out.
        shortfalls: Where the catalogue gave fewer items than it says that it has.
        encode_rate: Gives the pixels per second that the checkpoint encodes.
        rates: The other rates.
        requests: The catalogue's number of requests that a process has under way at once.

    Raises:
        RegionError: The region holds no pixel's centre.
    """
    bands = checkpoint.card.preprocessing.bands
    substitute = settings.reading.substitute
    # The bands and their substitutes; an item's assets show which of them it has.
    read = tuple(dict.fromkeys([*bands, *substitute.values()]))
    of_tile: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        of_tile[item.tile].append(item)
    tiles = tuple(
        _planned(tile, region, of_tile[tile.name], read, settings) for tile in tiles_of(region)
    )
    if not tiles:
        raise RegionError(
            region.source, "the region is smaller than a pixel", "Give one of at least 10 × 10 m"
        )
    pixels = sum(cell.pixels for tile in tiles for cell in tile.cells)
    rate = None if settings.embeddings else encode_rate(checkpoint)
    if settings.embeddings:
        tiles = tuple(_of_embeddings(tile, checkpoint, settings.embeddings) for tile in tiles)
    values, remote = sum(t.values for t in tiles), sum(t.remote_bytes for t in tiles)
    largest = max((c for t in tiles for c in t.cells), key=lambda c: c.cell.height * c.cell.width)
    dates = max(cell.items for tile in tiles for cell in tile.cells)
    example = next(iter(items), None)
    assets = [example.assets[band] for band in bands if band in example.assets] if example else []
    memory = worker_memory(largest.cell, dates, assets, checkpoint, settings, requests)
    optional = checkpoint.card.preprocessing.optional_bands
    used = substituted([item for tile in tiles for item in of_tile[tile.tile.name]], substitute)
    return Plan(
        tiles=tiles,
        output_bytes=output_bytes(
            pixels,
            sum(len(tile.cells) for tile in tiles),
            settings,
            checkpoint.card.architecture.embedding_dim,
        ),
        seconds=run_seconds(pixels, values, remote, rate or rates.classified, settings, rates),
        encode_rate=rate,
        worker_memory=memory,
        memory_warning=memory_warning(memory, settings),
        checkpoint_warning=_checkpoint_warning(checkpoint, settings.catalog.url),
        refused=tuple(refused),
        shortfalls=tuple(shortfalls),
        absent_bands=items_without(used, optional),
        scarce_bands=items_without(used, [b for b in (*bands, SCL) if b not in optional]),
    )


def _planned(
    tile: Tile, region: Region, items: Sequence[Item], bands: Sequence[str], settings: MapSettings
) -> TilePlan:
    near = region_near(tile, region)
    cells = cells_of(tile, near, settings.cell_size)
    footprints = np.array(
        [tile.owned if item.footprint is None else item.footprint for item in items], dtype=object
    )
    outlines = np.array([shapely.geometry.shape(footprint(c.bounds, c.epsg)[0]) for c in cells])
    reaches = shapely.intersects(outlines[:, None], footprints[None, :]).astype(bool)
    areas = np.array([cell.height * cell.width * PIXEL**2 for cell in cells], float)
    area_of_item = areas @ reaches
    overpasses = {(item.datetime.month, item.acquisition) for item in items}
    by_month = [sum(m == month for m, _ in overpasses) for month in range(1, 13)]
    most = settings.reading.most_a_month
    shares = [min(1.0, most / by_month[i.datetime.month - 1]) if most else 1.0 for i in items]
    work = list(zip(items, area_of_item, shares, strict=True))
    read = [item_bytes(item, bands, area, share) for item, area, share in work]
    return TilePlan(
        tile=tile,
        cells=tuple(
            CellPlan(cell, int(owned_pixels(cell, near).sum()), int(count))
            for cell, count in zip(cells, reaches.sum(axis=1), strict=True)
        ),
        items=len(items),
        acquisitions=tuple(by_month),
        bytes_to_read=sum(read),
        remote_bytes=sum(b for b, item in zip(read, items, strict=True) if _is_remote(item)),
        values=sum(item_values(item, bands, area, share) for item, area, share in work),
        uncovered=_uncovered(tile, region, footprints),
    )


def _of_embeddings(tile: TilePlan, checkpoint: Checkpoint, source: str) -> TilePlan:
    """The plan of a tile if only the embeddings are read that another run kept."""
    stored = sum(c.pixels for c in tile.cells) * checkpoint.card.architecture.embedding_dim
    remote = stored if "://" in source else 0.0
    return replace(tile, bytes_to_read=stored, remote_bytes=remote, values=0.0)


def _is_remote(item: Item) -> bool:
    return any("://" in asset.href for asset in list(item.assets.values())[:1])


def _uncovered(tile: Tile, region: Region, footprints: np.ndarray) -> float:
    """The part of the region that a tile owns and no footprint covers, in m²."""
    wanted = shapely.intersection(tile.owned, region.geometry)
    if len(footprints):
        covered = shapely.union_all(footprints).buffer(_SLACK)
        wanted = shapely.difference(wanted, covered)
    return abs(float(_ELLIPSOID.geometry_area_perimeter(wanted)[0])) if wanted.area else 0.0


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"


def _time(seconds: float) -> str:
    for limit, size, unit in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds / size, 1):.0f} {unit}"
    return f"{seconds / 86_400:.1f} days"


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
