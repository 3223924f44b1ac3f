"""The map of a run as one Cloud-Optimized GeoTIFF, in a CRS and a part of the user's choice."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.shutil import copy as gdal_copy
from rasterio.windows import Window

from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError
from pipeline.io.output_file import output_place
from pipeline.io.store import Store, public_url
from pipeline.layout import CELLS
from pipeline.product.cog_writer import BLOCK, categories_xml
from pipeline.product.layers import CELL_LAYERS, OutputLayer
from pipeline.product.manifest import RunManifest
from pipeline.product.map_blocks import (
    MapBlocks,
    ReadBlocks,
    WriteBlock,
    read_blocks_here,
    windows_with_cells,
)
from pipeline.product.map_crs import map_crs
from pipeline.product.map_grid import MapResampling, map_grid, resampling_for
from pipeline.product.mosaic import Mosaic, cells_with
from pipeline.product.qgis_styles import layer_style
from pipeline.product.sld_styles import layer_sld
from pipeline.product.vrt import Frame, VrtSource
from pipeline.product.whole_tiff import writing_tiff

T = TypeVar("T")


@dataclass(frozen=True)
class ExportedMap:
    """A written map: its store and key, its CRS, rows and columns, and its bytes."""

    store: Store
    key: str
    crs: CRS
    shape: tuple[int, int]
    size: int


def exported_layer(run: RunManifest, name: str) -> OutputLayer:
    """The layer of a name that a run has and that can be exported; raises OutputError."""
    layers = {layer.name: layer for layer in CELL_LAYERS if layer.mosaic and layer.written(run)}
    if name not in layers:
        raise OutputError(
            f"layer {name}", "this run has no such map", f"It has {', '.join(sorted(layers))}"
        )
    return layers[name]


def require_cells(
    store: Store, layer: OutputLayer, items: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """The items of the cells that have a layer; raises OutputError where none has."""
    if not (shown := cells_with(layer, items)):
        raise OutputError(
            public_url(store.root),
            f"none of its cells has {layer.name}: an earlier version mapped them"
            if items
            else "no cell of the run is finished",
            "Map into another folder to have it" if items else "Finish the run first",
        )
    return shown


def export_map(
    store: Store,
    run: RunManifest,
    items: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    layer: OutputLayer,
    target: str,
    *,
    crs: str | None = None,
    bbox: Sequence[float] | None = None,
    resolution: float | None = None,
    resampling: MapResampling | None = None,
    read_blocks: ReadBlocks = read_blocks_here,
) -> ExportedMap:
    """Write a layer of the finished cells as one COG, with its names and its styles beside it.

    Pixels are the nearest of the cells' own, each warped at most once; coarser ones are made of
    these. Nodata, colour table, names of classes, texts of bands and overviews are those of the
    cells' rasters. The map is computed and written block by block, in a file beside its place
    first. A file that is there is replaced, once the new one is whole.

    Args:
        store: The run's folder.
        run: The run.
        items: The STAC items of its finished cells.
        vocabulary: Its classes.
        layer: What is exported (`exported_layer`).
        target: A path or s3:// URL that ends with .tif or .tiff.
        crs: The code of the map's CRS; by default that of the run's mosaic.
        bbox: The part that is exported, in degrees (RFC 7946); by default all.
        resolution: The side of a pixel in the unit of the CRS; by default that of `pixel_of`.
        resampling: What coarser pixels show (`resampling_for`).
        read_blocks: Reads the blocks of the map; by default one by one.

    Raises:
        OutputError: The target is no place for a map, or no cell has the layer.
        SettingsError: The map cannot be shown in the CRS, or not with such pixels.
        RegionError: The map has nothing in the bbox.
        OutputUnreadable: A cell's raster cannot be read.
        OutputUnwritable: The target cannot be written.
    """
    out, name = _place(target, store)
    shown = require_cells(store, layer, items)
    projection = map_crs(shown, crs or run.settings.get("crs"))
    how = resampling_for(layer, resampling)
    grid = map_grid(projection, resolution, how)
    mosaic = Mosaic(run, layer, vocabulary, projection, cells_folder(store), bbox, grid)
    frame, size = write_map_cog(out, name, store, mosaic, shown, how, read_blocks)
    return ExportedMap(out, name, projection, (frame.rows, frame.columns), size)


def cells_folder(store: Store) -> str:
    """How a mosaic that lies elsewhere names the folder of the cells' folders."""
    return f"{store.gdal_path('').rstrip('/')}/"


