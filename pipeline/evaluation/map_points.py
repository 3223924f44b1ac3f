"""The classes of a finished map at places."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from affine import Affine

from pipeline.grid.places import Places
from pipeline.io.store import Store
from pipeline.product.layers import CLASS, NODATA_CLASS
from pipeline.product.read_layer import read_layer

OUTSIDE = -1
"""The class of a point that lies in no cell."""
_READERS = 8


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
        OutputUnreadable: A raster cannot be read.
    """
    point_classes = np.full(len(lon), OUTSIDE, np.int64)
    places = Places(lon, lat)

    def read(item: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        properties = item["properties"]
        points, row, column = places.in_grid(
            int(properties["proj:code"].removeprefix("EPSG:")),
            Affine(*properties["proj:transform"][:6]),
            tuple(properties["proj:shape"]),
        )
        if not len(points):
            return points, np.empty(0, np.int64)
        classes = cell_classes(store, item)
        return points, classes[row, column]

    with ThreadPoolExecutor(_READERS) as pool:
        for points, values in pool.map(read, items):
            point_classes[points] = np.maximum(point_classes[points], values)
    return point_classes


def cell_classes(store: Store, item: Mapping[str, Any]) -> np.ndarray:
    """The class values of a cell, uint8 or uint16 (y, x); raises OutputUnreadable."""
    classes: np.ndarray = read_layer(store, item, CLASS)[0]
    return classes


def is_mapped(values: np.ndarray) -> np.ndarray:
    """Which places have a class: bool (n,)."""
    return (values != OUTSIDE) & (values != NODATA_CLASS)
