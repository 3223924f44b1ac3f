"""Estimates of what a run needs of a machine: disk, memory, and how fast this one encodes."""

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from dask.system import CPU_COUNT

from models.encoder.checkpoint import Checkpoint
from models.encoder.inference import PIXELS_PER_CORE, PixelEncoder, device_at_hand, on_one_core
from pipeline.clusters.settings import cells_in_flight, workers_of
from pipeline.grid.cells import PIXEL, SOURCE_BLOCK, Cell
from pipeline.mapping.source_reading import BAND_BYTES
from pipeline.observations.read_band import SCL_DATES
from pipeline.raster.access import OPEN
from pipeline.settings.map import MapSettings

# Bytes of a mapped pixel: a class raster deflates to an eighth of a byte, a raster of percent to a
# quarter, and overviews add a third; the two of clear observations take a tenth, and so does true
# colour, of three bands in a sixteenth of the pixels (tests/benchmarks/results/plan.md).
_CLASS_BYTES, _PERCENT_BYTES, _WITH_OVERVIEWS, _CLEAR_BYTES = 0.12, 0.28, 4 / 3, 0.1
_TRUE_COLOUR_BYTES = 0.1
_EMBEDDING_BYTES = 0.92  # of a kept dimension: embeddings of real land deflate hardly
_CELL_BYTES = 25e3  # bytes of a cell beside its pixels: rasters' headers, style, STAC item

# Bytes of a pixel while a cell is written: whether the tile owns it, its class and confidence, and
# their files.
_MAP_BYTES = 8
_BASE_MEMORY = 700e6  # bytes of a worker process that has torch, GDAL and Dask loaded
_PROBE = 256  # pixels of a batch encoded to measure the rate
_PROBE_SECONDS = 0.7


def output_bytes(pixels: int, cells: int, settings: MapSettings, embedding_dim: int) -> float:
    """Bytes of a product with all rasters that the settings ask for, by its pixels and cells."""
    classes = percents = 1
    if settings.top_k > 1:  # the ranks, and the margin
        classes, percents = classes + settings.top_k, percents + settings.top_k + 1
    percents += settings.unlike_training
    rasters = _WITH_OVERVIEWS * (classes * _CLASS_BYTES + percents * _PERCENT_BYTES)
    rasters += _CLEAR_BYTES + (0.0 if settings.embeddings else _TRUE_COLOUR_BYTES)
    embeddings = _EMBEDDING_BYTES * embedding_dim if settings.keep_embeddings else 0.0
    return pixels * (rasters + embeddings) + cells * _CELL_BYTES


def disk_warning(needed: float, out: str) -> str | None:
    """Advice if the disk of a local folder has less than `needed` bytes free; else None."""
    if "://" in out:
        return None
    folder = Path(out).absolute()
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    if there is None or needed <= (free := shutil.disk_usage(there).free):
        return None
    return (
        f"the output needs about {needed / 1e9:.3g} GB, and the disk of {there} has "
        f"{free / 1e9:.3g} GB free (less what an earlier start has written): free some, or give "
        "another folder"
    )


def worker_memory(
    cell: Cell,
    dates: int,
    band_pixels: Sequence[float],
    checkpoint: Checkpoint,
    settings: MapSettings,
    requests: int = OPEN.requests,
) -> float:
    """Bytes that a worker needs at its peak for cells like `cell`, with `dates` dates each.

    A worker's memory holds:

    - per thread: the scene classification of the cell (20 m) at some dates; or one band of a source
      block at all dates that are read, with dates fetched ahead, the block's mask and its series;
      or a batch with its activations. For geometric medians: all bands of a month in a block of
      twice the side, and the months of all bands at 10 m.
    - per cell in work: the series of all bands, and the map. Threads begin the next cell when a
      cell has no block left to encode.
    - per submitted cell: its mask (20 m, one bit per date).

    `band_pixels` are the pixel sizes of the bands, in metres; `requests` is the catalogue's number
    of requests that a process has under way at once.
    """
    workers = workers_of(settings.cluster)
    pixels = cell.height * cell.width
    block = min(pixels, SOURCE_BLOCK**2)
    mask = dates * pixels / 4 / 8  # one bit per date and pixel of 20 m
    most = settings.reading.most_a_month
    read = min(dates, 12 * most) if most else dates
    ahead = BAND_BYTES * block * min(read, requests)
    reading = max(
        ahead + block * (2 * read + read / 4 + 2 * 12), min(dates, SCL_DATES) * pixels / 4
    )
    batch = PIXELS_PER_CORE * checkpoint.card.architecture.activation_bytes
    series = sum(12 * 2 * pixels * (PIXEL / metres) ** 2 for metres in band_pixels)
    if settings.reading.geometric:
        wide = min(pixels, (2 * SOURCE_BLOCK) ** 2)
        values = sum(2 * wide * (PIXEL / metres) ** 2 for metres in band_pixels)
        reading = max(reading, values * read / 12 + 2 * wide * len(band_pixels))
        series = 2 * 12 * 2 * pixels * len(band_pixels)  # months, and the same with gaps filled
    submitted = math.ceil(cells_in_flight(settings.cluster, workers.count) / workers.count)
    begun = min(submitted, 1 + math.ceil((workers.threads - 1) * block / pixels))
    return (
        _BASE_MEMORY
        + workers.threads * (reading + batch)
        + begun * (series + _MAP_BYTES * pixels)
        + submitted * mask
    )


def memory_warning(needed: float, settings: MapSettings) -> str | None:
    """Advice if workers have less memory than `needed` bytes; else None."""
    workers = workers_of(settings.cluster)
    if workers.memory is None or needed <= workers.memory:
        return None
    have = f"a worker needs about {needed / 1e9:.1f} GB at its peak and "
    remedies = ["a smaller cell_size"]
    if workers.threads > 1:
        remedies.insert(0, f"fewer threads per worker than {workers.threads}")
    if setting := workers.memory_setting:
        limit = math.ceil(needed / 1e9)
        have += f"its {setting} is {workers.memory / 1e9:.1f} GB"
        remedies.append(f'{setting} = "{limit}GB", if the machine has it for each worker')
    else:
        have += f"this machine has {workers.memory / 1e9:.1f} GB"
    return f"{have}: it may be stopped in the middle. What helps: {', or '.join(remedies)}"


def measured_encode_rate(checkpoint: Checkpoint) -> float:
    """Measure the pixels per second that this machine encodes, on its GPU if it has one (1 s).

    On the CPU each core encodes its own pixels, as workers do. The fastest of several batches
    counts: a process's first batches are slow, and so is one that shares its core. A checkpoint is
    measured once per process.
    """
    if checkpoint.fingerprint not in _measured:
        _measured[checkpoint.fingerprint] = _encode_rate(checkpoint)
    return _measured[checkpoint.fingerprint]


_measured: dict[str, float] = {}


def _encode_rate(checkpoint: Checkpoint) -> float:
    preprocessing = checkpoint.card.preprocessing
    shape = (_PROBE, preprocessing.months, len(preprocessing.bands))
    series = np.full(shape, 1000, np.uint16)
    device = device_at_hand()
    encoder = PixelEncoder(checkpoint, device)
    fastest = float("inf")
    end = time.perf_counter() + _PROBE_SECONDS
    with on_one_core():
        while fastest == float("inf") or time.perf_counter() < end:
            start = time.perf_counter()
            encoder.embed(series)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            fastest = min(fastest, time.perf_counter() - start)
    return (1 if device.type == "cuda" else CPU_COUNT) * _PROBE / fastest
