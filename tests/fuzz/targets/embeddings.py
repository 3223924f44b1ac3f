"""Kept embeddings: files of blocks, and the items that name them, asked again."""

import json
import random
from pathlib import Path

import numpy as np

from pipeline.classification.similarity import (
    cell_similarities,
    embeddings_at,
    open_embedded_run,
)
from pipeline.grid.places import Places
from pipeline.layout import ITEM, cell_key
from pipeline.mapping.reclassify_cell import classified_cell
from pipeline.mapping.run import Run
from pipeline.product.layers import CLASS
from tests.fuzz.mutate import changed_bytes, changed_document, to_json
from tests.fuzz.target import Files, Target, Wrong
from tests.fuzz.targets.made_run import DIM, classifying, make_kept_run, opened
from tests.fuzz.targets.tiff_fields import changed_fields


class KeptEmbeddings(Target):
    """A run's folder, one of whose cells has another item or other embeddings."""

    name = "embeddings"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._run = opened(seeds / "run")
        self._cell = self._run.cells[0]
        place = cell_key(self._cell.tile.name, self._cell.id, "")
        self._item_key = f"{place}{ITEM}"
        self._item = json.loads((self._run.folder / self._item_key).read_bytes())
        self._tifs = {
            path.relative_to(self._run.folder).as_posix(): path.read_bytes()
            for path in sorted((self._run.folder / place).glob("*.tif"))
            if path.name.startswith(("embeddings-", "clear"))
        }
        west, south, east, north = self._cell.lonlat_bounds
        self._places = Places(np.linspace(west, east, 5)[1:4], np.linspace(south, north, 5)[1:4])
        target = np.random.default_rng(1).standard_normal(DIM).astype(np.float32)
        self._target = target / np.linalg.norm(target)
        self._classifying: Run | None = None

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        make_kept_run(folder / "run")

    def make(self, draw: random.Random) -> Files:
        kind = draw.random()
        if kind < 0.5:
            return {self._item_key: to_json(changed_document(self._item, draw, most=3))}
        key = draw.choice(list(self._tifs))
        content = self._tifs[key]
        if kind < 0.75:
            return {key: changed_fields(content, draw, list(self._tifs.values()))}
        return {key: changed_bytes(content, draw, within=draw.choice((400, None)))}

    def read(self, files: Files) -> None:
        folder = self.write(files, self._run.folder)
        refused = []
        for ask in (self._query, self._classify):
            try:
                ask(folder)
            except self.refusals as error:
                refused.append(error)
        if refused:
            raise refused[0]

    def _query(self, folder: Path) -> None:
        run = open_embedded_run(str(folder))
        found, inside = embeddings_at(run, self._places)
        if len(found) != len(self._places) or len(inside) != len(self._places):
            raise Wrong("not one embedding for each place")
        for item in run.items:
            if item["id"] == self._cell.id:
                cell_similarities(run, item, self._target)

    def _classify(self, folder: Path) -> None:
        self._classifying = self._classifying or classifying(folder, self.scratch / "out")
        result = classified_cell(self._cell, self._classifying)
        if result.rasters[CLASS.name].shape[-2:] != self._cell.shape:
            raise Wrong("a raster that is not of the cell's size")

    def kept(self, files: Files) -> Files:
        return {key: self._run.kept(content) for key, content in files.items()}

    def restored(self, files: Files) -> Files:
        return {key: self._run.restored(content) for key, content in files.items()}
