"""The plan of a run: what it will read, compute and write, to be looked at before it starts."""

import json
from calendar import month_name
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline import layout
from pipeline.catalog.item import SCL
from pipeline.costs.prices import Prices
from pipeline.costs.resources import Resources, cost_line, total_resources
from pipeline.errors import CatalogError
from pipeline.grid.cells import PIXEL, Cell
from pipeline.mapping.plan_geojson import (
    CELLS_KEY,
    TILES_KEY,
    TilePlan,
    cell_feature,
    tile_feature,
    tile_numbers,
)

PLAN_KEY = f"{layout.PLAN_FOLDER}plan.json"


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
        band_pixels: The pixel size of each band, in metres, of an item.
        by_tile: What each tile takes, in their order.
        prices: What that is charged with.
        rates: Whose rates it is reckoned by, in words.
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
    band_pixels: tuple[float, ...] = ()
    by_tile: tuple[Resources, ...] = ()
    prices: Prices | None = None
    rates: str = ""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, tile by tile."""
        return tuple(cell.cell for tile in self.tiles for cell in tile.cells)

    @property
    def pixels(self) -> int:
        """Pixels of 10 m that will be mapped."""
        return sum(tile.pixels for tile in self.tiles)

    @property
    def bytes_to_read(self) -> float:
        """Bytes of source rasters."""
        return sum(tile.read.bytes for tile in self.tiles)

    @property
    def resources(self) -> Resources:
        """What the run takes."""
        return total_resources(self.by_tile)

    @property
    def square_km(self) -> float:
        """The area that will be mapped, in km²."""
        return self.pixels * PIXEL**2 / 1e6

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
            f"pixels         {self.pixels:,} ({self.square_km:,.1f} km²)",
            f"to read        about {_bytes(self.bytes_to_read)}",
            f"output         about {_bytes(self.output_bytes)}",
            f"time           {_time(self.seconds[0])} to {_time(self.seconds[1])}; {how}",
            f"worker memory  about {_bytes(self.worker_memory)}",
            *self._cost_lines(),
        ])  # fmt: skip

    def _cost_lines(self) -> list[str]:
        if self.prices is None:
            return []
        return [
            f"cost           {cost_line(self.resources, self.prices, self.square_km)}",
            f"reckoned by    {self.rates}",
        ]

    def _cost_numbers(self) -> dict[str, Any] | None:
        if self.prices is None:
            return None
        return {
            **self.resources.numbers(),
            "money": round(self.resources.money(self.prices), 6),
            "prices": self.prices.model_dump(mode="json"),
            "rates": self.rates,
        }

    def files(self) -> dict[str, bytes]:
        """The files `plan/plan.json`, `plan/tiles.geojson` and `cells.geojson` (EPSG:4326)."""
        cells = (cell_feature(cell) for tile in self.tiles for cell in tile.cells)
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
            "cost": self._cost_numbers(),
            "absent_bands": dict(self.absent_bands),
            "warnings": list(self.warnings),
            "scarce_bands": dict(self.scarce_bands),
            "band_pixels": list(self.band_pixels),
            "by_tile": {tile.tile.name: tile_numbers(tile) for tile in self.tiles},
        }
        return {
            TILES_KEY: _collection(tile_feature(tile) for tile in self.tiles),
            CELLS_KEY: _collection(cells),
            PLAN_KEY: _json(numbers),
        }


def _collection(features: Iterable[dict[str, Any]]) -> bytes:
    """A FeatureCollection as `_json` writes it, whose features are never held all at once."""
    texts = (json.dumps(feature, indent=1).replace("\n", "\n  ") for feature in features)
    listed = ",\n  ".join(texts)
    return f'{{\n "type": "FeatureCollection",\n "features": [\n  {listed}\n ]\n}}\n'.encode()


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
