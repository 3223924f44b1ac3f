"""A run that is looked at: what is in its folder, and where its cells lie."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from affine import Affine

from models.visible_text import visible_text
from models.vocabulary.vocabulary import Vocabulary
from pipeline.catalog.description import shipped_catalogs
from pipeline.errors import OutputError
from pipeline.grid.places import Places
from pipeline.io.store import Store, public_url
from pipeline.layout import cell_key
from pipeline.product.cell_report import PREFIX, CellReport
from pipeline.product.committed_cells import index_cells
from pipeline.product.layers import (
    CLASS,
    CONFIDENCE,
    EMBEDDINGS,
    TRUE_COLOUR,
    OutputLayer,
    layer_of_asset,
)
from pipeline.product.ledger import read_run
from pipeline.product.manifest import RunManifest, run_vocabulary
from pipeline.product.zone_seams import owned_by_none


@dataclass(frozen=True, eq=False)
class ViewedCell:
    """A cell with a map.

    Attributes:
        id: Its id; `tile` is the name of its tile.
        epsg: Its UTM zone.
        transform: Pixel (column, row) of 10 m → metres.
        shape: Rows and columns.
        layers: The names of the layers that it has.
        bbox: West, south, east, north in degrees; west is above east over the antimeridian.
    """

    id: str
    tile: str
    epsg: int
    transform: Affine
    shape: tuple[int, int]
    layers: frozenset[str]
    bbox: tuple[float, float, float, float]

    def key(self, layer: OutputLayer) -> str:
        """The key of a layer's raster in the run's folder."""
        return cell_key(self.tile, self.id, layer.file)

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "ViewedCell":
        """The cell of an item that `pipeline.product.committed_cells` has checked."""
        properties = item["properties"]
        west, south, east, north = item["bbox"]
        return cls(
            id=str(item["id"]),
            tile=str(properties[f"{PREFIX}tile"]),
            epsg=int(properties["proj:code"].removeprefix("EPSG:")),
            transform=Affine(*properties["proj:transform"][:6]),
            shape=tuple(properties["proj:shape"]),
            layers=frozenset(layer_of_asset(name).name for name in item["assets"]),
            bbox=(west, south, east, north),
        )


@dataclass(frozen=True, eq=False)
class ViewedRun:
    """A run, as it was when the viewer began; `name` is what it is called beside others."""

    store: Store
    manifest: RunManifest
    vocabulary: Vocabulary
    items: tuple[Mapping[str, Any], ...]
    cells: tuple[ViewedCell, ...]
    name: str

    def has(self, layer: OutputLayer) -> bool:
        """Whether any of its cells has a layer."""
        return any(layer.name in cell.layers for cell in self.cells)

    @property
    def version(self) -> str:
        """What its tiles depend on, short: the run, and how much of it is mapped."""
        return f"{self.manifest.fingerprint[:12]}-{len(self.cells)}"

    @property
    def may_be_asked(self) -> bool:
        """Whether it kept embeddings, or classifies those of a run that did."""
        return self.has(EMBEDDINGS) or bool(self.manifest.settings.get("embeddings"))

    @property
    def archive_is_here(self) -> bool:
        """Whether its images lie on this machine, so that a pixel's year is read in a moment."""
        url = str((self.manifest.settings.get("catalog") or {}).get("url"))
        return "://" not in url and url not in shipped_catalogs()

    @cached_property
    def bbox(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees; east is above 180 over the antimeridian."""
        west, south, east, north = np.array([cell.bbox for cell in self.cells]).T
        east = np.where(east < west, east + 360, east)
        # Around the middle of the first cell, so that cells on both sides of 180° lie together.
        turn = np.round((west[0] - west) / 360) * 360
        west, east = west + turn, east + turn
        return (float(west.min()), float(south.min()), float(east.max()), float(north.max()))

    def cell_at(
        self, lon: float, lat: float, layer: OutputLayer = CLASS
    ) -> list[tuple[ViewedCell, int, int]]:
        """The cells with a layer whose grids hold a place, and the row and column of its pixel.

        At a border of zones there may be two; only one of them owns the pixel. A place that none
        owns is taken for the nearest of its row that one does, as tiles show it.
        """
        near = [c for c in self.cells if layer.name in c.layers and _is_near(c.bbox, lon, lat)]
        zones = {cell.epsg for cell in near}
        if len(zones) > 1 and owned_by_none(zones, np.array([lon]), np.array([lat]))[0]:
            metre = 1 / (111_320 * np.cos(np.radians(lat)))  # degrees of longitude
            beside = [lon + metre * away for away in (4, -4, 8, -8, 12, -12)]
            lost = owned_by_none(zones, np.array(beside), np.full(len(beside), lat))
            lon = next((place for place, none in zip(beside, lost, strict=True) if not none), lon)
        places, found = Places(np.array([lon]), np.array([lat])), []
        for cell in near:
            _, rows, columns = places.in_grid(cell.epsg, cell.transform, cell.shape)
            found += [(cell, int(r), int(c)) for r, c in zip(rows, columns, strict=True)]
        return found

    def to_dict(self) -> dict[str, Any]:
        """What the page needs to know of it, as plain JSON values."""
        counted: Counter[int] = Counter()
        for item in self.items:
            counted.update(CellReport.from_item(item).pixels)
        total = max(sum(counted.values()), 1)
        settings = self.manifest.settings
        return {
            "name": self.name,
            "title": visible_text(self.vocabulary.title),
            "years": self.manifest.years,
            "first_month": int(settings.get("first_month", 1)),
            "attribution": visible_text(self.manifest.attribution),
            "version": self.version,
            "bbox": list(self.bbox),
            "cells": len(self.cells),
            "hectares": sum(counted.values()) / 100,
            "legend": [
                {
                    "value": entry.value,
                    "name": visible_text(entry.name),
                    "colour": entry.colour,
                    "share": counted[entry.value] / total,
                }
                for entry in self.vocabulary.legend
            ],
            # A map of parents has no word for one alone, which could be corrected.
            "classes": [visible_text(entry.name) for entry in self.vocabulary.classes]
            if self.vocabulary.level == "class"
            else [],
            "has": {
                "confidence": self.has(CONFIDENCE),
                "true_colour": self.has(TRUE_COLOUR),
                "embeddings": self.may_be_asked,
                "series": True,
            },
            "archive_is_here": self.archive_is_here,
        }


def open_viewed_run(folder: str, name: str | None = None) -> ViewedRun:
    """Open the run in a folder or object store's prefix; its name is by default the folder's.

    Raises OutputError where there is none, or none of its cells is mapped yet.
    """
    store = Store(folder)
    manifest = read_run(store)
    vocabulary = run_vocabulary(store, manifest)
    items = tuple(index_cells(store, manifest))
    cells = tuple(ViewedCell.of(item) for item in items)
    if not any(CLASS.name in cell.layers for cell in cells):
        raise OutputError(
            public_url(store.root), "none of its cells is mapped yet", "Map it, then look at it"
        )
    name = name or public_url(store.root).rstrip("/").rpartition("/")[2]
    return ViewedRun(store, manifest, vocabulary, items, cells, visible_text(name))


def _is_near(bbox: tuple[float, float, float, float], lon: float, lat: float) -> bool:
    west, south, east, north = bbox
    slack = 5e-4  # degrees: edges of a bbox are rounded, and pixels beside a border matter
    inside = (lon - west + slack) % 360 <= (east - west) % 360 + 2 * slack
    return inside and south - slack <= lat <= north + slack
