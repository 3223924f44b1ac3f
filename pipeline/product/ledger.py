"""The ledger of a run, kept in its folder: the open run, its finished cells and its failures."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from affine import Affine

from models.json_text import parse_json
from models.visible_text import visible_text
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError
from pipeline.grid.cells import Cell
from pipeline.io.fingerprint import differences, fingerprint
from pipeline.io.store import Store, public_text, public_url
from pipeline.layout import (
    CELLS,
    COLLECTION_FILE,
    FAILURES,
    ITEM,
    PLANNED,
    RUN,
    cell_key,
    failure_key,
)
from pipeline.product.cell_report import PREFIX, CellReport, CellResult
from pipeline.product.cog_writer import categories_xml, cog_bytes
from pipeline.product.example_report import read_example_report
from pipeline.product.layers import OutputLayer, cell_layers
from pipeline.product.manifest import RunManifest, new_manifest
from pipeline.product.qgis_styles import layer_style
from pipeline.product.stac import RasterFile, cell_item, collection, raster_tags
from pipeline.raster.read_stats import ReadStats


@dataclass(frozen=True)
class FailedCell:
    """A cell that failed: `kind` is the error's class, `error` its message without secrets."""

    cell: str
    tile: str
    kind: str
    error: str
    when: str


def held_run(store: Store) -> RunManifest | None:
    """The run in a folder, or None if the folder is free for a run.

    Raises OutputError where the folder holds something else, or is a file.
    """
    folder = public_url(store.root)
    if store.is_file():
        raise OutputError(folder, "this is a file, not a folder", "Name a new or an empty folder")
    if store.exists(RUN):
        return read_run(store)
    # What is written before `run.json` may be there of a run that was ended while it was planned.
    strange = next((key for key in store.keys("") if not key.startswith(PLANNED)), None)
    if strange is not None:
        raise OutputError(
            folder,
            f"the folder is not empty and holds no run of timesen (for one, {strange})",
            "Name a new or an empty folder",
        )
    return None


def require_replaceable(store: Store, differing: Sequence[str]) -> None:
    """Raise OutputError with the differing settings if a folder's run has begun a cell."""
    if next(store.keys(CELLS), None) is not None:
        what = "; ".join(differing) or "what its fingerprint is made of"
        raise OutputError(
            public_url(store.root),
            f"it holds another run, whose results would differ ({what})",
            "Name another folder, or set these back to go on with the run that is there",
        )


def open_run(store: Store, parts: Mapping[str, Any], settings: Mapping[str, Any]) -> RunManifest:
    """Begin a run in an empty folder, or continue the run that is there.

    Another run is replaced as long as it is only planned.

    Args:
        store: The run's folder.
        parts: Everything that the results depend on, as JSON values.
        settings: What the user wrote.

    Raises:
        OutputError: Cells of another run are begun (it says which parts differ), or the folder
            holds something else than a run, or is a file.
        OutputUnwritable: The folder takes no file.
    """
    run = held_run(store)
    if run is None or run.fingerprint != fingerprint(parts):
        if run is not None:
            require_replaceable(store, differences(run.parts, parts))
        for key in store.keys(FAILURES):
            store.remove(key)
        run = new_manifest(parts, settings)
    store.write(RUN, run.to_json())  # also when going on: that a folder takes no file shows now
    return run


def read_run(store: Store) -> RunManifest:
    """The run that a folder holds; raises OutputError where there is none."""
    key = public_url(store.path(RUN))
    try:
        return RunManifest.from_json(store.read(RUN))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OutputError(
            public_url(store.root), "there is no run here (no run.json)", "Name a run's folder"
        ) from error
    except ValueError as error:
        raise OutputError(
            key, f"this is no run of timesen ({error})", "Name another folder"
        ) from error


