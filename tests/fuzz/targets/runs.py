"""Folders of runs: `run.json`, plan, items of cells and failures, as commands read them."""

import json
import random
from pathlib import Path

from rich.console import Console

from flows.cli.status import read_status
from pipeline.catalog.item_snapshot import read_snapshot
from pipeline.io.store import Store
from pipeline.layout import (
    COLLECTION_FILE,
    EXAMPLES_REPORT,
    ITEM,
    ITEMS_FILE,
    RUN,
    VOCABULARY_FILE,
)
from pipeline.mapping.embedding_source import settings_from_embeddings, source_of_embeddings
from pipeline.mapping.plan_geojson import CELLS_KEY
from pipeline.product.cell_report import class_hectares
from pipeline.product.committed_cells import finished_items
from pipeline.product.example_report import read_example_report
from pipeline.product.ledger import held_run, open_run, write_collection
from pipeline.product.stac import collection
from tests.fuzz.mutate import changed_bytes, changed_document, to_json
from tests.fuzz.target import Files, Target, Wrong
from tests.fuzz.targets.made_run import VOCABULARY, make_kept_run, opened


class Runs(Target):
    """A run's folder with one file changed: its status, its continuation, its publication."""

    name = "runs"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._run = opened(seeds / "run")
        folder = self._run.folder
        items = [path.relative_to(folder).as_posix() for path in folder.rglob(ITEM)][:1]
        failures = [path.relative_to(folder).as_posix() for path in folder.glob("failures/*")]
        self._json = (RUN, RUN, CELLS_KEY, EXAMPLES_REPORT, *items, *items, *failures)
        self._bytes = (ITEMS_FILE, VOCABULARY_FILE, COLLECTION_FILE, *self._json)
        self._contents = {key: (folder / key).read_bytes() for key in self._bytes}

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        make_kept_run(folder / "run")

    def make(self, draw: random.Random) -> Files:
        if draw.random() < 0.8:
            key = draw.choice(self._json)
            document = json.loads(self._contents[key])
            return {key: to_json(changed_document(document, draw, most=3))}
        key = draw.choice(self._bytes)
        return {key: changed_bytes(self._contents[key], draw)}

    def read(self, files: Files) -> None:
        folder = self.write(files, self._run.folder)
        store = Store(str(folder))
        refused = []
        for use in (self._status, self._continue, self._classify, self._publish):
            try:
                use(store)
            except self.refusals as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def _status(self, store: Store) -> None:
        status = read_status(store.root)
        with (self.scratch / "status.txt").open("w", encoding="utf-8") as file:
            status.show(Console(file=file))
            file.write(json.dumps(status.to_dict()))
        if status.done > status.cells:
            raise Wrong(f"{status.done} cells of {status.cells} are done")

    def _continue(self, store: Store) -> None:
        held = held_run(store)
        if held is not None:
            open_run(store, dict(self._run.manifest.parts), dict(self._run.manifest.settings))

    def _classify(self, store: Store) -> None:
        settings_from_embeddings(store.root, {"out": "a", "classes": "forest, lake"})
        source = source_of_embeddings(store.root, {"year": 2021, "checkpoint": "sample abc"})
        read_snapshot(source.items, ITEMS_FILE)

    def _publish(self, store: Store) -> None:
        run = held_run(store)
        if run is None:
            return
        items = finished_items(store, run.fingerprint)
        if items:
            class_hectares(items)
            collection(run, items, VOCABULARY, read_example_report(store, run.fingerprint))
            write_collection(store, run, items, VOCABULARY)

    def kept(self, files: Files) -> Files:
        return {key: self._run.kept(content) for key, content in files.items()}

    def restored(self, files: Files) -> Files:
        return {key: self._run.restored(content) for key, content in files.items()}
