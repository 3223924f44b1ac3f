"""A run that is made of finished runs: its folder, its cells, and its publication.

Its folder is that of any run: manifest, vocabulary, cells with COGs and STAC items, mosaics. So all
that reads a run (`areas`, `sample`, `evaluate`, `export`, a GIS) reads it, too. The runs that it is
made of stay as they are.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from models.encoder.card import parse_card
from models.encoder.checkpoint_folder import CHECKPOINT_CARD, checkpoint_folder
from models.errors import CheckpointError
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError
from pipeline.grid.cells import PIXEL, Cell
from pipeline.grid.mgrs import parse_tile
from pipeline.io.fingerprint import fingerprint
from pipeline.io.store import Store, public_url
from pipeline.layout import VOCABULARY_FILE
from pipeline.mapping.plan_geojson import CELLS_KEY, CellPlan, cell_feature
from pipeline.product.cell_commit import commit_cell
from pipeline.product.cell_report import PREFIX, CellReport, CellResult, class_hectares
from pipeline.product.committed_cells import finished_ids, index_cells, mapped_items
from pipeline.product.layers import CLASS, CONFIDENCE, TOP_CLASSES, TOP_CONFIDENCES, OutputLayer
from pipeline.product.ledger import open_run, read_run, require_held, write_collection
from pipeline.product.manifest import RunManifest, run_vocabulary
from pipeline.product.mosaic import write_mosaics
from pipeline.product.ownership import claimed
from pipeline.product.preview import write_preview
from pipeline.product.qgis_project import write_project
from pipeline.product.styles import write_styles

_AT_ONCE = 2  # cells, each of which takes some hundred MB


@dataclass(frozen=True, eq=False)
class SourceRun:
    """A run that another one is made of.

    Attributes:
        store: Its folder.
        manifest: The run.
        vocabulary: Its classes.
        items: The STAC items of its finished cells.
    """

    store: Store
    manifest: RunManifest
    vocabulary: Vocabulary
    items: tuple[Mapping[str, Any], ...]

    @property
    def ranked(self) -> bool:
        """Whether it keeps the probabilities of several classes."""
        return all(TOP_CLASSES.name in item["assets"] for item in self.items)

    @property
    def rank_layers(self) -> tuple[OutputLayer, OutputLayer]:
        """The layers of the classes and of their probabilities that it keeps."""
        return (TOP_CLASSES, TOP_CONFIDENCES) if self.ranked else (CLASS, CONFIDENCE)

    @property
    def identity(self) -> dict[str, str]:
        """What is known of the run and its finished cells, for the fingerprint of the new one."""
        sizes = {str(one["id"]): one["assets"][CLASS.name]["file:size"] for one in self.items}
        cells = f"{len(sizes)} {fingerprint(sizes)[:12]}"
        return {"run": self.manifest.fingerprint, "cells": cells}


def open_source_run(folder: str) -> SourceRun:
    """Open a run with finished cells; raises OutputError where there is none."""
    store = Store(folder)
    manifest = read_run(store)
    items = tuple(mapped_items(store, manifest))
    if not items:
        raise OutputError(public_url(store.root), "no cell of this run is finished", "Map it first")
    own = f"{PREFIX}fingerprint"
    if older := [one for one in items if one["properties"][own] != manifest.fingerprint]:
        raise OutputError(
            public_url(store.root),
            f"{len(older)} of its {len(items)} cells lack what was added to the run since",
            "Finish it first, by timesen rerun",
        )
    return SourceRun(store, manifest, run_vocabulary(store, manifest), items)


def cell_of_item(item: Mapping[str, Any]) -> Cell:
    """The cell of a finished cell's STAC item, which was checked when it was read."""
    properties = item["properties"]
    tile = parse_tile(str(properties[f"{PREFIX}tile"]))
    _, row, column = str(item["id"]).rsplit("-", 2)
    height, width = properties["proj:shape"]
    _, _, left, _, _, top = properties["proj:transform"][:6]
    origin_x, origin_y = tile.grid_origin
    return Cell(
        tile,
        int(row),
        int(column),
        round((origin_y - top) / PIXEL),
        round((left - origin_x) / PIXEL),
        height,
        width,
    )