def commit_cell(
    store: Store, run: RunManifest, cell: Cell, vocabulary: Vocabulary, result: CellResult
) -> CellReport:
    """Write a cell's rasters, then the STAC item that makes it finished.

    An earlier failure of the cell is forgotten.

    Args:
        store: The run's folder.
        run: The run that maps the cell.
        cell: The cell.
        vocabulary: The classes that the values stand for.
        result: What was computed; the stage "write" is measured here.

    Returns:
        The numbers that the item carries.

    Raises:
        OutputError: The folder is no longer this run's.
        OutputUnwritable: The storage refuses a file.
    """
    began = time.perf_counter()
    if read_run(store).fingerprint != run.fingerprint:
        raise OutputError(
            public_url(store.root),
            "another run began in this folder meanwhile",
            "Give every run a folder of its own",
        )
    files = {
        layer.name: _write_raster(store, run, cell, vocabulary, layer, result.rasters[layer.name])
        for layer in cell_layers(run)
    }
    write = ReadStats(seconds={"write": time.perf_counter() - began})
    report = replace(result, stats=result.stats + write).report(cell.id)
    item = cell_item(run, cell, vocabulary, report, files, result.embeddings)
    store.write(cell_key(cell.tile.name, cell.id, ITEM), _json(item))
    store.remove(failure_key(cell.id))
    return report


def _write_raster(
    store: Store,
    run: RunManifest,
    cell: Cell,
    vocabulary: Vocabulary,
    layer: OutputLayer,
    array: np.ndarray,
) -> RasterFile:
    """Write a layer of a cell; its pixels may be some times larger than the cell's."""
    scale = cell.height / array.shape[-2]
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
        tags=raster_tags(run, cell),
    )
    if names := categories_xml({entry.value: entry.name for entry in legend}):
        store.write(f"{key}.aux.xml", names.encode())
    store.write(key, content)
    if legend:  # QGIS takes names and colours from here when someone opens the cell alone.
        style = layer_style(layer, vocabulary)
        store.write(cell_key(cell.tile.name, cell.id, layer.style_file), style.encode())
    return RasterFile(content, scale)


def finished_items(store: Store, run_fingerprint: str) -> list[dict[str, Any]]:
    """The STAC items of the finished cells, in the order of their ids."""
    return sorted(_committed(store, run_fingerprint), key=lambda item: str(item["id"]))


def finished_cells(store: Store, run_fingerprint: str) -> dict[str, CellReport]:
    """The reports of the finished cells, by cell id.

    A cell is finished if its item carries the fingerprint and its rasters have the sizes that the
    item states.
    """
    items = finished_items(store, run_fingerprint)
    return {str(item["id"]): CellReport.from_item(item) for item in items}


def record_failure(store: Store, cell: Cell, error: BaseException) -> None:
    """Record that a cell failed and why; a later start of the run tries it again."""
    failure = FailedCell(
        cell=cell.id,
        tile=cell.tile.name,
        kind=type(error).__name__,
        error=visible_text(public_text(str(error))),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store.write(failure_key(cell.id), _json(asdict(failure)))


def failed_cells(store: Store) -> dict[str, FailedCell]:
    """The cells that failed and have not been finished since, by id."""
    failures = [
        FailedCell(**parse_json(content)) for _, content in store.read_many(store.keys(FAILURES))
    ]
    return {
        failure.cell: failure
        for failure in failures
        if not store.exists(cell_key(failure.tile, failure.cell, ITEM))
    }


def write_collection(
    store: Store, run: RunManifest, items: Sequence[Mapping[str, Any]], vocabulary: Vocabulary
) -> None:
    """Write the STAC collection of the finished cells, `collection.json`."""
    examples = read_example_report(store, run.fingerprint)
    store.write(COLLECTION_FILE, _json(collection(run, items, vocabulary, examples)))


def _committed(store: Store, run_fingerprint: str) -> Iterator[dict[str, Any]]:
    sizes = store.sizes(CELLS)
    keys = [key for key in sizes if key.endswith(f"/{ITEM}")]
    for key, content in store.read_many(keys):
        try:
            item = parse_json(content)
            ours = item["properties"][f"{PREFIX}fingerprint"] == run_fingerprint
            CellReport.from_item(item)
            whole = all(
                sizes.get(key.replace(ITEM, asset["href"].removeprefix("./"))) == asset["file:size"]
                for asset in item["assets"].values()
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # not ours, or damaged by another: the cell is made again
        if ours and whole:
            yield item


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
