"""A cell of which another run kept the embeddings: new classes without reading or encoding."""

import json
import time
from dataclasses import replace
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.io import MemoryFile

from models.encoder.inference import device_at_hand, one_core_a_thread
from pipeline.classification.classify import Answers, answers_of
from pipeline.classification.embedding_files import kept_blocks, read_embeddings, restored
from pipeline.errors import OutputError
from pipeline.grid.cells import PIXEL, Cell
from pipeline.io.store import Store, public_url
from pipeline.layout import COUNTS, ITEM, cell_key
from pipeline.mapping.prepare import Run
from pipeline.mapping.top_k import write_ranked
from pipeline.product.cell_report import CellReport, Observed
from pipeline.product.ledger import NODATA_CLASS, NODATA_CONFIDENCE, commit_cell

_ROWS = 32  # of a block that are compared at once


def answer_cell(cell: Cell, run: Run) -> CellReport:
    """Classify the embeddings that the run `settings.embeddings` kept of a cell; commit the cell.

    What is known of the cell's observations is taken over. Raises OutputError where that run has
    not finished the cell, or kept no embeddings of it.
    """
    began = time.perf_counter()
    source = Store(str(run.settings.embeddings))
    item = _item(source, cell)
    ranks = (run.settings.top_k, *cell.shape)
    classes = np.full(ranks, NODATA_CLASS, run.vocabulary.dtype)
    confidence = np.full(ranks, NODATA_CONFIDENCE, np.uint8)
    answers = answers_of(run.vocabulary, run.text, run.card.logit_scale, device_at_hand())
    reading = 0.0
    one_core_a_thread()
    for block, name in kept_blocks(item):
        start = time.perf_counter()
        stored = read_embeddings(source, cell_key(cell.tile.name, cell.id, name))
        reading += time.perf_counter() - start
        place = (slice(None), *block.slices())
        classes[place], confidence[place] = answered(stored, answers, run.settings.top_k)
    counts, resolution = _counts(source, cell, item)
    report = CellReport.from_item(item)
    spent = time.perf_counter() - began
    return commit_cell(
        run.store,
        run.manifest,
        cell,
        classes[0],
        confidence[0],
        run.vocabulary,
        stats=replace(report.stats, seconds={"read": reading, "classify": spent - reading}),
        observed=Observed(
            counts=counts,
            resolution=resolution,
            shown=report.acquisitions,
            read=report.observations,
        ),
        kept=write_ranked(run, cell, classes, confidence),
    )


@torch.inference_mode()
def answered(stored: np.ndarray, answers: Answers, most: int) -> tuple[np.ndarray, np.ndarray]:
    """What the pixels of int8 (dim, y, x) are, best first.

    Class values uint8/uint16 and confidence uint8, both (most, y, x).
    """
    dim, rows, columns = stored.shape
    classes = np.full((most, rows, columns), NODATA_CLASS, answers.values.dtype)
    confidence = np.full((most, rows, columns), NODATA_CONFIDENCE, np.uint8)
    for row in range(0, rows, _ROWS):
        part = np.ascontiguousarray(stored[:, row : row + _ROWS].reshape(dim, -1).T)
        seen = part.any(axis=1)
        embeddings = restored(torch.from_numpy(part[seen]).to(answers.text.device))
        place, share = (found.cpu().numpy().T for found in answers.of(embeddings, most))
        there = seen.reshape(-1, columns)
        classes[: len(place), row : row + _ROWS][:, there] = answers.values[place]
        confidence[: len(place), row : row + _ROWS][:, there] = share
    return classes, confidence


def _item(source: Store, cell: Cell) -> dict[str, Any]:
    key = cell_key(cell.tile.name, cell.id, ITEM)
    given, remedy = public_url(source.path(key)), "Finish that run first, with keep_embeddings"
    try:
        item: dict[str, Any] = json.loads(source.read(key))
    except FileNotFoundError:
        raise OutputError(given, "the run has not finished this cell", remedy) from None
    if not any(kept_blocks(item)):
        raise OutputError(given, "the run kept no embeddings of this cell", remedy)
    return item


def _counts(source: Store, cell: Cell, item: dict[str, Any]) -> tuple[np.ndarray, int]:
    content = source.read(cell_key(cell.tile.name, cell.id, COUNTS))
    with rasterio.Env(GDAL_NUM_THREADS="1"), MemoryFile(content) as file, file.open() as raster:
        counts: np.ndarray = raster.read()
    return counts, cell.height * PIXEL // counts.shape[1]
