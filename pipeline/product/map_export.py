"""The map of a run as one Cloud-Optimized GeoTIFF, in a CRS and a part of the user's choice."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import rasterio
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.shutil import copy as gdal_copy

from models.files.process_mark import temporary_prefix
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError, OutputUnreadable, OutputUnwritable
from pipeline.io.output_file import output_place
from pipeline.io.store import FULL_DISK, Store, public_url
from pipeline.layout import CELLS
from pipeline.product.cog_writer import BLOCK, categories_xml
from pipeline.product.layers import CELL_LAYERS, OutputLayer
from pipeline.product.manifest import RunManifest
from pipeline.product.map_crs import map_crs
from pipeline.product.mosaic import Mosaic, cells_with
from pipeline.product.qgis_styles import layer_style
from pipeline.raster.gdal_errors import gdal_errors_of

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
) -> ExportedMap:
    """Write a layer of the finished cells as one COG, with its names and its QGIS style beside it.

    Pixels are the nearest of the cells' own, each warped at most once. Nodata, colour table, names
    of classes, texts of bands and overviews are those of the cells' rasters. A file that is there
    is replaced, once the new one is whole.

    Args:
        store: The run's folder.
        run: The run.
        items: The STAC items of its finished cells.
        vocabulary: Its classes.
        layer: What is exported (`exported_layer`).
        target: A path or s3:// URL that ends with .tif or .tiff.
        crs: The code of the map's CRS; by default that of the run's mosaic.
        bbox: The part that is exported, in degrees (RFC 7946); by default all.

    Raises:
        OutputError: The target is no place for a map, or no cell has the layer.
        SettingsError: The map cannot be shown in the CRS.
        RegionError: The map has nothing in the bbox.
        OutputUnreadable: A cell's raster cannot be read.
        OutputUnwritable: The target cannot be written.
    """
    out, name = _place(target, store)
    if not (shown := cells_with(layer, items)):
        raise OutputError(
            public_url(store.root),
            f"none of its cells has {layer.name}: an earlier version mapped them"
            if items
            else "no cell of the run is finished",
            "Map into another folder to have it" if items else "Finish the run first",
        )
    cells = f"{store.gdal_path('').rstrip('/')}/"
    projection = map_crs(shown, crs or run.settings.get("crs"))
    mosaic = Mosaic(run, layer, vocabulary, projection, cells, bbox)
    files = mosaic.files(shown)
    with TemporaryDirectory(prefix=temporary_prefix("export")) as folder:
        inside = Store(folder)
        for key, content in files.items():
            inside.write(key, content)
        with out.new_file(name) as path:
            shape = _interruptible(
                lambda: _write_cog(inside.path(layer.mosaic_file), path, layer, store)
            )
            size = path.stat().st_size
    legend = vocabulary.legend if layer.style == "classes" else ()
    names = {entry.value: entry.name for entry in legend}
    if sidecar := categories_xml(names, len(layer.bands(run))):
        out.write(f"{name}.aux.xml", sidecar.encode())
    out.write(f"{name.rpartition('.')[0]}.qml", layer_style(layer, vocabulary).encode())
    return ExportedMap(out, name, projection, shape, size)


def _place(target: str, run: Store) -> tuple[Store, str]:
    """The folder or prefix of a target, and the file's name in it."""
    store, name = output_place(target, (".tif", ".tiff"), "GeoTIFF")
    if f"{store.path(name)}/".startswith(run.path(f"{CELLS}/")):
        raise OutputError(
            public_url(target), "the run keeps its own rasters there", "Name another folder"
        )
    return store, name


def _write_cog(vrt: str, path: Path, layer: OutputLayer, store: Store) -> tuple[int, int]:
    """Write a VRT as a COG; returns its rows and columns."""
    predictor = "NO" if layer.overview == "mode" else "STANDARD"
    options = {"GDAL_PAM_ENABLED": "NO", **store.gdal_options()}
    try:
        with gdal_errors_of(public_url(store.root)), rasterio.Env(**options):
            with rasterio.open(vrt) as mosaic:
                shape = (mosaic.height, mosaic.width)
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
    except OutputUnreadable as error:
        if any(os.strerror(number) in str(error) for number in FULL_DISK):
            raise _full_disk(path) from error
        raise
    try:
        with rasterio.Env(**options):
            _require_whole(path)
    except RasterioError as error:  # not even its header is whole
        raise _full_disk(path) from error
    return shape


def _require_whole(path: Path) -> None:
    """Raise OutputUnwritable unless all blocks of a TIFF lie within the file.

    GDAL tells nobody where it cannot write the last bytes, when it closes the file.
    """
    size, whole = path.stat().st_size, True
    with rasterio.open(path) as raster:
        levels = [None, *range(len(raster.overviews(1)))]
    for level in levels:
        with rasterio.open(path, **({} if level is None else {"overview_level": level})) as raster:
            rows, columns = (-(-side // BLOCK) for side in raster.shape)
        with rasterio.open(path) as raster:
            for block in (f"{column}_{row}" for row in range(rows) for column in range(columns)):
                place, length = (
                    raster.get_tag_item(f"BLOCK_{item}_{block}", "TIFF", bidx=1, ovr=level)
                    for item in ("OFFSET", "SIZE")
                )
                whole &= place is not None and int(place) + int(length) <= size
    if not whole:
        raise _full_disk(path)


def _full_disk(path: Path) -> OutputUnwritable:
    return OutputUnwritable(
        f"{path.parent}: the map cannot be written whole, as on a disk or with a quota that is "
        "full. Free some space there, then start again."
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
