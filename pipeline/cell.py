"""One cell, whole: the Dask tasks that lead from its items to its committed files.

A month without observations is filled by the median of all the year's dates, so a task reads
one band's whole year in one source block rather than one month of every band. That is about
130 MB at 60 dates, whatever the cell's size; each source block is decoded once; and bands of
20 m are composited at 20 m. Geometric medians need all bands of a date at once: there a task
reads a month in a block of 2048 pixels, and gaps are filled from the months. Tasks are plain
functions from arrays to arrays, so that workers with and without a GPU can share a cell.
"""

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache

import dask
import numpy as np
import torch
from dask.delayed import Delayed, delayed

from models.checkpoint import Checkpoint, load_checkpoint
from models.errors import CheckpointError
from pipeline.cell_report import CellReport, Observed
from pipeline.classify import classify
from pipeline.clear_mask import ClearMask
from pipeline.composite import MONTHS
from pipeline.cube import Block, band_resolution, block_windows, reaching, substituted
from pipeline.embed import SeriesBlock, batches_of, device_at_hand, embed_pixels
from pipeline.faults import Fault
from pipeline.grid import PIXEL, SOURCE_BLOCK, Cell, owned_pixels, region_near
from pipeline.item import Item
from pipeline.observe import BandSeries, read_clear, read_series
from pipeline.observe_month import read_month, series_of_months
from pipeline.product import NODATA_CLASS, NODATA_CONFIDENCE, commit_cell
from pipeline.run import Run

# A process's blocks take turns on its GPU; on the CPU each thread encodes its own.
_GPU_TURN = threading.Lock()


@dataclass(frozen=True)
class BlockMap:
    """The classes of a block: class value uint8/uint16 and confidence uint8, both (y, x).

    `seconds` is the time of encoding and classifying; `read` what is known of the series it was
    made of, by band and place (bands of 20 m are shared by several blocks).
    """

    block: Block
    classes: np.ndarray
    confidence: np.ndarray
    seconds: Mapping[str, float]
    read: Mapping[str, "SeriesNotes"]


@dataclass(frozen=True)
class SeriesNotes:
    """What remains of a `BandSeries` when its pixels are encoded."""

    faults: tuple[Fault, ...]
    read_seconds: float
    composite_seconds: float
    retries: int


def cell_graph(cell: Cell, items: Sequence[Item], run: Run, *, gpu: bool = False) -> Delayed:
    """The lazy work of a cell; computing it commits the cell and gives its CellReport.

    `items` are those of the cell's tile, by time; those that do not reach into it are left out.
    With `gpu`, encoding is kept for workers that offer the resource "GPU".
    """
    bands = run.card.preprocessing.bands
    chosen = tuple(substituted(reaching(items, cell), run.settings.reading.substitute))
    shared_items = delayed(chosen, traverse=False)
    # A continent's outline is left out of what travels to the workers.
    run = replace(run, region=region_near(cell.tile, run.region))
    shared_run = delayed(run, traverse=False)
    settings = run.reader_settings
    clear = delayed(read_clear)(shared_items, cell, run.masking, settings)
    owned = delayed(owned_pixels)(cell, run.region)

    def medians(block: Block, of_20m: bool) -> dict[str, Delayed]:
        return {
            band: delayed(read_series)(shared_items, band, cell, block, clear, settings)
            for band in bands
            if (band_resolution(chosen, band) > PIXEL) == of_20m
        }

    def geometric_medians(block: Block) -> dict[str, Delayed]:
        months = [
            delayed(read_month)(shared_items, bands, cell, block, clear, month, settings)
            for month in range(MONTHS)
        ]
        series = delayed(series_of_months, nout=len(bands))(*months)
        return dict(zip(bands, series, strict=True))

    geometric = run.settings.reading.composite == "geometric-median"
    around = {
        block: geometric_medians(block) if geometric else medians(block, True)
        for block in block_windows(cell, 2 * SOURCE_BLOCK)
    }
    maps = []
    for block in block_windows(cell, SOURCE_BLOCK):
        outer, coarse = next((b, parts) for b, parts in around.items() if _contains(b, block))
        fine = {} if geometric else medians(block, False)
        parts = [fine.get(band, coarse.get(band)) for band in bands]
        places = [block if band in fine else outer for band in bands]
        with dask.annotate(**({"resources": {"GPU": 1}} if gpu else {})):
            # Each part an argument of its own: a list of them would all be annotated, too.
            maps.append(delayed(map_block)(block, places, owned, shared_run, *parts))
    return delayed(commit)(cell, shared_run, clear, *maps)


