"""The classification of a cell from the embeddings that another run kept, without reading it."""

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from models.encoder.inference import device_at_hand, one_core_per_thread
from models.encoder.training_sample import TrainingDistance
from models.files.json_text import parse_json
from pipeline.classification.classify import Classifier
from pipeline.classification.embedding_files import (
    embedding_blocks,
    embedding_rows,
    read_clear_counts,
    read_embeddings,
)
from pipeline.classification.other_land import OtherLandFinder
from pipeline.errors import OutputError
from pipeline.grid.cells import Cell
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEM, cell_key
from pipeline.mapping.cell_mask import masked_counts, masked_pixels
from pipeline.mapping.cell_rasters import blank_rasters, cell_rasters
from pipeline.mapping.run import Run
from pipeline.product.cell_commit import commit_cell
from pipeline.product.cell_item_check import checked_report
from pipeline.product.cell_report import PREFIX, CellReport, CellResult
from pipeline.product.layers import CLASS, CLEAR_OBSERVATIONS, EMBEDDINGS, UNLIKE_TRAINING


def reclassify_cell(cell: Cell, run: Run) -> CellReport:
    """Classify the embeddings that the run `settings.embeddings` kept of a cell; commit the cell.

    Raises OutputError as `classified_cell`, OutputUnwritable where the folder takes no file.
    """
    result = classified_cell(cell, run)
    return commit_cell(run.store, run.manifest, cell, run.vocabulary, result)


def classified_cell(cell: Cell, run: Run) -> CellResult:
    """The classes of a cell, from the embeddings that the run `settings.embeddings` kept of it.

    The facts of the cell's observations are those of that run. Raises OutputError where that run
    has not finished the cell, kept no embeddings of it, or is another by now.
    """
    began = time.perf_counter()
    source = Store(str(run.settings.embeddings))
    item = _item(source, cell, run)
    classifier = run.classifier(device_at_hand())
    finder = run.other_land_finder(classifier)
    other_land: Counter[tuple[int, str]] | None = None if finder is None else Counter()
    mask = masked_pixels(cell, run)
    reading = 0.0
    one_core_per_thread()
    blocks = []
    for block, name in embedding_blocks(item):
        start = time.perf_counter()
        key = cell_key(cell.tile.name, cell.id, name)
        stored = read_embeddings(source, key, block, run.text.members.shape[1])
        if mask is not None:
            stored[:, ~mask.inside[block.slices()]] = EMBEDDINGS.nodata
        reading += time.perf_counter() - start
        blocks.append((block, classify_stored(stored, classifier, run, finder, other_land)))
    report = CellReport.from_item(item)
    counts = cell_key(cell.tile.name, cell.id, CLEAR_OBSERVATIONS.file)
    rasters = cell_rasters(run, cell, blocks, read_clear_counts(source, counts, cell))
    spent = time.perf_counter() - began
    return CellResult(
        rasters=rasters,
        acquisitions=report.acquisitions,
        observations=report.observations,
        stats=replace(report.stats, seconds={"read": reading, "classify": spent - reading}),
        invalid_embeddings=report.invalid_embeddings,
        other_land=other_land,
        masked=masked_counts(cell, run.region, mask),
    )


@torch.inference_mode()
def classify_stored(
    stored: np.ndarray,
    classifier: Classifier,
    run: Run,
    finder: OtherLandFinder | None = None,
    other_land: Counter[tuple[int, str]] | None = None,
) -> dict[str, np.ndarray]:
    """Classify the stored embeddings of a block, int8 (dim, y, x).

    What `finder` finds is added to `other_land`.

    Returns:
        (band, y, x) by the name of the layer.
    """
    rasters = blank_rasters(run, (stored.shape[1], stored.shape[2]))
    top_k, sample, device = run.settings.top_k, run.training_sample, classifier.bias.device
    distance = None if sample is None else TrainingDistance(sample, device)
    for rows, valid, embeddings in embedding_rows(stored, device):
        values = classifier.rasters(classifier.classify(embeddings, top_k), top_k)
        if distance is not None:
            values[UNLIKE_TRAINING.name] = distance.percent(embeddings).cpu().numpy()[None]
        if finder is not None and other_land is not None:
            places = finder.places(embeddings).cpu().numpy()
            other_land += finder.count(places, values[CLASS.name][0])
        for name, bands in values.items():
            rasters[name][:, rows][:, valid] = bands
    return rasters


def _item(source: Store, cell: Cell, run: Run) -> dict[str, Any]:
    key = cell_key(cell.tile.name, cell.id, ITEM)
    folder, remedy = public_url(source.path(key)), "Finish that run first, with keep_embeddings"
    try:
        item: dict[str, Any] = parse_json(source.read(key))
        checked_report(item, key)
        if tuple(item["properties"]["proj:shape"]) != cell.shape:
            raise ValueError("it is of other pixels")
    except FileNotFoundError:
        raise OutputError(folder, "the run has not finished this cell", remedy) from None
    except ValueError as error:
        raise OutputError(folder, f"the cell's item is damaged ({error})", remedy) from None
    if item["properties"].get(f"{PREFIX}fingerprint") != run.source:
        raise OutputError(folder, "the cell is not of the run that was to be classified", remedy)
    if not embedding_blocks(item):
        raise OutputError(folder, "the run kept no embeddings of this cell", remedy)
    return item
