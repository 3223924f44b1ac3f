"""Reading of the rasters of a run's finished cells."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from rasterio.io import DatasetReader
from rasterio.windows import Window

from pipeline.io.store import Store, public_url
from pipeline.layout import cell_key
from pipeline.product.cell_report import PREFIX
from pipeline.product.layers import OutputLayer
from pipeline.raster.gdal_errors import gdal_errors_of


@contextmanager
def opened_raster(store: Store, key: str, **options: Any) -> Iterator[DatasetReader]:
    """Open a raster of a cell, which is a GeoTIFF and nothing that leads to other files.

    Args:
        store: The run's folder.
        key: The raster's key.
        options: More of GDAL's configuration.

    Raises:
        OutputUnreadable: It cannot be opened, or not be read in the block.
    """
    with (
        gdal_errors_of(public_url(store.path(key))),
        rasterio.Env(**{**options, **store.gdal_options()}),
        rasterio.open(store.gdal_path(key), driver="GTiff") as raster,
    ):
        yield raster


def read_layer(
    store: Store, item: Mapping[str, Any], layer: OutputLayer, window: Window | None = None
) -> np.ndarray:
    """A raster of a cell, or a window of it: (band, y, x).

    Args:
        store: The run's folder.
        item: The cell's STAC item.
        layer: The raster.
        window: The part to read; by default all.

    Raises:
        OutputUnreadable: The raster cannot be read.
    """
    key = cell_key(str(item["properties"][f"{PREFIX}tile"]), str(item["id"]), layer.file)
    with opened_raster(store, key) as raster:
        values: np.ndarray = raster.read(window=window)
        return values
