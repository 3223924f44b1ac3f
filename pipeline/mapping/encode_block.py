"""The Dask task that encodes and classifies the pixels of a block."""

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from models.encoder.checkpoint import load_checkpoint
from models.encoder.gpu_transfers import to_host
from models.encoder.inference import (
    DeviceClock,
    Mark,
    PixelEncoder,
    device_at_hand,
    one_core_per_thread,
)
from models.encoder.quantised_embeddings import quantised
from models.encoder.training_sample import TrainingDistance
from models.errors import CheckpointError
from pipeline.classification.classify import Classifier, PixelClasses
from pipeline.classification.embedding_files import write_embeddings
from pipeline.classification.other_land import OtherLandFinder
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.mapping.cell_rasters import blank_rasters
from pipeline.mapping.run import Run
from pipeline.observations.read_band import BandSeries
from pipeline.observations.series_block import SeriesBlock, batches_of, batches_on_device
from pipeline.observations.true_colour import TRUE_COLOUR_BANDS, block_true_colour
from pipeline.product.layers import CLASS, NODATA_CLASS, UNLIKE_TRAINING
from pipeline.raster.read_stats import ReadStats
from pipeline.settings.map import MapSettings

# The blocks of a process take turns on its GPU; on the CPU each thread encodes its own block.
_GPU_TURN = threading.Lock()


@dataclass(frozen=True)
class BlockMap:
    """The map of a block.

    Attributes:
        block: The part of the cell.
        rasters: (band, y, x) by the name of the layer.
        stats: The time of encoding, classifying and writing.
        read: The facts of reading, by band and place: blocks share bands of 20 m.
        invalid_embeddings: Pixels whose embedding is not a number; they are nodata.
        embeddings: The STAC asset of its file of embeddings, if they are kept.
        other_land: Pixels of other land than the map's words, by value and name of the land; None
            where they leave nothing out.
        true_colour: uint8 (3, y, x), its part of the cell's true-colour raster; None where the
            checkpoint lacks a band of it.
    """

    block: Block
    rasters: Mapping[str, np.ndarray]
    stats: ReadStats
    read: Mapping[str, ReadStats]
    invalid_embeddings: int
    embeddings: Mapping[str, Any] | None = None
    other_land: Counter[tuple[int, str]] | None = None
    true_colour: np.ndarray | None = None


def map_block(
    block: Block,
    places: Sequence[Block],
    owned: np.ndarray,
    cell: Cell,
    run: Run,
    *parts: BandSeries,
) -> BlockMap:
    """Encode and classify a block's pixels; write their embeddings, if they are kept.

    Args:
        block: The part of the cell.
        places: The part of the cell that each of `parts` covers; it contains the block.
        owned: bool (y, x), the pixels that the run maps of the whole cell.
        cell: The cell.
        run: The run.
        *parts: The series of the checkpoint's bands, in its order.
    """
    began = time.perf_counter()
    encoder = _encoder(run.checkpoint, run.checkpoint_fingerprint, run.settings.batch_size)
    series = SeriesBlock(
        tuple(_cut(part, place, block) for part, place in zip(parts, places, strict=True)),
        (block.height, block.width),
        run.reading.optional,
    )
    rasters = blank_rasters(run, series.shape)
    classifier = run.classifier(encoder.device)
    settings, sample = run.settings, run.training_sample
    distance = None if sample is None else TrainingDistance(sample, encoder.device)
    finder = run.other_land_finder(classifier)
    other_land: Counter[tuple[int, str]] | None = None if finder is None else Counter()
    dim = run.card.architecture.embedding_dim if settings.keep_embeddings else 0
    embeddings = np.zeros((*series.shape, dim), np.int8)
    invalid, encoding, classifying = 0, 0.0, 0.0
    for batch in _one_behind(
        _begun(series, owned[block.slices()], encoder, classifier, distance, finder, settings)
    ):
        encoding += DeviceClock.seconds(batch.start, batch.encoded)
        classifying += DeviceClock.seconds(batch.encoded, batch.end)
        values = classifier.rasters(batch.classes, settings.top_k)
        if batch.unlike is not None:
            values[UNLIKE_TRAINING.name] = batch.unlike.numpy()[None]
        for name, bands in values.items():
            rasters[name][:, batch.rows, batch.columns] = bands
        if finder is not None and other_land is not None and batch.other is not None:
            other_land += finder.count(batch.other.numpy(), values[CLASS.name][0])
        invalid += int(np.count_nonzero(values[CLASS.name] == NODATA_CLASS))
        if batch.stored is not None:
            embeddings[batch.rows, batch.columns] = batch.stored.numpy()
    # The device's own times. "prepare" is the time in which this thread did not wait for them.
    prepared = max(0.0, time.perf_counter() - began - encoding - classifying)
    seconds = {"prepare": prepared, "encode": encoding, "classify": classifying}
    kept = None
    if settings.keep_embeddings:
        start = time.perf_counter()
        kept = write_embeddings(run.store, run.manifest, run.vocabulary, cell, block, embeddings)
        seconds["write"] = time.perf_counter() - start
    read = {
        f"{band} at {place.row}, {place.column}": part.stats
        for band, place, part in zip(run.card.preprocessing.bands, places, parts, strict=True)
    }
    stats, picture = ReadStats(seconds=seconds), _true_colour(series, block, cell, owned, run)
    return BlockMap(block, rasters, stats, read, invalid, kept, other_land, picture)