@contextmanager
def open_derived_run(
    out: str,
    sources: Sequence[SourceRun],
    derived: Mapping[str, Any],
    settings: Mapping[str, Any],
    vocabulary: Vocabulary,
    cells: Sequence[tuple[Cell, int]],
) -> Iterator[tuple[Store, RunManifest]]:
    """Begin the run in a folder, or continue the one that is there, and hold it in the block.

    Args:
        out: The folder.
        sources: The runs that it is made of; notices and facts of the images are theirs.
        derived: How it is made (`RunManifest.derived`).
        settings: The settings that differ from those of the first source.
        vocabulary: Its classes.
        cells: Its cells, each with the number of its mapped pixels.

    Raises:
        OutputError: The folder is one of the sources', holds another run or something else, or
            another process holds it.
        OutputUnwritable: The folder takes no file.
    """
    store = Store(out)
    if any(store.root.rstrip("/") == source.store.root.rstrip("/") for source in sources):
        raise OutputError(
            public_url(store.root), "this is the run itself, which stays as it is", "Name another"
        )
    first = sources[0].manifest
    parts = {
        **first.parts,
        "attributions": _joint(
            source.manifest.parts.get("attributions", [""]) for source in sources
        ),
        **({} if vocabulary is sources[0].vocabulary else {"vocabulary": vocabulary.identity}),
        "derived": {**derived, "of": [source.identity for source in sources]},
    }
    own = {"out": store.root, "keep_embeddings": False, "embeddings": None}
    features = [cell_feature(CellPlan(cell, pixels, 0)) for cell, pixels in cells]
    plan = {"type": "FeatureCollection", "features": features}
    files = {
        VOCABULARY_FILE: vocabulary.model_dump_json(indent=1).encode() + b"\n",
        CELLS_KEY: json.dumps(plan).encode() + b"\n",
    }
    with claimed(store, fingerprint(parts)):
        yield store, open_run(store, parts, {**first.settings, **own, **settings}, files)


def _joint(lists: Iterable[Sequence[str]]) -> list[str]:
    return list(dict.fromkeys(text for texts in lists for text in texts))


def make_derived_cells(
    store: Store,
    run: RunManifest,
    vocabulary: Vocabulary,
    cells: Sequence[Cell],
    make: Callable[[Cell], CellResult],
    done: Callable[[int], None] = lambda count: None,
) -> None:
    """Make and commit the cells that are not finished, a few at once.

    Args:
        store: The derived run's folder.
        run: The derived run.
        vocabulary: Its classes.
        cells: All its cells.
        make: Computes a cell; it is called from several threads.
        done: Called with the number of cells that are done.
    """
    finished = finished_ids(store, run.fingerprint)
    left = [cell for cell in cells if cell.id not in finished]

    def commit(cell: Cell) -> None:
        commit_cell(store, run, cell, vocabulary, make(cell))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for number, _ in enumerate(pool.map(commit, left), start=len(cells) - len(left) + 1):
                done(number)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else Ctrl-C would wait for all cells
            raise


def publish_derived_run(
    store: Store, run: RunManifest, vocabulary: Vocabulary, crs: str | None = None
) -> None:
    """Write the collection, styles, mosaics, QGIS project and preview of a derived run.

    `crs` is the code of the mosaics' CRS; by default that of the run's settings.
    """
    require_held(store, run)
    items = index_cells(store, run)
    write_collection(store, run, items, vocabulary)
    write_styles(store, run, vocabulary)
    code = crs or run.settings.get("crs")
    write_mosaics(store, run, items, vocabulary, code)
    write_project(store, run, items, vocabulary, code)
    hectares = class_hectares(items)
    write_preview(store, run, vocabulary, hectares, demonstration=_is_demonstration(run))


def _is_demonstration(run: RunManifest) -> bool:
    """Whether the run's checkpoint says that it is for demonstration; False where it is gone."""
    try:
        path = checkpoint_folder(str(run.settings.get("checkpoint"))) / CHECKPOINT_CARD
        return parse_card(path.read_bytes(), str(path)).demonstration
    except (CheckpointError, OSError):
        return False


def mapped_pixels(item: Mapping[str, Any]) -> int:
    """The number of pixels of a finished cell that have a class."""
    return sum(CellReport.from_item(item).pixels.values())
