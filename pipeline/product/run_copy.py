"""A copy of a run for those who read its map, in another folder or bucket.

It has the rasters, items, mosaics, styles and pages of the run, but not what only the mapping of it
needs. A cell's item is written after its rasters, and removed before they are replaced: whoever
sees an item, sees the rasters that it describes. A cell whose item is there already is complete.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from models.files.json_text import parse_json
from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url
from pipeline.layout import (
    CELLS,
    COLLECTION_FILE,
    ITEM,
    MODEL_FILE,
    MOSAIC_PARTS,
    PLANNED_CELLS,
    PREVIEW,
    QGIS_PROJECT,
    REPORT,
    RUN,
    SANKEY_FILE,
    TRANSITIONS_FILE,
    VOCABULARY_FILE,
)
from pipeline.product.cell_copy import copy_cell, is_of_block
from pipeline.product.cell_report import PREFIX
from pipeline.product.ledger import read_run
from pipeline.product.manifest import RunManifest
from pipeline.product.qgis_project import moved_project

_AT_ONCE = 8  # cells
_OF_READERS = (".vrt", ".gti.gpkg", ".qml", ".sld", ".qgz", ".aux.xml")
"""What the names of mosaics, indexes, styles and projects in the run's folder end with."""
_FIRST = (RUN, VOCABULARY_FILE, PLANNED_CELLS)
_LAST = (PREVIEW, REPORT, TRANSITIONS_FILE, SANKEY_FILE, MODEL_FILE, COLLECTION_FILE)


@dataclass
class RunCopy:
    """What was copied.

    Attributes:
        store: Where to.
        cells: Cells that are there now.
        sent: Files that were written, and their bytes.
        removed: Cells that were removed, because the run has them no longer.
    """

    store: Store
    cells: int = 0
    sent: tuple[int, int] = (0, 0)
    removed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def count(self, size: int) -> None:
        """Count a file that was written."""
        with self._lock:
            files, total = self.sent
            self.sent = files + 1, total + size


def copy_target(source: Store, run: RunManifest, target: str) -> Store:
    """The folder or bucket that a copy of a run goes to.

    Raises:
        OutputError: It is in the run's own folder, or holds another run or something else.
        OutputUnwritable: It cannot be reached.
    """
    store = Store(target)
    here, there = f"{source.root.rstrip('/')}/", f"{store.root.rstrip('/')}/"
    place = public_url(store.root)
    if there.startswith(here) or here.startswith(there):
        raise OutputError(
            place, "this is in the run's own folder, or around it", "Name a folder beside it"
        )
    if store.is_file():
        raise OutputError(place, "this is a file, not a folder", "Name a new or an empty folder")
    if store.exists(RUN):
        if read_run(store).fingerprint not in run.fingerprints:
            raise OutputError(
                place,
                "another run is published there",
                "Name another folder or prefix, or empty this one",
            )
    elif strange := next(store.keys(), None):
        raise OutputError(
            place,
            f"it is not empty and holds no run of timesen (for one, {strange})",
            "Name a new or an empty folder or prefix",
        )
    return store


def copy_run(
    source: Store,
    items: Sequence[Mapping[str, Any]],
    target: Store,
    *,
    embeddings: bool = False,
    prune: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> RunCopy:
    """Copy a published run to a place of `copy_target`. It can be repeated, and goes on.

    A file is sent if it is not there with the same size and, for rasters, the same checksum. Of
    each of eight cells at once, 32 MiB or fewer are in memory.

    Args:
        source: The run's folder.
        items: Its finished cells, as `mapped_items` has them.
        target: Where to.
        embeddings: Whether its kept embeddings are copied, too.
        prune: Whether cells are removed that the run no longer has.
        progress: Called with the number of cells that are done, and of all.

    Raises:
        OutputError: A raster is not what its item says.
        OutputUnwritable: A place cannot be read or written.
    """
    copy = RunCopy(target)
    cells = [(str(item["properties"][f"{PREFIX}tile"]), str(item["id"])) for item in items]
    listed = source.sizes()
    root = [key for key in listed if key.endswith(_OF_READERS) and _is_of_map(key)]
    here: dict[str, dict[str, int]] = {}
    for key, size in listed.items():
        here.setdefault(key.rpartition("/")[0], {})[key] = size
    del listed
    _copy_small(source, copy, _FIRST)
    there = target.sizes(CELLS)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        work = [
            pool.submit(
                copy_cell,
                source,
                target,
                cell,
                here.get(f"{CELLS}/{'/'.join(cell)}", {}),
                there,
                copy.count,
                embeddings=embeddings,
            )
            for cell in cells
        ]
        try:
            for one in work:
                one.result()
                copy.cells += 1
                progress(copy.cells, len(cells))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    _copy_small(source, copy, [*root, *_LAST], embeddings=embeddings)
    target.remove_abandoned_parts()  # of a copy that was killed
    if prune:
        _remove_others(copy, there, {f"{CELLS}/{tile}/{cell}" for tile, cell in cells})
    return copy


def _is_of_map(key: str) -> bool:
    """Whether a key is one of the whole map: in the run's folder itself, or a part of a mosaic."""
    return "/" not in key or key.startswith(f"{MOSAIC_PARTS}/")


def _copy_small(
    source: Store, copy: RunCopy, keys: Sequence[str], *, embeddings: bool = False
) -> None:
    """Copy files of the whole run that are there, and other than those at the target."""
    for key, content in source.read_many(keys):
        if key == COLLECTION_FILE and not embeddings:
            content = _without_embeddings(content)
        if key == QGIS_PROJECT:
            content = moved_project(content, source, copy.store)
        if dict(copy.store.read_many([key])).get(key) != content:
            copy.store.write(key, content)
            copy.count(len(content))


def _without_embeddings(content: bytes) -> bytes:
    """The collection without the assets of embeddings."""
    document = parse_json(content)
    described = document.get("item_assets", {})
    kept = {key: value for key, value in described.items() if not is_of_block(key)}
    if len(kept) == len(described):
        return content
    return (
        json.dumps({**document, "item_assets": kept}, indent=1, ensure_ascii=False) + "\n"
    ).encode()


def _remove_others(copy: RunCopy, there: Mapping[str, int], folders: set[str]) -> None:
    """Remove the cells of other folders, each item first."""
    others = [key for key in there if key.rpartition("/")[0] not in folders]
    for key in sorted(others, key=lambda key: not key.endswith(f"/{ITEM}")):
        copy.store.remove(key)
    copy.removed = len({key.rpartition("/")[0] for key in others})
