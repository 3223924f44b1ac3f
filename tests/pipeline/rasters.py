"""Small real COGs, and items that name them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from pipeline.catalog.item import Asset, Item

EPSG = 32631
LEFT, TOP = 600000, 5700000  # upper left corner of what the tests read, metres


def write_raster(
    path: Path,
    values: np.ndarray,
    *,
    resolution: float = 10,
    left: float = LEFT,
    top: float = TOP,
    epsg: int | None = EPSG,
    nodata: float | None = 0,
    **options: Any,
) -> Asset:
    """Write `values` (rows, columns) as a COG; the asset describes it truly."""
    transform = Affine(resolution, 0, left, 0, -resolution, top)
    profile = {"driver": "COG", "compress": "DEFLATE", "blocksize": 128, "overviews": "NONE"}
    with rasterio.open(
        path,
        "w",
        **(profile | options),
        dtype=values.dtype,
        count=1,
        height=values.shape[0],
        width=values.shape[1],
        crs=None if epsg is None else f"EPSG:{epsg}",
        transform=transform,
        nodata=nodata,
    ) as raster:
        raster.write(values, 1)
    return Asset(str(path), epsg or EPSG, transform, values.shape, size=path.stat().st_size)


def make_item(
    name: str,
    assets: dict[str, Asset],
    day: datetime = datetime(2021, 6, 1, 10, 50, tzinfo=UTC),
    acquisition: str | None = None,
) -> Item:
    """An item of the assets; its acquisition is its own unless one is given."""
    return Item(
        id=name,
        tile="31UFS",
        datetime=day,
        acquisition=name if acquisition is None else acquisition,
        platform="sentinel-2a",
        cloud_cover=None,
        baseline="05.00",
        generated="",
        epsg=EPSG,
        footprint=None,
        assets=assets,
    )