def _true_colour(
    series: SeriesBlock, block: Block, cell: Cell, owned: np.ndarray, run: Run
) -> np.ndarray | None:
    of_band = dict(zip(run.card.preprocessing.bands, series.bands, strict=True))
    if not of_band.keys() >= {*TRUE_COLOUR_BANDS}:
        return None
    return block_true_colour(block, cell, [of_band[band] for band in TRUE_COLOUR_BANDS], owned)


@dataclass(frozen=True)
class _Batch:
    """A batch that a device works on: its pixels, its results, and marks of the device's clock.

    The results are on the host, and whole once the device has passed `end`.
    """

    rows: np.ndarray
    columns: np.ndarray
    classes: PixelClasses
    unlike: torch.Tensor | None
    other: torch.Tensor | None
    stored: torch.Tensor | None
    start: Mark
    encoded: Mark
    end: Mark


def _begun(
    series: SeriesBlock,
    wanted: np.ndarray,
    encoder: PixelEncoder,
    classifier: Classifier,
    distance: TrainingDistance | None,
    finder: OtherLandFinder | None,
    settings: MapSettings,
) -> Iterator[_Batch]:
    """Give each batch as soon as the device has begun it."""
    device = encoder.device
    batches: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | torch.Tensor]]
    if device.type == "cuda":
        turn: AbstractContextManager[object] = _GPU_TURN
        batches = batches_on_device(series, wanted, encoder.batch_size, device)
    else:
        turn, batches = nullcontext(), batches_of(series, wanted, encoder.batch_size)
    one_core_per_thread()
    clock = DeviceClock(device)
    for rows, columns, pixels in batches:
        with turn:
            start = clock.mark()
            embeddings = encoder.embed(pixels, settings.steps)
            encoded = clock.mark()
            classes = classifier.classify(embeddings, settings.top_k)
            unlike = None if distance is None else distance.percent(embeddings)
            stored = quantised(embeddings) if settings.keep_embeddings else None
            on_host = PixelClasses(to_host(classes.place), to_host(classes.percent))
            other = None if finder is None else finder.places(embeddings)
            unlike, other, stored = (
                None if t is None else to_host(t) for t in (unlike, other, stored)
            )
            end = clock.mark()
        yield _Batch(rows, columns, on_host, unlike, other, stored, start, encoded, end)


def _one_behind(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Give each batch once the next is begun: a GPU computes while its last results are fetched."""
    begun: deque[_Batch] = deque()
    for batch in batches:
        begun.append(batch)
        if len(begun) > 1:
            yield begun.popleft()
    yield from begun


@lru_cache(maxsize=2)
def _encoder(path: str, fingerprint: str, batch_size: int | None) -> PixelEncoder:
    """The encoder of the run's checkpoint, which must not have changed since the run began."""
    checkpoint = load_checkpoint(path)
    if checkpoint.fingerprint != fingerprint:
        raise CheckpointError(
            path,
            "it is not the checkpoint that the run began with",
            "Put that one back, or map into another folder",
        )
    return PixelEncoder(checkpoint, device_at_hand(), batch_size)


def _cut(part: BandSeries, place: Block, block: Block) -> np.ndarray:
    """Cut the series of `block` out of a series that covers `place`."""
    n = part.resolution // 10
    row, column = (block.row - place.row) // n, (block.column - place.column) // n
    return part.series[:, row : row + block.height // n, column : column + block.width // n]
