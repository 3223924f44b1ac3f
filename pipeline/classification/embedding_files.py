"""Files of kept embeddings, which a later run classifies with other classes.

Each block has a GeoTIFF of int8, one band per dimension, pixel interleaved, tiled, ZSTD; the
numbers are those of `models.encoder.quantised_embeddings`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio.io import MemoryFile
from rasterio.windows import Window

from models.encoder.quantised_embeddings import restored
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError
from pipeline.grid.cells import Cell
from pipeline.io.store import Store, public_url
from pipeline.layout import cell_key, embeddings_name
from pipeline.observations.cube import Block
from pipeline.product.cell_report import PREFIX
from pipeline.product.layers import EMBEDDINGS
from pipeline.product.ledger import require_held
from pipeline.product.manifest import RunManifest
from pipeline.product.stac import file_fields, layer_asset, raster_tags

_TILE = 128  # pixels: a tile of 512 dimensions is 8 MB
_ROWS = 32  # rows of a block that are restored at once


def embedding_rows(
    stored: np.ndarray, device: torch.device
) -> Iterator[tuple[slice, np.ndarray, torch.Tensor]]:
    """Restore the stored embeddings of a block, int8 (dim, y, x), some rows at a time.

    Yields:
        Rows of the block; bool (y, x), their pixels with an embedding; and these embeddings,
        float32 (pixel, dim), on the device.
    """
    dim, height, columns = stored.shape
    for start in range(0, height, _ROWS):
        rows = slice(start, min(start + _ROWS, height))
        part = np.ascontiguousarray(stored[:, rows].reshape(dim, -1).T)
        valid = part.any(axis=1)
        yield rows, valid.reshape(-1, columns), restored(torch.from_numpy(part[valid]).to(device))


def embeddings_tif(stored: np.ndarray, transform: Affine, epsg: int, tags: dict[str, str]) -> bytes:
    """The bytes of a GeoTIFF of int8 (y, x, dim), on the grid `transform` of EPSG:`epsg`."""
    rows, columns, dim = stored.shape
    with rasterio.Env(GDAL_NUM_THREADS="1"), MemoryFile() as file:
        with file.open(
            driver="GTiff",
            width=columns,
            height=rows,
            count=dim,
            dtype="int8",
            crs=f"EPSG:{epsg}",
            transform=transform,
            nodata=0,
            tiled=True,
            blockxsize=_TILE,
            blockysize=_TILE,
            interleave="pixel",
            compress="zstd",
            zstd_level=1,
            bigtiff="if_safer",
        ) as raster:
            raster.update_tags(**dict(sorted(tags.items())))
            for row in range(0, rows, _TILE):  # a row of tiles at a time: GDAL holds it in memory
                part = stored[row : row + _TILE]
                window = Window(0, row, columns, len(part))
                raster.write(np.ascontiguousarray(part.transpose(2, 0, 1)), window=window)
        return bytes(file.read())


def read_embeddings(store: Store, key: str) -> np.ndarray:
    """The stored numbers of a block: int8 (dim, y, x). Raises OutputError for a damaged file."""
    content = store.read(key)
    try:
        with rasterio.Env(GDAL_NUM_THREADS="1"), MemoryFile(content) as file, file.open() as raster:
            values: np.ndarray = raster.read()
    except rasterio.errors.RasterioError:
        values = np.empty(0)
    if values.dtype != np.int8:
        raise OutputError(
            public_url(store.path(key)),
            "it holds no embeddings that can be read",
            "Map the cell again into another folder, with keep_embeddings",
        )
    return values


def write_embeddings(
    store: Store,
    run: RunManifest,
    vocabulary: Vocabulary,
    cell: Cell,
    block: Block,
    stored: np.ndarray,
) -> dict[str, Any]:
    """Write a block's embeddings, int8 (y, x, dim), in the cell's folder; give their STAC asset.

    Raises OwnershipLost where the folder is no longer the run's, OutputUnwritable where it takes no
    file.
    """
    name = embeddings_name(block.row, block.column)
    transform = cell.transform @ Affine.translation(block.column, block.row)
    content = embeddings_tif(stored, transform, cell.epsg, raster_tags(run, cell))
    require_held(store, run)
    store.write(cell_key(cell.tile.name, cell.id, name), content)
    return {
        "href": f"./{name}",
        **layer_asset(EMBEDDINGS, run, vocabulary),
        "proj:shape": [block.height, block.width],
        "proj:transform": list(transform)[:6],
        f"{PREFIX}block": [block.row, block.column],
        **file_fields(content),
    }


def embedding_blocks(item: Mapping[str, Any]) -> Iterator[tuple[Block, str]]:
    """The blocks with embeddings in a cell's STAC item, and the names of their files."""
    for asset in item["assets"].values():
        if f"{PREFIX}block" in asset:
            row, column = asset[f"{PREFIX}block"]
            yield Block(row, column, *asset["proj:shape"]), str(asset["href"]).removeprefix("./")
