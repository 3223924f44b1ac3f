"""Reference points, and the classes of a finished map at them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError

from pipeline.errors import OutputError
from pipeline.grid.mgrs import to_utm
from pipeline.io.store import Store, public_url
from pipeline.io.tables import cell_text
from pipeline.layout import cell_key
from pipeline.point_series.point_file import PointsError, read_frame
from pipeline.product.cell_report import PREFIX
from pipeline.product.layers import CLASS, NODATA_CLASS

OUTSIDE = -1
"""The class of a point that lies in no cell."""
_READERS = 8
_NEAR = 12.0  # degrees from a zone's central meridian: further, UTM's formulas give no places


@dataclass(frozen=True, eq=False)
class ReferencePoints:
    """Points with a label: `lon`, `lat` float64 (n,), degrees of WGS 84, NaN for no place."""

    lon: np.ndarray
    lat: np.ndarray
    labels: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_reference(path: Path, label: str) -> ReferencePoints:
    """The points of a vector file of any CRS, or of a table with lon and lat, and their labels.

    Raises:
        PointsError: The file is unreadable, holds no point, or has no column `label`.
    """
    frame = read_frame(path)
    if label not in frame.columns:
        columns = ", ".join(str(name) for name in frame.columns if name not in ("lon", "lat"))
        raise PointsError(
            str(path),
            f"it has no column {label!r}; its columns are {columns}",
            "Name the column of the reference classes by --label",
        )
    if not len(frame):
        raise PointsError(str(path), "it holds no point", "Give reference points")
    return ReferencePoints(
        lon=frame["lon"].to_numpy(np.float64),
        lat=frame["lat"].to_numpy(np.float64),
        labels=tuple(cell_text(value) for value in frame[label]),
    )


def classes_at(
    store: Store, items: Sequence[Mapping[str, Any]], lon: np.ndarray, lat: np.ndarray
) -> np.ndarray:
    """The map's classes at places.

    A place belongs to the pixel in which it lies, and every pixel to one cell: where cells of two
    zones cover it, only the cell that owns it has a class.

    Args:
        store: The run's folder.
        items: The finished cells' STAC items.
        lon: Longitudes, float64 (n,), NaN for no place.
        lat: Latitudes, likewise.

    Returns:
        Class values int64 (n,), 0 for nodata, `OUTSIDE` for a place in no cell.

    Raises:
        OutputError: A raster cannot be read.
    """
    point_classes = np.full(len(lon), OUTSIDE, np.int64)
    pixels = _pixels_by_zone(items, lon, lat)

    def read(item: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        properties = item["properties"]
        x, y = pixels[properties["proj:code"]]
        rows, columns = properties["proj:shape"]
        width, _, left, _, height, top = properties["proj:transform"]
        column, row = (x - left) / width, (y - top) / height
        with np.errstate(invalid="ignore"):  # NaN lies nowhere
            inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        points = np.flatnonzero(inside)
        if not len(points):
            return points, np.empty(0, np.int64)
        classes = _classes(store, str(properties[f"{PREFIX}tile"]), str(item["id"]))
        return points, classes[row[points].astype(int), column[points].astype(int)]

    with ThreadPoolExecutor(_READERS) as pool:
        for points, values in pool.map(read, items):
            point_classes[points] = np.maximum(point_classes[points], values)
    return point_classes


def _pixels_by_zone(
    items: Sequence[Mapping[str, Any]], lon: np.ndarray, lat: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The places in each CRS of the cells, NaN for places far from its zone."""
    places = {}
    for code in sorted({str(item["properties"]["proj:code"]) for item in items}):
        epsg = int(code.removeprefix("EPSG:"))
        middle = epsg % 100 * 6 - 183
        near = np.abs((lon - middle + 180) % 360 - 180) < _NEAR
        x, y = np.full(len(lon), np.nan), np.full(len(lon), np.nan)
        x[near], y[near] = to_utm(epsg).transform(lon[near], lat[near])
        places[code] = (x, y)
    return places


def _classes(store: Store, tile: str, cell: str) -> np.ndarray:
    key = cell_key(tile, cell, CLASS.file)
    try:
        with (
            rasterio.Env(**store.gdal_options()),
            rasterio.open(store.gdal_path(key)) as raster,
        ):
            classes: np.ndarray = raster.read(1)
            return classes
    except RasterioError as error:
        raise OutputError(
            public_url(store.path(key)), "it cannot be read", "Map the cell again, then evaluate"
        ) from error


def is_mapped(values: np.ndarray) -> np.ndarray:
    """Which places have a class: bool (n,)."""
    return (values != OUTSIDE) & (values != NODATA_CLASS)
