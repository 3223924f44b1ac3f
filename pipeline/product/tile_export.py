"""The map of a run as one Cloud-Optimized GeoTIFF for each MGRS tile, in the tile's UTM zone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyproj import CRS

from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url
from pipeline.layout import CELLS
from pipeline.product.cell_report import PREFIX
from pipeline.product.layers import OutputLayer
from pipeline.product.manifest import RunManifest
from pipeline.product.map_blocks import ReadBlocks, read_blocks_here
from pipeline.product.map_export import cells_folder, require_cells, write_map_cog
from pipeline.product.map_grid import resampling_for
from pipeline.product.mosaic import Mosaic, frame_around
from pipeline.product.tile_index import IndexedRaster, index_key, tile_index


@dataclass(frozen=True)
class ExportedTiles:
    """Written tiles: their folder, the keys of their indexes, their number, and all their bytes."""

    store: Store
    indexes: tuple[str, ...]
    count: int
    size: int


def export_tiles(
    store: Store,
    run: RunManifest,
    items: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    layer: OutputLayer,
    target: str,
    *,
    read_blocks: ReadBlocks = read_blocks_here,
    done: Callable[[int, int], None] = lambda tiles, of: None,
) -> ExportedTiles:
    """Write a layer of the finished cells as one COG a tile (`31UFS.tif`), and indexes of them.

    Pixels are the cells' own, which no warp has touched. Names of classes and a style lie beside
    each tile. Tiles that are there are replaced, each once the new one is whole.

    Args:
        store: The run's folder.
        run: The run.
        items: The STAC items of its finished cells.
        vocabulary: Its classes.
        layer: What is exported (`exported_layer`).
        target: A folder or s3:// URL.
        read_blocks: Reads the blocks of a tile; by default threads of this process do.
        done: Called with the number of finished tiles, and of all.

    Raises:
        OutputError: The target is no folder for tiles, or no cell has the layer.
        OutputUnreadable: A cell's raster cannot be read.
        OutputUnwritable: The target cannot be written.
    """
    out = _tiles_folder(target, store)
    shown = require_cells(store, layer, items)
    by_tile: dict[str, list[Mapping[str, Any]]] = {}
    for item in shown:
        by_tile.setdefault(str(item["properties"][f"{PREFIX}tile"]), []).append(item)
    total, how = 0, resampling_for(layer)
    by_zone: dict[int, tuple[Mosaic, list[IndexedRaster]]] = {}
    for number, (tile, of_tile) in enumerate(sorted(by_tile.items()), start=1):
        epsg = int(of_tile[0]["properties"]["proj:code"].removeprefix("EPSG:"))
        mosaic = Mosaic(run, layer, vocabulary, CRS.from_epsg(epsg), cells_folder(store))
        frame, size = write_map_cog(out, f"{tile}.tif", store, mosaic, of_tile, how, read_blocks)
        by_zone.setdefault(epsg, (mosaic, []))[1].append(IndexedRaster(f"{tile}.tif", tile, frame))
        total += size
        done(number, len(by_tile))
    for epsg, (mosaic, tiles) in by_zone.items():
        around = frame_around([tile.frame for tile in tiles])
        index = tile_index(epsg, around, mosaic.bands, tiles, mosaic.tags)
        out.write(index_key("tiles", epsg), index)
    indexes = tuple(index_key("tiles", epsg) for epsg in sorted(by_zone))
    return ExportedTiles(out, indexes, len(by_tile), total)


def _tiles_folder(target: str, run: Store) -> Store:
    out = Store(target)
    if target.lower().endswith((".tif", ".tiff")):
        raise OutputError(public_url(target), "this is the name of a file", "Name a folder")
    if out.is_file():
        raise OutputError(public_url(target), "this is a file", "Name a folder")
    if f"{out.root.rstrip('/')}/".startswith(run.path(f"{CELLS}/")):
        problem = "the run keeps its own rasters there"
        raise OutputError(public_url(target), problem, "Name another folder")
    return out
