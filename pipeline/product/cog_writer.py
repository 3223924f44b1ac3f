"""Arrays → Cloud-Optimized GeoTIFFs, made in memory by GDAL's COG driver, and names of classes.

GDAL writes the COG. The sidecar with names is written by hand, since rasterio cannot set them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal
from xml.sax.saxutils import escape

import numpy as np
from affine import Affine

BLOCK = 512
"""Rows and columns of a COG's internal tiles; overviews go down to one of them."""

MOST_NAMES = 1024
"""The most values that are named in a raster: some 40 kB of text, in every cell."""

Overview = Literal["mode", "nearest", "average"]
Compression = Literal["DEFLATE", "ZSTD"]
_LEVELS = {"DEFLATE": 9, "ZSTD": 19}


def cog_bytes(
    array: np.ndarray,
    transform: Affine,
    epsg: int,
    nodata: int | None,
    *,
    description: str | Sequence[str],
    colours: Mapping[int, str] | None = None,
    overview: Overview = "nearest",
    compression: Compression = "DEFLATE",
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """Encode an array as a COG; the same input gives the same bytes.

    Args:
        array: uint8 or uint16 (y, x) or (band, y, x).
        transform: The pixel grid, in EPSG:`epsg`.
        epsg: The CRS's code.
        nodata: The value of pixels without one; overviews leave it out.
        description: A text for each band.
        colours: Value → "#rrggbb", the colour table; TIFF has one for a single band of uint8 only.
        overview: GDAL's resampling for overviews.
        compression: Every reader of TIFF knows DEFLATE; ZSTD is smaller where values repeat in
            patterns over many bands.
        tags: The dataset's metadata.
    """
    # Imported here: it takes a fifth of a second, and who only asks how far a run is writes no COG.
    import rasterio
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy as gdal_copy

    descriptions = [description] if isinstance(description, str) else list(description)
    bands = array[None] if array.ndim == 2 else array
    if bands.dtype not in (np.uint8, np.uint16) or bands.ndim != 3:
        raise ValueError(f"a raster is uint8 or uint16 (y, x), not {array.dtype} {array.shape}")
    count, rows, columns = bands.shape
    # Neighbouring class values are not near in meaning: differences only help measurements.
    predictor = "NO" if overview == "mode" or compression == "ZSTD" else "STANDARD"
    with rasterio.Env(GDAL_NUM_THREADS="1"), MemoryFile() as plain, MemoryFile() as cog:
        with plain.open(
            driver="GTiff",
            width=columns,
            height=rows,
            count=count,
            dtype=array.dtype.name,
            crs=f"EPSG:{epsg}",
            transform=transform,
            nodata=nodata,
        ) as raster:
            raster.write(bands)
            raster.descriptions = descriptions
            raster.update_tags(**dict(sorted((tags or {}).items())))
            if colours and array.dtype == np.uint8 and count == 1:
                raster.write_colormap(1, _colour_table(colours, nodata))
        gdal_copy(
            plain.name,
            cog.name,
            driver="COG",
            BLOCKSIZE=BLOCK,
            COMPRESS=compression,
            LEVEL=_LEVELS[compression],
            PREDICTOR=predictor,
            OVERVIEW_RESAMPLING=overview.upper(),
            OVERVIEW_PREDICTOR=predictor,
            BIGTIFF="NO",
        )
        return bytes(cog.read())


def categories_xml(categories: Mapping[int, str], bands: int = 1) -> str:
    """GDAL's sidecar (PAM, `RASTER.tif.aux.xml`) that names the values 0 … max of each band.

    QGIS reads it too. It is empty where `category_names` is.
    """
    if not (names := category_names(categories)):
        return ""
    named = (
        f'  <PAMRasterBand band="{band}">\n{names}  </PAMRasterBand>\n'
        for band in range(1, bands + 1)
    )
    return f"<PAMDataset>\n{''.join(named)}</PAMDataset>\n"


def category_names(categories: Mapping[int, str]) -> str:
    """GDAL's `<CategoryNames>` element: one name per value from 0 to the largest, in order.

    It cannot skip values, so where one is `MOST_NAMES` or more it is empty: then the names stand
    only in the layer style (`pipeline.product.qgis_styles`) and in the STAC items.
    """
    if max(categories, default=MOST_NAMES) >= MOST_NAMES:
        return ""
    names = (escape(categories.get(value, "")) for value in range(max(categories) + 1))
    lines = "".join(f"      <Category>{name}</Category>\n" for name in names)
    return f"    <CategoryNames>\n{lines}    </CategoryNames>\n"


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue (0 … 255) of "#rrggbb"."""
    return (int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16))


def _colour_table(
    colours: Mapping[int, str], nodata: int | None
) -> dict[int, tuple[int, int, int, int]]:
    opaque = {value: (*rgb(colour), 255) for value, colour in colours.items() if value != nodata}
    return dict.fromkeys(range(256), (0, 0, 0, 0)) | opaque
