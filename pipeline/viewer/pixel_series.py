"""The year of one pixel, read again from the images that its class was made of."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from models.encoder.checkpoint import load_checkpoint
from models.errors import TimesenError
from models.visible_text import visible_text
from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item_snapshot import ItemSnapshot
from pipeline.catalog.origin import access_of
from pipeline.grid.cells import Cell
from pipeline.io.redaction import without_secrets
from pipeline.io.store import Store, public_text, public_url
from pipeline.layout import ITEMS_FILE
from pipeline.mapping.plan_geojson import read_cells
from pipeline.observations.reading import Reading, reading_of
from pipeline.point_series.read_points import PointSeries, read_point_series
from pipeline.product.ledger import read_run
from pipeline.product.manifest import read_planned
from pipeline.settings.map import make_settings
from pipeline.viewer.viewed_run import ViewedRun

_KEPT = 64  # pixels whose series stay in memory
_RED, _INFRARED = "B04", "B08"


@dataclass(frozen=True)
class _Source:
    """What the series of a run's pixels are read from."""

    cells: dict[str, Cell]
    items: ItemSnapshot
    reading: Reading


class SeriesReader:
    """Reads series of a run's pixels, one at a time; the last ones are kept.

    A run of kept embeddings has the observations of the run that it classifies.
    """

    def __init__(self, run: ViewedRun) -> None:
        self._run = run
        self._source: _Source | None = None
        self._found: OrderedDict[tuple[str, int, int], dict[str, Any]] = OrderedDict()
        self._lock = Lock()

    def read(self, cell: str, row: int, column: int) -> dict[str, Any]:
        """The series of a pixel of a cell, as plain JSON values.

        `bands` are reflectances by band and month, January first, None without a clear
        observation; `ndvi` follows from them; `clear` are the clear observations by month; `items`
        are the images that show the place, by time, and whether the pixel is clear and used there.

        Raises:
            TimesenError: The archive cannot be reached or read, or the run's own files are gone.
        """
        with self._lock:  # a series has its own threads, and takes the archive's bandwidth
            key = (cell, row, column)
            if key not in self._found:
                self._found[key] = self._read(*key)
                while len(self._found) > _KEPT:
                    self._found.popitem(last=False)
            self._found.move_to_end(key)
            return self._found[key]

    def _read(self, name: str, row: int, column: int) -> dict[str, Any]:
        if self._source is None:
            self._source = _source_of(self._run)
        source = self._source
        cell = source.cells[name]
        items = source.items.of_tile(cell.tile.name)
        read = read_point_series(cell, np.array([row]), np.array([column]), items, source.reading)
        return _as_json(read, source.reading.bands)


def series_failure(error: Exception) -> str:
    """What the page says where a series cannot be read."""
    said = str(error) if isinstance(error, TimesenError) else f"{type(error).__name__}: {error}"
    return visible_text(without_secrets(public_text(said)))


def _source_of(run: ViewedRun) -> _Source:
    store, manifest = run.store, run.manifest
    if embeddings := manifest.settings.get("embeddings"):
        store = Store(str(embeddings))
        manifest = read_run(store)
    settings = make_settings({**manifest.settings, "out": store.root}, f"run {store.root}")
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    name = public_url(store.path(ITEMS_FILE))
    items = ItemSnapshot(read_planned(store, manifest, ITEMS_FILE), name, catalog.conventions)
    inputs = load_checkpoint(settings.checkpoint).card.preprocessing
    access = access_of(catalog, settings.network)
    reading = reading_of(
        settings.reading, inputs.bands, inputs.scl_keep, access, inputs.optional_bands
    )
    return _Source({cell.id: cell for cell in read_cells(store, manifest)}, items, reading)


def _as_json(read: PointSeries, bands: tuple[str, ...]) -> dict[str, Any]:
    series = read.series[0].astype(float) / 10_000
    series[series == 0] = np.nan
    by_band = {band: _numbers(series[:, place]) for place, band in enumerate(bands)}
    ndvi = None
    if {_RED, _INFRARED} <= set(bands):
        red, infrared = (series[:, bands.index(band)] for band in (_RED, _INFRARED))
        ndvi = _numbers((infrared - red) / (infrared + red))
    return {
        "bands": by_band,
        "ndvi": ndvi,
        "clear": read.clear[0].tolist(),
        "items": [
            {
                "id": visible_text(item.id),
                "date": item.datetime.date().isoformat(),
                "cloud_cover": item.cloud_cover,
                "used": bool(used),
            }
            for item, used in zip(read.items, read.used[0].tolist(), strict=True)
        ],
        "left_out": len(read.stats.faults),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]
