"""TIFFs that are written whole: GDAL tells nobody where it cannot write the last bytes."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError

from pipeline.errors import OutputUnwritable
from pipeline.io.store import FULL_DISK
from pipeline.raster.gdal_errors import gdal_words


@contextlib.contextmanager
def writing_tiff(path: Path) -> Iterator[None]:
    """Write a TIFF in the block; at its end, all its blocks must lie within the file.

    Raises:
        OutputUnwritable: The file cannot be written, or is not whole.
    """
    try:
        yield
        whole = _is_whole(path)
    except (RasterioError, CPLE_BaseError) as error:  # perhaps not even its header is whole
        words = gdal_words(error)
        if not any(os.strerror(number) in words for number in FULL_DISK) and not _is_cut(path):
            message = f"{path.parent}: the map cannot be written: {words}."
            raise OutputUnwritable(message) from error
        raise _full_disk(path) from error
    if not whole:
        raise _full_disk(path)


def _full_disk(path: Path) -> OutputUnwritable:
    return OutputUnwritable(
        f"{path.parent}: the map cannot be written whole, as on a disk or with a quota that is "
        "full. Free some space there, then start again."
    )


def _is_cut(path: Path) -> bool:
    """Whether a TIFF is there that cannot be opened."""
    try:
        with rasterio.Env(), rasterio.open(path):
            return False
    except RasterioError:
        return path.exists()


def _is_whole(path: Path) -> bool:
    """Whether all blocks of a TIFF, and of its overviews, lie within the file."""
    size, whole = path.stat().st_size, True
    with rasterio.open(path) as raster:
        levels = [None, *range(len(raster.overviews(1)))]
    for level in levels:
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as raster:
            height, width = raster.block_shapes[0]
            rows, columns = -(-raster.height // height), -(-raster.width // width)
        with rasterio.open(path) as raster:
            for block in (f"{column}_{row}" for row in range(rows) for column in range(columns)):
                place, length = (
                    raster.get_tag_item(f"BLOCK_{item}_{block}", "TIFF", bidx=1, ovr=level)
                    for item in ("OFFSET", "SIZE")
                )
                whole &= place is not None and int(place) + int(length) <= size
    return whole
