"""Smoothed runs: a run whose classes are those of another one, smoothed across all seams."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.derived.derived_run import (
    SourceRun,
    cell_of_item,
    make_derived_cells,
    mapped_pixels,
    open_derived_run,
    publish_derived_run,
)
from pipeline.derived.lattice import CellLattice
from pipeline.derived.smoothing import BayesianSmoothing, SmoothedPixels, Smoothing
from pipeline.errors import OutputError
from pipeline.grid.cells import Cell
from pipeline.io.store import Store, public_url
from pipeline.product.cell_report import CellReport, CellResult
from pipeline.product.layers import (
    CLASS,
    CLEAR_MONTHS,
    CLEAR_OBSERVATIONS,
    CONFIDENCE,
    NODATA_CLASS,
    NODATA_CONFIDENCE,
    TOP_CLASSES,
    TOP_CONFIDENCES,
    TRUE_COLOUR,
    UNLIKE_TRAINING,
)
from pipeline.product.rank_shares import rank_shares
from pipeline.product.read_layer import read_layer

_CARRIED = (CLEAR_OBSERVATIONS, CLEAR_MONTHS, TRUE_COLOUR, UNLIKE_TRAINING)


def smooth_run(
    source: SourceRun,
    method: Smoothing,
    out: str,
    done: Callable[[int], None] = lambda count: None,
) -> Store:
    """Make a smoothed run of a run, in a folder of its own; gives the folder.

    Each pixel that has a class keeps having one, and no other pixel gets one. Started again, it
    goes on with the cells that are left.

    Args:
        source: The raw run, which stays as it is.
        method: How it is smoothed.
        out: The new run's folder.
        done: Called with the number of cells that are done.

    Raises:
        OutputError: The folder cannot take the run, or the raw run has not what the method needs.
        OutputUnreadable: A raster of the raw run cannot be read.
        OutputUnwritable: The folder takes no file.
    """
    if source.manifest.derived_kind == "change":
        raise OutputError(
            public_url(source.store.root), "a map of changes is not smoothed", "Smooth both maps"
        )
    require_probabilities(source, method)
    by_cell = {cell_of_item(item): item for item in source.items}
    bayes = isinstance(method, BayesianSmoothing)
    top_k = int(source.manifest.settings.get("top_k", 1)) if bayes else 1
    before = str(source.manifest.derived.get("sentence", ""))  # of a run that is smoothed already
    sentence = f"{before} {method.sentence}".strip()
    derived = {"kind": "smoothing", "sentence": sentence, **method.facts}
    if not bayes:
        text = (
            "The probability of the class shown at the pixel itself, before its neighbours counted"
        )
        derived["layers"] = {CONFIDENCE.name: [CONFIDENCE.title, text]}
    settings = {"top_k": top_k, "smoothed": public_url(source.store.root)}
    cells = [(cell, mapped_pixels(item)) for cell, item in by_cell.items()]
    lattice = CellLattice(source.store, source.items)

    def make(cell: Cell) -> CellResult:
        return smoothed_cell(source, lattice, by_cell[cell], method, top_k)

    with open_derived_run(out, [source], derived, settings, source.vocabulary, cells) as opened:
        store, run = opened
        make_derived_cells(store, run, source.vocabulary, list(by_cell), make, done)
        publish_derived_run(store, run, source.vocabulary)
    return store


def require_probabilities(source: SourceRun, method: Smoothing) -> None:
    """Raise OutputError where a method needs more probabilities than a run keeps.

    Of two classes, the confidence of one tells that of the other.
    """
    if not isinstance(method, BayesianSmoothing) or len(source.vocabulary.legend) == 2:
        return
    if not source.ranked:
        raise OutputError(
            public_url(source.store.root),
            "Bayesian smoothing needs the probabilities of several classes, and this run keeps "
            "only that of the class shown",
            "Map with --top-k 8, or make such a run of kept embeddings by timesen classify",
        )


def smoothed_cell(
    source: SourceRun,
    lattice: CellLattice,
    item: Mapping[str, Any],
    method: Smoothing,
    top_k: int,
) -> CellResult:
    """Smooth a cell, with the pixels around it.

    Args:
        source: The raw run.
        lattice: Its cells.
        item: The cell's STAC item.
        method: How it is smoothed.
        top_k: The ranks that are written.

    Raises OutputUnreadable where a raster cannot be read.
    """
    began = time.perf_counter()
    found = lattice.around(item, method.halo, source.rank_layers)
    classes, percents = (found[layer.name] for layer in source.rank_layers)
    ranks = rank_shares(classes, percents, source.vocabulary.none_value)
    # The window has pixels of another zone also within the cell's rectangle: not those are its own.
    there = read_layer(source.store, item, CLASS)[0] != NODATA_CLASS
    smoothed = method.smooth(ranks, source.vocabulary, top_k)
    rasters = _rasters(smoothed, there, source.vocabulary.dtype, top_k)
    for layer in _CARRIED:
        if layer.name in item["assets"]:
            rasters[layer.name] = read_layer(source.store, item, layer)
    # Early versions did not map it: then nothing is known of it.
    unknown = np.full(there.shape, CLEAR_MONTHS.nodata, np.uint8)
    rasters.setdefault(CLEAR_MONTHS.name, unknown)
    report = CellReport.from_item(item)
    spent = {"smooth": time.perf_counter() - began}
    return CellResult(
        rasters=rasters,
        acquisitions=report.acquisitions,
        observations=report.observations,
        stats=replace(report.stats, seconds=spent),
        invalid_embeddings=report.invalid_embeddings,
        masked=report.masked,
    )


def _rasters(
    smoothed: SmoothedPixels, there: np.ndarray, dtype: np.dtype, top_k: int
) -> dict[str, np.ndarray]:
    """The rasters of classes and confidence: (band, y, x) by the name of the layer."""
    classes = np.full((top_k, *there.shape), NODATA_CLASS, dtype)
    percents = np.full(classes.shape, NODATA_CONFIDENCE, np.uint8)
    ranks = len(smoothed.classes)
    classes[:ranks] = np.where(there, smoothed.classes, NODATA_CLASS)
    rounded = np.rint(100 * np.nan_to_num(smoothed.shares)).clip(0, 100)
    percents[:ranks] = np.where(there, rounded, NODATA_CONFIDENCE)
    rasters = {CLASS.name: classes[:1], CONFIDENCE.name: percents[:1]}
    if top_k > 1:
        margin = percents[:1].astype(np.int16) - np.where(percents[1:2] > 100, 0, percents[1:2])
        margin = np.where(there, np.maximum(margin, 0), NODATA_CONFIDENCE).astype(np.uint8)
        rasters[TOP_CLASSES.name] = classes
        rasters[TOP_CONFIDENCES.name] = np.concatenate([percents, margin])
    return rasters
