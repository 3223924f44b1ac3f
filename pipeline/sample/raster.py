"""COGs of one band, tiled and deflated as in public archives of Sentinel-2."""

from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.env import Env
from rasterio.io import MemoryFile

_BLOCKS = (256, 512, 1024)


def write_raster(
    path: Path,
    array: np.ndarray,
    transform: tuple[float, float, float, float, float, float],
    epsg: int,
) -> int:
    """Write a uint8 or uint16 array (row, column) as a COG with nodata 0.

    Blocks are of 1024 × 1024 pixels as in public archives. A raster that fits into one block has a
    smaller one where possible, and no overviews.

    Args:
        path: The file.
        array: The pixels.
        transform: Affine coefficients a … f.
        epsg: The CRS.

    Returns:
        The number of bytes.
    """
    block = next((size for size in _BLOCKS if size >= max(array.shape)), _BLOCKS[-1])
    with Env(GDAL_NUM_THREADS="1"), MemoryFile() as memory:
        with memory.open(
            driver="COG",
            height=array.shape[0],
            width=array.shape[1],
            count=1,
            dtype=array.dtype,
            crs=f"EPSG:{epsg}",
            transform=Affine(*transform),
            nodata=0,
            blocksize=block,
            compress="DEFLATE",
            level=1,  # noise hardly shrinks: more effort saves 4 % and takes six times as long
            predictor="YES" if array.dtype == np.uint16 else "NO",
            overviews="NONE" if max(array.shape) <= block else "AUTO",
        ) as raster:
            raster.write(array, 1)
        content = memory.read()
    path.write_bytes(content)
    return len(content)
