"""A small finished run with all that a run's folder may hold, made by the run's own writers."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.towers.text_embeddings import TextEmbeddings
from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item_snapshot import make_snapshot
from pipeline.classification.embedding_files import write_embeddings
from pipeline.classification.other_land import OtherLand
from pipeline.grid.cell_blocks import block_windows
from pipeline.grid.cells import Cell, cells_of, tiles_of
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.layout import ITEMS_FILE, TEXT_FILE, VOCABULARY_FILE
from pipeline.mapping.plan_geojson import CELLS_KEY, CellPlan, cell_feature
from pipeline.mapping.run import Run
from pipeline.product.cell_commit import commit_cell
from pipeline.product.example_report import ExampleReport
from pipeline.product.ledger import (
    open_run,
    read_run,
    record_failure,
    write_collection,
)
from pipeline.product.manifest import RunManifest
from pipeline.raster.access import OPEN
from pipeline.raster.read_stats import ReadStats
from pipeline.settings.map import make_settings
from tests.pipeline.made_run import FAULT, VOCABULARY, cell_rasters, result_of
from tests.stac_items import earth_search_item

REGION = "5.9000,49.7000,5.9180,49.7008"
DIM = 6
_FINGERPRINT, _FOLDER = b"{fingerprint of the run}", b"{folder of the run}"


@dataclass(frozen=True)
class KeptRun:
    """A folder with a run that kept embeddings, and its cells."""

    folder: Path
    manifest: RunManifest
    cells: tuple[Cell, ...]

    def kept(self, content: bytes) -> bytes:
        """A file's bytes as the corpus keeps them, where fingerprint and folder are others."""
        named = content.replace(self.manifest.fingerprint.encode(), _FINGERPRINT)
        return named.replace(self._written_to.encode(), _FOLDER)

    def restored(self, content: bytes) -> bytes:
        """The inverse of `kept`."""
        named = content.replace(_FINGERPRINT, self.manifest.fingerprint.encode())
        return named.replace(_FOLDER, self._written_to.encode())

    @property
    def _written_to(self) -> str:
        return str(self.manifest.settings["out"])


def make_kept_run(folder: Path) -> None:
    """Write a run of a few cells, one of which failed, with embeddings of `DIM` dimensions."""
    store = Store(str(folder))
    settings = make_settings(
        {"region": REGION, "year": 2021, "out": str(folder), "checkpoint": "sample",
         "classes": "wheat field, maize field, leafy forest, lake, town", "keep_embeddings": True}
    )  # fmt: skip
    parts = {"year": 2021, "checkpoint": "sample abc", "keep_embeddings": True, "steps": 12}
    cells = _cells()
    run = open_run(store, parts, settings.model_dump(mode="json"), _planned(cells))
    draw = np.random.default_rng(1)
    for number, cell in enumerate(cells):
        if number == len(cells) - 1:
            record_failure(store, cell, ValueError("no reason"))
            continue
        classes, confidence = cell_rasters(cell, REGION)
        assets = []
        for block in block_windows(cell, 64):
            shape = (block.height, block.width, DIM)
            stored = draw.integers(-127, 128, shape).astype(np.int8)
            assets.append(write_embeddings(store, run, VOCABULARY, cell, block, stored))
        stats = ReadStats((FAULT,), retries=1, seconds={"read": 1.5})
        result = result_of(cell, classes, confidence, 30, stats=stats, embeddings=tuple(assets))
        commit_cell(store, run, cell, VOCABULARY, result)
    ExampleReport(run.fingerprint, "cover", {"town": 3}, 3, 0, 0, 0, 1.0, 3.0, 1.0, 3, 0.5, 0.6
                  ).write(store)  # fmt: skip
    items = [json.loads(path.read_bytes()) for path in folder.glob("cells/*/*/item.json")]
    write_collection(store, run, items, VOCABULARY)


def opened(folder: Path) -> KeptRun:
    """The run that `make_kept_run` has written."""
    return KeptRun(folder, read_run(Store(str(folder))), _cells())


def _cells() -> tuple[Cell, ...]:
    region = read_region(REGION)
    return tuple(cell for tile in tiles_of(region) for cell in cells_of(tile, region, 64))


def _planned(cells: tuple[Cell, ...]) -> dict[str, bytes]:
    """The files that are written before a run's first cell."""
    features = [cell_feature(CellPlan(cell, 100, 1)) for cell in cells]
    plan = json.dumps({"type": "FeatureCollection", "features": features})
    return {
        CELLS_KEY: plan.encode(),
        ITEMS_FILE: make_snapshot([earth_search_item("31UGR")], CatalogDescription(url="a")),
        VOCABULARY_FILE: VOCABULARY.model_dump_json().encode(),
        TEXT_FILE: save(text_embeddings().tensors()),
    }


def text_embeddings() -> TextEmbeddings:
    """Text embeddings of the run's classes, of `DIM` dimensions."""
    vectors = np.random.default_rng(2).standard_normal((len(VOCABULARY.classes), DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return TextEmbeddings.of_classes(vectors.astype(np.float32), np.empty((0, DIM), np.float32))


@cache
def _checkpoint() -> Checkpoint:
    return load_checkpoint("sample")


def classifying(source: Path, out: Path) -> Run:
    """A run that classifies the embeddings in the folder `source`."""
    settings = make_settings(
        {"region": REGION, "year": 2021, "out": str(out), "checkpoint": "sample",
         "classes": "wheat field, maize field, leafy forest, lake, town",
         "embeddings": str(source), "top_k": 2}
    )  # fmt: skip
    store, checkpoint, text = Store(str(out)), _checkpoint(), text_embeddings()
    return Run(
        settings=settings,
        store=store,
        plan_hash="plan",
        source=read_run(Store(str(source))).fingerprint,
        region=read_region(REGION),
        manifest=open_run(store, {"embeddings": True}, settings.model_dump(mode="json")),
        checkpoint="sample",
        checkpoint_fingerprint=checkpoint.fingerprint,
        card=checkpoint.card,
        vocabulary=VOCABULARY,
        text=text,
        other_land=OtherLand(("other",), text.members[-1:], np.zeros(1, np.int64)),
        training_sample=None,
        access=OPEN,
    )
