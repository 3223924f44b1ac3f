"""The end of a cell: its rasters are written, then the STAC item that makes it finished."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from affine import Affine

from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import ReadingError
from pipeline.grid.cells import Cell
from pipeline.io.store import Store
from pipeline.layout import ITEM, cell_key, failure_key
from pipeline.product.cell_report import PREFIX, CellReport, CellResult
from pipeline.product.cog_writer import categories_xml, cog_bytes
from pipeline.product.committed_cells import mapped_item
from pipeline.product.layers import OutputLayer, cell_layers
from pipeline.product.ledger import require_held
from pipeline.product.manifest import RunManifest
from pipeline.product.qgis_styles import layer_style
from pipeline.product.stac import RasterFile, cell_item, raster_tags
from pipeline.raster.read_stats import Fault, ReadStats


def commit_cell(
    store: Store, run: RunManifest, cell: Cell, vocabulary: Vocabulary, result: CellResult
) -> CellReport:
    """Write a cell's rasters, then the STAC item that makes it finished.

    An earlier failure of the cell is forgotten. A cell that was mapped before stays as it is if
    more rasters would be left out of the new one; not where embeddings were kept of it, whose files
    are new already.

    Args:
        store: The run's folder.
        run: The run that maps the cell.
        cell: The cell.
        vocabulary: The classes that the values stand for.
        result: What was computed; the stage "write" is measured here.

    Returns:
        The numbers that the item carries.

    Raises:
        OwnershipLost: The folder is no longer this run's.
        OutputUnwritable: The storage refuses a file.
        ReadingError: Something was to be added to a cell, and rasters that were read before could
            not be read now.
    """
    began = time.perf_counter()
    earlier = mapped_item(store, run, cell)
    if earlier is not None and not _has_embeddings(earlier):
        report = CellReport.from_item(earlier)
        if len(report.stats.faults) < len(result.stats.faults):
            if earlier["properties"][f"{PREFIX}fingerprint"] == run.fingerprint:
                return report
            raise _worse(report.stats.faults, result.stats.faults)
    contents: dict[str, bytes] = {}
    files = {
        layer.name: _encode_raster(run, cell, vocabulary, layer, result.rasters, contents)
        for layer in cell_layers(run)
        if layer.name in result.rasters or not layer.optional
    }
    require_held(store, run)  # after all that takes long
    for key, content in contents.items():
        store.write(key, content)
    write = ReadStats(seconds={"write": time.perf_counter() - began})
    report = replace(result, stats=result.stats + write).report(cell.id)
    item = cell_item(run, cell, vocabulary, report, files, result.embeddings)
    text = json.dumps(item, indent=1, ensure_ascii=False) + "\n"
    store.write(cell_key(cell.tile.name, cell.id, ITEM), text.encode())
    store.remove(failure_key(cell.id))
    return report


def _has_embeddings(item: Mapping[str, Any]) -> bool:
    return any(f"{PREFIX}block" in asset for asset in item["assets"].values())


def _worse(before: Sequence[Fault], after: Sequence[Fault]) -> ReadingError:
    new = next(fault for fault in after if fault not in before)
    return ReadingError(
        new.asset,
        f"it {new.reason}, and was read when the cell was mapped (rasters left out then: "
        f"{len(before)}, now: {len(after)})",
        "The cell stays as it was. Start again when the rasters can be read",
    )


def _encode_raster(
    run: RunManifest,
    cell: Cell,
    vocabulary: Vocabulary,
    layer: OutputLayer,
    rasters: Mapping[str, np.ndarray],
    contents: dict[str, bytes],
) -> RasterFile:
    """Add the files of a cell's layer to `contents`; pixels may be some times the cell's size."""
    array = rasters[layer.name]
    scale = layer.step or cell.height / array.shape[-2]
    legend = vocabulary.legend if layer.style == "classes" else ()
    key = cell_key(cell.tile.name, cell.id, layer.file)
    content = cog_bytes(
        array.astype(layer.dtype_for(vocabulary), copy=False),
        cell.transform @ Affine.scale(scale),
        cell.epsg,
        layer.nodata,
        description=layer.band_titles(run),
        colours={entry.value: entry.colour for entry in legend},
        overview=layer.overview,
        compression=layer.compression,
        tags=raster_tags(run, cell),
    )
    bands = len(layer.bands(run))
    if names := categories_xml({entry.value: entry.name for entry in legend}, bands):
        contents[f"{key}.aux.xml"] = names.encode()
    contents[key] = content
    if layer.style:  # QGIS takes names and colours from here when someone opens the cell alone
        style = layer_style(layer, vocabulary)
        contents[cell_key(cell.tile.name, cell.id, layer.style_file)] = style.encode()
    return RasterFile(content, scale)
