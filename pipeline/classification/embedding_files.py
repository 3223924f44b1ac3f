"""Files of kept embeddings, which a later run classifies with other classes.

Each block has a GeoTIFF of int8, one band per dimension, pixel interleaved, tiled, ZSTD; the
numbers are those of `models.encoder.quantised_embeddings`.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.errors import CRSError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window

from models.encoder.preprocessing import MONTHS
from models.encoder.quantised_embeddings import restored
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.io.store import Store, public_url
from pipeline.layout import cell_key, embeddings_name
from pipeline.product.cell_report import PREFIX
from pipeline.product.layers import CLEAR_OBSERVATIONS, EMBEDDINGS
from pipeline.product.ledger import require_held
from pipeline.product.manifest import RunManifest
from pipeline.product.stac import file_fields, layer_asset, raster_tags

_TILE = 128  # pixels: a tile of 512 dimensions is 8 MB
_MOST_DIMENSIONS = 4096  # of embeddings whose dimension is not known otherwise
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
            predictor=2,  # neighbours are alike (tests/benchmarks/results/cog.md)
            bigtiff="if_safer",
        ) as raster:
            raster.update_tags(**dict(sorted(tags.items())))
            for row in range(0, rows, _TILE):  # a row of tiles at a time: GDAL holds it in memory
                part = stored[row : row + _TILE]
                window = Window(0, row, columns, len(part))
                raster.write(np.ascontiguousarray(part.transpose(2, 0, 1)), window=window)
        return bytes(file.read())


def read_embeddings(store: Store, key: str, block: Block, dim: int | None = None) -> np.ndarray:
    """The stored numbers of a block: int8 (dim, y, x).

    Raises OutputError where the file is gone, damaged, or of another size than the block, or has
    other than `dim` dimensions.
    """
    most = _MOST_DIMENSIONS if dim is None else dim

    def fits(raster: DatasetReader) -> bool:
        return (
            raster.shape == (block.height, block.width)
            and 0 < raster.count <= most
            and (dim is None or raster.count == dim)
            and set(raster.dtypes) == {"int8"}
        )

    dimensions = "" if dim is None else f", in {dim} dimensions,"
    what = f"embeddings of {block.height} × {block.width} pixels{dimensions}"
    return _read_tif(store, key, fits, what)


def read_clear_counts(store: Store, key: str, cell: Cell) -> np.ndarray:
    """The clear observations of a cell per month: uint8 (12, y, x), pixels of 10 or 20 m.

    Raises OutputError where the file is gone, damaged, or not of the cell's size.
    """
    shapes = [(cell.height // ratio, cell.width // ratio) for ratio in (1, 2)]

    def fits(raster: DatasetReader) -> bool:
        return (
            raster.shape in shapes
            and raster.count == MONTHS
            and set(raster.dtypes) == {CLEAR_OBSERVATIONS.dtype}
        )

    return _read_tif(store, key, fits, "counts of the cell's clear observations")


def _read_tif(
    store: Store, key: str, fits: Callable[[DatasetReader], bool], what: str
) -> np.ndarray:
    """The bands of a GeoTIFF whose header fits: before that nothing of its size is allocated.

    Only the driver for GeoTIFF is tried: others follow names of files and servers in a content.
    """
    values = None
    with contextlib.suppress(
        rasterio.errors.RasterioError, CPLE_BaseError, CRSError, UnicodeDecodeError,
        FileNotFoundError, NotADirectoryError,
    ):  # fmt: skip
        if content := store.read(key):  # rasterio would open an empty file to write it
            with (
                rasterio.Env(GDAL_NUM_THREADS="1"),
                MemoryFile(content) as file,
                file.open(driver="GTiff") as raster,
            ):
                values = raster.read() if fits(raster) else None
    if values is None:
        raise OutputError(
            public_url(store.path(key)),
            f"it holds no {what} that can be read",
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


def embedding_blocks(item: Mapping[str, Any]) -> list[tuple[Block, str]]:
    """The blocks with embeddings in a cell's STAC item, and the names of their files.

    Raises OutputError where they are not the whole cell, cut into blocks.
    """
    assets = [asset for asset in item["assets"].values() if f"{PREFIX}block" in asset]
    if not assets:
        return []
    try:
        blocks = [Block(*asset[f"{PREFIX}block"], *asset["proj:shape"]) for asset in assets]
        names = [str(asset["href"]).removeprefix("./") for asset in assets]
        rows, columns = item["properties"]["proj:shape"]
        named = [embeddings_name(block.row, block.column) for block in blocks]
        whole = names == named and set(blocks) == _grid_of(blocks, rows, columns)
    except (LookupError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise OutputError(
            f"cell {item['id']}",
            "its item does not say which file of embeddings is of which part of the cell",
            "Put the run's own item back, or map the cell again into another folder",
        )
    return list(zip(blocks, names, strict=True))


def _grid_of(blocks: Sequence[Block], rows: int, columns: int) -> set[Block]:
    """The blocks into which the rows and columns where blocks begin divide a cell."""
    tops = sorted({block.row for block in blocks})
    lefts = sorted({block.column for block in blocks})
    return {
        Block(top, left, bottom - top, right - left)
        for top, bottom in pairwise([0, *tops[1:], rows])
        for left, right in pairwise([0, *lefts[1:], columns])
    }
