"""A tile and a cell as they are planned, and as features that open in a GIS."""

import json
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from pipeline import layout
from pipeline.errors import OutputError
from pipeline.grid.cells import Cell, Tile
from pipeline.grid.footprint import footprint
from pipeline.io.store import Store, public_url

CELLS_KEY = f"{layout.PLAN_FOLDER}cells.geojson"
TILES_KEY = f"{layout.PLAN_FOLDER}tiles.geojson"


@dataclass(frozen=True)
class CellPlan:
    """A cell, the pixels of it that will be mapped, and the items that reach into it."""

    cell: Cell
    pixels: int
    items: int


@dataclass(frozen=True)
class TilePlan:
    """A tile, its cells, its items, its overpasses month by month, and what it costs to read.

    `values` are pixel values at their own resolution; `remote_bytes` those of `bytes_to_read`
    that come over a network; `uncovered` is ground of the region (m²) on which no item lies.
    """

    tile: Tile
    cells: tuple[CellPlan, ...]
    items: int
    acquisitions: tuple[int, ...]
    bytes_to_read: float
    remote_bytes: float
    values: float
    uncovered: float


def tile_feature(plan: TilePlan) -> dict[str, Any]:
    """What a tile owns, as a GeoJSON feature (EPSG:4326) with its numbers."""
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
        "bytes_to_read": round(plan.bytes_to_read),
        "uncovered_km2": round(plan.uncovered / 1e6, 2),
    }
    return {"type": "Feature", "geometry": _geojson(plan.tile.owned), "properties": properties}


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
        "row": cell.row,
        "column": cell.column,
        "row_offset": cell.row_offset,
        "column_offset": cell.column_offset,
        "height": cell.height,
        "width": cell.width,
        "pixels": plan.pixels,
        "items": plan.items,
    }
    return {"type": "Feature", "bbox": bbox, "geometry": geometry, "properties": properties}


def cell_of(fields: dict[str, Any]) -> Cell:
    """The cell of a feature's properties; raises KeyError for another's feature."""
    tile = Tile(fields["tile"], fields["epsg"], fields["easting"], fields["northing"])
    place = ("row", "column", "row_offset", "column_offset", "height", "width")
    return Cell(tile, *(int(fields[name]) for name in place))


def _geojson(geometry: BaseGeometry) -> dict[str, Any]:
    """GeoJSON with rings wound as RFC 7946 asks."""
    parts = [orient(part) for part in shapely.get_parts(geometry)]
    wound: dict[str, Any] = mapping(parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts))
    return wound


def feature_collection(features: list[dict[str, Any]]) -> dict[str, Any]:
    """Features as one GeoJSON document."""
    return {"type": "FeatureCollection", "features": features}


def read_cells(store: Store) -> list[Cell]:
    """The cells of a plan that was written; raises OutputError where there is none."""
    try:
        features = json.loads(store.read(CELLS_KEY))["features"]
        return [cell_of(feature["properties"]) for feature in features]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise OutputError(
            public_url(store.path(CELLS_KEY)), "the run's folder has no plan", "Run `timesen plan`"
        ) from None