def map_block(
    block: Block, places: Sequence[Block], owned: np.ndarray, run: Run, *parts: BandSeries
) -> BlockMap:
    """Encode and classify a block's pixels.

    `parts` are the series of the checkpoint's bands, in its order, each of the part of the cell
    that `places` says; `owned` is bool (y, x) of the whole cell.
    """
    checkpoint = _checkpoint(run.checkpoint, run.checkpoint_fingerprint)
    series = SeriesBlock(
        tuple(_cut(part, place, block) for part, place in zip(parts, places, strict=True)),
        (block.height, block.width),
    )
    classes = np.full(series.shape, NODATA_CLASS, run.vocabulary.dtype)
    confidence = np.full(series.shape, NODATA_CONFIDENCE, np.uint8)
    values = np.array([entry.value for entry in run.vocabulary.classes], run.vocabulary.dtype)
    device = device_at_hand()
    turn = _GPU_TURN if device.type == "cuda" else nullcontext()
    # Dask's threads share the cores already; torch's own would wait for one another.
    torch.set_num_threads(1)
    text = torch.from_numpy(run.text).to(device)
    wanted = owned[block.slices()]
    encoding = classifying = 0.0
    began = time.perf_counter()
    for rows, columns, pixels in batches_of(series, wanted, run.settings.batch_size):
        encoding += time.perf_counter() - began
        with turn:
            began = time.perf_counter()
            embeddings = embed_pixels(pixels, checkpoint, device)
            encoded = time.perf_counter()
            index, percent = classify(embeddings, text, run.card.logit_scale)
            ended = time.perf_counter()
        classes[rows, columns] = values[index]
        confidence[rows, columns] = percent
        encoding += encoded - began
        classifying += ended - encoded
        began = time.perf_counter()
    return BlockMap(
        block,
        classes,
        confidence,
        {"encode": encoding, "classify": classifying},
        {f"{b}": _notes(p) for b, p in _named(run.card.preprocessing.bands, places, parts)},
    )


def commit(cell: Cell, run: Run, clear: ClearMask, *maps: BlockMap) -> CellReport:
    """Put the blocks together and write the cell's files; its item comes last."""
    classes = np.full(cell.shape, NODATA_CLASS, run.vocabulary.dtype)
    confidence = np.full(cell.shape, NODATA_CONFIDENCE, np.uint8)
    notes: dict[str, SeriesNotes] = {}
    for part in maps:
        classes[part.block.slices()] = part.classes
        confidence[part.block.slices()] = part.confidence
        notes |= part.read
    faults = [*clear.faults, *(fault for note in notes.values() for fault in note.faults)]
    seconds = {
        "read": clear.read_seconds + sum(note.read_seconds for note in notes.values()),
        "composite": sum(note.composite_seconds for note in notes.values()),
        "encode": sum(part.seconds["encode"] for part in maps),
        "classify": sum(part.seconds["classify"] for part in maps),
    }
    return commit_cell(
        run.store,
        run.manifest,
        cell,
        classes,
        confidence,
        run.vocabulary,
        seconds=seconds,
        observed=Observed(
            counts=clear.monthly_counts,
            resolution=clear.resolution,
            shown=clear.acquisitions,
            read=clear.clear_acquisitions,
            retries=clear.retries + sum(note.retries for note in notes.values()),
        ),
        faults=_unique(faults),
    )


@lru_cache(maxsize=2)
def _checkpoint(path: str, fingerprint: str) -> Checkpoint:
    """The checkpoint in this process; it must still be the one that the run began with."""
    checkpoint = load_checkpoint(path)
    if checkpoint.fingerprint != fingerprint:
        raise CheckpointError(
            path,
            "it is not the checkpoint that the run began with",
            "Put that one back, or map into another folder",
        )
    return checkpoint


def _contains(outer: Block, inner: Block) -> bool:
    return (
        outer.row <= inner.row < outer.row + outer.height
        and outer.column <= inner.column < outer.column + outer.width
    )


def _cut(part: BandSeries, place: Block, block: Block) -> np.ndarray:
    """The part of a series that belongs to `block`; the series covers `place`."""
    n = part.resolution // 10
    row, column = (block.row - place.row) // n, (block.column - place.column) // n
    return part.series[:, row : row + block.height // n, column : column + block.width // n]


def _named(
    bands: Sequence[str], places: Sequence[Block], parts: Sequence[BandSeries]
) -> Iterable[tuple[str, BandSeries]]:
    for band, place, part in zip(bands, places, parts, strict=True):
        yield f"{band} at {place.row}, {place.column}", part


def _notes(part: BandSeries) -> SeriesNotes:
    return SeriesNotes(part.faults, part.read_seconds, part.composite_seconds, part.retries)


def _unique(faults: Iterable[Fault]) -> list[dict[str, str]]:
    """A raster that failed in several blocks is one fault."""
    return [
        {"asset": fault.asset, "band": fault.band, "reason": fault.reason}
        for fault in dict.fromkeys(faults)
    ]