def write_map_cog(
    out: Store,
    name: str,
    store: Store,
    mosaic: Mosaic,
    items: Sequence[Mapping[str, Any]],
    resampling: MapResampling,
    read_blocks: ReadBlocks,
) -> tuple[Frame, int]:
    """Write a mosaic as one COG, with names of classes and styles beside it.

    Args:
        out: The folder of the file.
        name: Its name.
        store: The run's folder.
        mosaic: The mosaic of some cells; its squares are the file's pixels.
        items: The cells' STAC items.
        resampling: What a square shows.
        read_blocks: Reads the blocks of the map.

    Returns:
        Its frame, and its bytes.

    Raises:
        RegionError, OutputUnreadable, OutputUnwritable: As `export_map`.
    """
    layer, across = mosaic.layer, mosaic.grid.across if mosaic.grid else 1
    frame, files = mosaic.framed_files(items)
    key, bands = layer.mosaic_file, mosaic.bands
    blocks = MapBlocks.of(store, key, files, frame, bands, across, resampling)
    windows = windows_with_cells(blocks, frame, mosaic.crs, items)
    whole = Frame(frame.transform @ Affine.scale(across), *blocks.shape)
    with out.new_file(name) as path:
        plain, vrt = path.with_name(f"{path.name}.blocks"), path.with_name(f"{path.name}.vrt")
        _write_blocks(blocks, whole, partial(read_blocks, blocks, windows), plain)
        vrt.write_bytes(mosaic.over(whole, [VrtSource(plain.name, whole)]))
        _interruptible(lambda: _write_cog(vrt, path, layer))
        size = path.stat().st_size
    if sidecar := categories_xml(bands[0].names, len(bands)):
        out.write(f"{name}.aux.xml", sidecar.encode())
    if (vocabulary := mosaic.vocabulary) is not None:
        stem = name.rpartition(".")[0]
        out.write(f"{stem}.qml", layer_style(layer, vocabulary).encode())
        if layer.style:
            title = layer.title_in(mosaic.run)
            out.write(f"{stem}.sld", layer_sld(layer, vocabulary, title).encode())
    return whole, size


def _place(target: str, run: Store) -> tuple[Store, str]:
    """The folder or prefix of a target, and the file's name in it."""
    store, name = output_place(target, (".tif", ".tiff"), "GeoTIFF")
    if f"{store.path(name)}/".startswith(run.path(f"{CELLS}/")):
        raise OutputError(
            public_url(target), "the run keeps its own rasters there", "Name another folder"
        )
    return store, name


def _write_blocks(
    blocks: MapBlocks, frame: Frame, read: Callable[[WriteBlock], None], path: Path
) -> None:
    """Write the blocks of a map as a plain TIFF, each tile once."""
    options = {"tiled": True, "blockxsize": blocks.tile, "blockysize": blocks.tile}
    with (
        rasterio.Env(GDAL_PAM_ENABLED="NO"),
        writing_tiff(path),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=frame.columns,
            height=frame.rows,
            count=blocks.bands,
            dtype=blocks.dtype,
            nodata=blocks.nodata,
            transform=frame.transform,
            compress="ZSTD",  # which takes the least time: nobody else reads this file
            zstd_level=1,
            bigtiff="YES",
            **options,
        ) as raster,
    ):

        def write(window: Window, values: np.ndarray | None) -> None:
            if values is not None:
                raster.write(values, window=window)

        read(write)


def _write_cog(vrt: Path, path: Path, layer: OutputLayer) -> None:
    """Write a VRT as a COG."""
    predictor = "NO" if layer.overview == "mode" else "STANDARD"
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), writing_tiff(path):
        gdal_copy(
            vrt,
            path,
            driver="COG",
            BLOCKSIZE=BLOCK,
            COMPRESS="DEFLATE",
            PREDICTOR=predictor,
            OVERVIEWS="IGNORE_EXISTING",  # those of the VRT are of the nearest pixels
            OVERVIEW_RESAMPLING=layer.overview.upper(),
            OVERVIEW_PREDICTOR=predictor,
            NUM_THREADS="ALL_CPUS",
            BIGTIFF="IF_SAFER",
        )


def _interruptible(work: Callable[[], T]) -> T:
    """Do a work of GDAL's in a thread: else Ctrl-C would have no effect before its end."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failed:
        raise failed[0]
    return done[0]
