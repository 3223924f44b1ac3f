"""The cells of a run that are committed: their STAC items, read from the run's folder.

Of a continent's cells all items are in memory at once, so they are brief: without what is the same
in all of them.
"""

import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from models.files.json_text import parse_json
from pipeline.grid.cells import Cell
from pipeline.io.store import Store
from pipeline.layout import CELLS, ITEM, cell_key
from pipeline.product.cell_index import IndexedItem, read_index, write_index
from pipeline.product.cell_item_check import checked_report
from pipeline.product.cell_report import PREFIX, CellReport
from pipeline.product.manifest import RunManifest

_COMMON_PROPERTIES = frozenset(
    {
        *("title", "datetime", "start_datetime", "end_datetime", "constellation", "instruments"),
        *("processing:software", "processing:lineage", f"{PREFIX}attribution"),
    }
)
_OF_RASTER = frozenset(
    {
        *("title", "description", "type", "roles", "bands", "raster:bands", "file:checksum"),
        *("classification:classes", "data_type", "nodata", "unit"),
    }
)


def finished_items(store: Store, run_fingerprint: str) -> list[dict[str, Any]]:
    """The STAC items of the finished cells, in the order of their ids.

    They are brief: without geometry, links, and the fields of assets that say what a raster is.
    """
    return _by_id(_all_committed(store, {run_fingerprint}, run_fingerprint))


def mapped_items(
    store: Store, run: RunManifest, tiles: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """The STAC items of the cells with a map, in the order of their ids, as `finished_items`.

    They are the finished ones, and those that lack nothing but what was added to the run since;
    where tiles are given, of their cells alone.
    """
    if tiles is None:
        return _by_id(_all_committed(store, run.fingerprints, run.fingerprint))
    folders = [f"{CELLS}/{tile}" for tile in tiles]
    return _by_id(
        item for folder in folders for item in _committed(store, run.fingerprints, folder)
    )


def mapped_item(store: Store, run: RunManifest, cell: Cell) -> dict[str, Any] | None:
    """The STAC item of a cell, as `mapped_items` has it; None where the cell is not mapped."""
    return _item_of(store, run.fingerprints, cell)


def _by_id(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: str(item["id"]))


def finished_cells(store: Store, run_fingerprint: str) -> dict[str, CellReport]:
    """The reports of the finished cells, by cell id.

    A cell is finished if its item carries the fingerprint and its rasters have the sizes that the
    item states.
    """
    items = finished_items(store, run_fingerprint)
    return {str(item["id"]): CellReport.from_item(item) for item in items}


def finished_ids(store: Store, run_fingerprint: str) -> set[str]:
    """The ids of the finished cells."""
    return {str(item["id"]) for item in _all_committed(store, {run_fingerprint}, run_fingerprint)}


def index_cells(store: Store, run: RunManifest) -> list[dict[str, Any]]:
    """As `mapped_items`; on object storage they are put into one file, for whoever asks next.

    Raises OutputUnwritable.
    """
    sizes, tags = store.sizes_and_tags(CELLS)
    indexed = read_index(store, run.fingerprint)
    found = dict(_read(store, run.fingerprints, sizes, tags, indexed))
    new = sum(key not in indexed or indexed[key][0] != tags.get(key) for key in found)
    write_index(store, run.fingerprint, tags, found.items(), new)
    return _by_id(found.values())


def is_finished(store: Store, run_fingerprint: str, cell: Cell) -> bool:
    """Whether a cell is finished now, as `finished_cells` says it of all."""
    return _item_of(store, {run_fingerprint}, cell) is not None


def _item_of(store: Store, fingerprints: Container[str], cell: Cell) -> dict[str, Any] | None:
    item = cell_key(cell.tile.name, cell.id, ITEM)
    if not store.exists(item):  # most often, and cheaper than a listing
        return None
    return next(_committed(store, fingerprints, item.removesuffix(f"/{ITEM}")), None)


def _committed(store: Store, fingerprints: Container[str], folder: str) -> Iterator[dict[str, Any]]:
    for _, item in _read(store, fingerprints, store.sizes(folder), {}, {}):
        yield item


def _all_committed(
    store: Store, fingerprints: Container[str], index: str
) -> Iterator[dict[str, Any]]:
    """Those of all cells; `index` is the fingerprint of the run whose index may have them."""
    sizes, tags = store.sizes_and_tags(CELLS)
    for _, item in _read(store, fingerprints, sizes, tags, read_index(store, index)):
        yield item


def _read(
    store: Store,
    fingerprints: Container[str],
    sizes: Mapping[str, int],
    tags: Mapping[str, str],
    indexed: Mapping[str, IndexedItem],
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items of the cells that are whole in a listing, by key; those in the index first."""
    keys = {key for key in sizes if key.endswith(f"/{ITEM}")}
    known = {key for key in keys & indexed.keys() if tags.get(key) == indexed[key][0]}
    there: Iterator[tuple[str, Any]] = ((key, indexed[key][1]) for key in known)
    for key, found in chain(there, store.read_many(sorted(keys - known))):
        try:
            item: dict[str, Any] = parse_json(found) if isinstance(found, bytes) else found
            ours = item["properties"][f"{PREFIX}fingerprint"] in fingerprints
            checked_report(item, key)
            whole = all(
                sizes.get(key.replace(ITEM, asset["href"].removeprefix("./"))) == asset["file:size"]
                for asset in item["assets"].values()
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # not ours, or damaged by another: the cell is made again
        if ours and whole:
            yield key, _brief(item)


def _brief(item: dict[str, Any]) -> dict[str, Any]:
    """A cell's item with what publication and statistics need: a fifth of its memory."""
    properties = {
        sys.intern(name): sys.intern(value) if isinstance(value, str) else value
        for name, value in item["properties"].items()
        if name not in _COMMON_PROPERTIES
    }
    assets = {
        sys.intern(name): {
            sys.intern(key): value for key, value in asset.items() if key not in _OF_RASTER
        }
        for name, asset in item["assets"].items()
    }
    return {
        "id": item["id"],
        "bbox": item["bbox"],
        "properties": properties,
        "assets": assets,
    }
