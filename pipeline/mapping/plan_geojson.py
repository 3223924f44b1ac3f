"""The plans of a tile and of a cell, and their GeoJSON features for a GIS."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from models.files.json_text import parse_json
from pipeline import layout
from pipeline.errors import OutputError
from pipeline.grid.cells import Cell
from pipeline.grid.footprint import footprint
from pipeline.grid.mgrs import Tile
from pipeline.io.store import Store, public_url
from pipeline.mapping.source_reading import SourceReading
from pipeline.product.manifest import RunManifest, read_planned

CELLS_KEY = layout.PLANNED_CELLS
TILES_KEY = f"{layout.PLAN_FOLDER}tiles.geojson"
_T = TypeVar("_T")
_PLACE = ("row", "column", "row_offset", "column_offset", "height", "width")


@dataclass(frozen=True)
class CellPlan:
    """A cell, the number of its pixels that will be mapped, and of the items that cover it."""

    cell: Cell
    pixels: int
    items: int


@dataclass(frozen=True)
class TilePlan:
    """The plan of a tile.

    Attributes:
        tile: The tile.
        cells: Its cells within the region.
        items: The number of its items.
        acquisitions: Overpasses per month, January first.
        uncovered: The area of the region (m²) that no item covers.
        read: What is read of source rasters.
    """

    tile: Tile
    cells: tuple[CellPlan, ...]
    items: int
    acquisitions: tuple[int, ...]
    uncovered: float
    read: SourceReading

    @property
    def pixels(self) -> int:
        """Pixels of 10 m that will be mapped."""
        return sum(cell.pixels for cell in self.cells)


def tile_feature(plan: TilePlan) -> dict[str, Any]:
    """The area that a tile owns, as a GeoJSON feature (EPSG:4326) with the plan's numbers."""
    properties = {
        "name": plan.tile.name,
        "epsg": plan.tile.epsg,
        "easting": plan.tile.easting,
        "northing": plan.tile.northing,
        "cells": len(plan.cells),
        "pixels": sum(cell.pixels for cell in plan.cells),
        "items": plan.items,
        "acquisitions": sum(plan.acquisitions),
        "fewest_a_month": min(plan.acquisitions),
        "bytes_to_read": round(plan.read.bytes),
        "uncovered_km2": round(plan.uncovered / 1e6, 2),
    }
    return {"type": "Feature", "geometry": _geojson(plan.tile.owned), "properties": properties}


def tile_numbers(plan: TilePlan) -> dict[str, Any]:
    """The numbers of a tile's plan, exactly; `plan_of` reads them back."""
    return {
        "items": plan.items,
        "acquisitions": plan.acquisitions,
        "uncovered": plan.uncovered,
        "read": asdict(plan.read),
    }


def plan_of(tile: Tile, cells: Sequence[CellPlan], numbers: Mapping[str, Any]) -> TilePlan:
    """The plan of a tile from its cells and `tile_numbers`.

    Raises LookupError, TypeError, ValueError or OverflowError where these are none.
    """
    acquisitions = tuple(int(count) for count in numbers["acquisitions"])
    uncovered = float(numbers["uncovered"])
    read = [float(numbers["read"][field.name]) for field in fields(SourceReading)]
    if len(acquisitions) != 12 or not all(map(math.isfinite, (uncovered, *read))):
        raise ValueError("these are not the numbers of a tile's plan")
    items = int(numbers["items"])
    return TilePlan(tile, tuple(cells), items, acquisitions, uncovered, SourceReading(*read))


def cell_feature(plan: CellPlan) -> dict[str, Any]:
    """A cell's rectangle as a GeoJSON feature (EPSG:4326) that `cell_of` reads back."""
    cell, tile = plan.cell, plan.cell.tile
    geometry, bbox = footprint(cell.bounds, cell.epsg)
    properties = {
        "id": cell.id,
        "tile": tile.name,
        "epsg": tile.epsg,
        "easting": tile.easting,
        "northing": tile.northing,
        **{name: getattr(cell, name) for name in _PLACE},
        "pixels": plan.pixels,
        "items": plan.items,
    }
    return {"type": "Feature", "bbox": bbox, "geometry": geometry, "properties": properties}


def cell_of(fields: dict[str, Any]) -> Cell:
    """The cell of a feature's properties; raises KeyError if one is missing."""
    tile = Tile(fields["tile"], fields["epsg"], fields["easting"], fields["northing"])
    return Cell(tile, *(int(fields[name]) for name in _PLACE))


def _geojson(geometry: BaseGeometry) -> dict[str, Any]:
    """GeoJSON with the winding order of RFC 7946."""
    parts = [orient(part) for part in shapely.get_parts(geometry)]
    wound: dict[str, Any] = mapping(parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts))
    return wound


def read_cells(store: Store, run: RunManifest) -> list[Cell]:
    """The cells of the plan in a run's folder; raises OutputError if it has none of its own."""
    return _read(store, run, cell_of)


def read_cell_plans(store: Store, run: RunManifest) -> list[CellPlan]:
    """The cells of `read_cells` with their plans."""
    return _read(
        store, run, lambda cell: CellPlan(cell_of(cell), int(cell["pixels"]), int(cell["items"]))
    )


def _read(store: Store, run: RunManifest, make: Callable[[dict[str, Any]], _T]) -> list[_T]:
    try:
        features = parse_json(read_planned(store, run, CELLS_KEY))["features"]
        return [make(feature["properties"]) for feature in features]
    except OutputError:
        raise
    except (ValueError, KeyError, TypeError, OverflowError):
        raise OutputError(
            public_url(store.path(CELLS_KEY)), "the run's folder has no plan", "Run `timesen plan`"
        ) from None
