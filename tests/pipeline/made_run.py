"""A real run's folder for the product's tests: cells on the real grid, classes by coordinates."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyproj import Transformer

from models.vocabulary.vocabulary import Vocabulary, vocabulary_from_words
from pipeline.grid.cells import Cell, cells_of, owned_pixels, tiles_of
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.layout import ITEM, cell_key
from pipeline.product.cell_commit import commit_cell
from pipeline.product.cell_report import CellResult
from pipeline.product.committed_cells import finished_items
from pipeline.product.ledger import RunManifest, open_run
from pipeline.raster.read_stats import Fault, ReadStats
from pipeline.settings.map import make_settings

VOCABULARY = vocabulary_from_words("wheat field, maize field, leafy forest, Lake & pond, town")
ONE_ZONE = "5.30,49.75,5.42,49.80"
TWO_ZONES = "5.96,49.75,6.04,49.79"
FAULT = Fault("s3://bucket/S2A_31UFR_1/B08.tif", "B08", "https://u:p@host/B08.tif?sig=secret cut")


@dataclass(frozen=True)
class MadeRun:
    store: Store
    run: RunManifest
    cells: tuple[Cell, ...]
    vocabulary: Vocabulary

    @property
    def items(self) -> list[dict[str, Any]]:
        """The whole items of the finished cells."""
        brief = finished_items(self.store, self.run.fingerprint)
        keys = [cell_key(one["properties"]["timesen:tile"], one["id"], ITEM) for one in brief]
        return [json.loads(content) for _, content in self.store.read_many(keys)]


def classes_at(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """The class value of a place: patches of some 300 m, 1 … 5."""
    return ((np.floor(lon * 240) + 3 * np.floor(lat * 360)) % 5 + 1).astype(np.uint8)


def cell_rasters(cell: Cell, region: str) -> tuple[np.ndarray, np.ndarray]:
    """Classes and confidence of a cell, nodata where it does not own the place."""
    columns, rows = np.meshgrid(np.arange(cell.width) + 0.5, np.arange(cell.height) + 0.5)
    left, _, _, top = cell.bounds
    x, y = left + 10 * columns, top - 10 * rows
    lon, lat = Transformer.from_crs(cell.epsg, 4326, always_xy=True).transform(x, y)
    owned = owned_pixels(cell, read_region(region))
    classes = np.where(owned, classes_at(lon, lat), 0).astype(np.uint8)
    wave = 60 + 30 * np.sin(np.asarray(lon) * 800)
    return classes, np.where(owned, wave, 255).astype(np.uint8)


def true_colour_of(classes: np.ndarray) -> np.ndarray:
    """Every fourth pixel, in 40, 50 and 30 times its class, which is 5 at most."""
    rows, columns = (np.minimum(np.arange(2, n + 2, 4), n - 1) for n in classes.shape)
    value = classes[rows[:, None], columns]
    return np.stack([40 * value, 50 * value, 30 * value]).astype(np.uint8)


def result_of(
    cell: Cell, classes: np.ndarray, confidence: np.ndarray, acquisitions: int, **fields: Any
) -> CellResult:
    """A cell's result with as many clear acquisitions, the most of them in January.

    Where runs rank two classes, the next value is the second.
    """
    counts = np.zeros((12, cell.height // 2, cell.width // 2), np.uint8)
    counts[0, : cell.height // 4] = min(acquisitions, 255)
    return CellResult(
        rasters={
            "class": classes,
            "confidence": confidence,
            "clear-observations": counts,
            "clear-months": np.where(confidence == 255, 255, 1).astype(np.uint8),
            "true-colour": true_colour_of(classes),
            "top-classes": np.stack([classes, np.where(classes, classes % 5 + 1, 0)]),
            "top-confidences": np.stack([confidence, confidence // 2, confidence // 2]),
        },
        acquisitions=acquisitions + 2,
        observations=acquisitions,
        **{"stats": ReadStats(), **fields},
    )


def begin(root: str, region: str, **settings: Any) -> tuple[Store, RunManifest]:
    store = Store(root)
    given = make_settings(
        {"region": region, "year": 2021, "out": root, "vocabulary": "lucas", **settings}
    )
    dumped = given.model_dump(mode="json")
    substitute = settings.get("reading", {}).get("substitute", {})
    parts = {"year": 2021, "checkpoint": "abc"} | (
        {"substituted": substitute} if substitute else {}
    )
    return store, open_run(store, parts, dumped)


def make_run(root: str, region: str = ONE_ZONE, cell_size: int = 512, **settings: Any) -> MadeRun:
    """Open a run and commit every cell of a region."""
    store, run = begin(root, region, **settings)
    aoi = read_region(region)
    cells = tuple(cell for tile in tiles_of(aoi) for cell in cells_of(tile, aoi, cell_size))
    for cell in cells:
        classes, confidence = cell_rasters(cell, region)
        stats = ReadStats((FAULT,), seconds={"read": 1.5, "composite": 0.4, "encode": 20.0})
        commit_cell(
            store, run, cell, VOCABULARY, result_of(cell, classes, confidence, 30, stats=stats)
        )
    return MadeRun(store, run, cells, VOCABULARY)
