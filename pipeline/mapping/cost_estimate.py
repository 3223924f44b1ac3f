"""What a run will take: bytes, memory and hours, from sizes that are known and rates that are not.

The rates are rough and said to be so; the encoder's is measured where the plan is made.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from dask.system import CPU_COUNT

from models.encoder.checkpoint import Checkpoint
from models.encoder.inference import ON_CPU, PixelEncoder, device_at_hand, on_one_core
from pipeline.catalog.item import SCL, Asset, Item
from pipeline.clusters.settings import cells_in_flight, workers_of
from pipeline.grid.cells import PIXEL, SOURCE_BLOCK, Cell
from pipeline.observations.read_band import SCL_DATES
from pipeline.raster.access import OPEN
from pipeline.settings.map import MapSettings

# Bytes of a compressed pixel where the catalogue states no file size. A 10 m band of a full
# granule (10980² pixels) is a COG of about 200 MB; a scene classification (5490²) of 2 to 4 MB.
_BAND_BYTES = 1.6
_SCL_BYTES = 0.1
# Bytes of a mapped pixel: a class raster deflates to about a third of a byte, a confidence raster
# to about two thirds, and overviews add a third.
_OUTPUT_BYTES = 1.33
_CELL_BYTES = 25e3  # bytes of a cell beside its pixels: rasters' headers, style, STAC item

# Bytes of a pixel while a cell is written: what the run owns of it, its class and confidence, and
# the files made of them.
_MAP_BYTES = 8
_BASE_MEMORY = 700e6  # bytes of a worker process that has torch, GDAL and Dask loaded
_PROBE = 256  # pixels of a batch encoded to measure the rate
_PROBE_SECONDS = 0.7


@dataclass(frozen=True)
class Rates:
    """How fast the parts of a run go, slowest and fastest: reading differs most.

    `values` are decoded, masked and composited a second and core: 10 to 20 million (24 dates × 11
    rasters of 1024² took 3 s on 2 cores). `network` is bytes a second for a whole run over http(s)
    or s3: 10 to 100 MB/s. `asked` is kept embeddings that this machine compares with a vocabulary a
    second (`tests.benchmarks.bench_ask`).
    """

    values: tuple[float, float] = (10e6, 20e6)
    network: tuple[float, float] = (10e6, 100e6)
    asked: float = 1e5 * CPU_COUNT


TYPICAL = Rates()


def reading_bytes(assets: Iterable[Asset], area: float, *, scl: bool = False) -> float:
    """Bytes of rasters that lie in `area` (m²) of ground that they cover whole."""
    total = 0.0
    for asset in assets:
        rows, columns = asset.shape
        pixels = area / asset.resolution**2
        rate = _SCL_BYTES if scl else _BAND_BYTES
        total += pixels * (asset.size / (rows * columns) if asset.size else rate)
    return total


def item_bytes(item: Item, bands: Sequence[str], area: float, share: float = 1.0) -> float:
    """Bytes of an item's SCL in `area` (m²) of ground, and of its bands in a share of it."""
    wanted = [item.assets[band] for band in bands if band in item.assets]
    scl = [item.assets[SCL]] if SCL in item.assets else []
    return share * reading_bytes(wanted, area) + reading_bytes(scl, area, scl=True)


def item_values(item: Item, bands: Sequence[str], area: float, share: float = 1.0) -> float:
    """Values of an item's SCL in `area` (m²) of ground, and of its bands in a share of it.

    Each at its own resolution.
    """
    wanted = [item.assets[band] for band in bands if band in item.assets]
    scl = [item.assets[SCL]] if SCL in item.assets else []
    return sum(share * area / asset.resolution**2 for asset in wanted) + sum(
        area / asset.resolution**2 for asset in scl
    )


def dates_read(dates: int, settings: MapSettings) -> int:
    """How many of a cell's dates have their bands read, at most."""
    most = settings.reading.most_a_month
    return min(dates, 12 * most) if most else dates


def output_bytes(pixels: int, cells: int) -> float:
    """Bytes of a product of so many pixels and cells."""
    return pixels * _OUTPUT_BYTES + cells * _CELL_BYTES


def worker_memory(
    cell: Cell,
    dates: int,
    bands: Sequence[Asset],
    checkpoint: Checkpoint,
    settings: MapSettings,
    requests: int = OPEN.requests,
) -> float:
    """Bytes that a worker needs at its peak for cells like `cell`, with `dates` dates each.

    `requests` are those that a process has under way at once, as the catalogue says.

    - A thread reads the scene classification of the cell (20 m) of some dates at once; or it
      reads one band of a source block at all dates that are read, some fetched ahead, with the
      block's part of the mask, and makes a series of it; or it encodes a batch, and holds its
      activations. For geometric medians it reads all bands of a month in a block of twice the
      side, and all bands' months are held at 10 m.
    - A cell being made holds the series of all its bands, and the map. The next cell is begun by
      threads for which this one has no block left to encode.
    - Every cell that was submitted to the worker holds its mask (20 m, a bit a date).
    """
    workers = workers_of(settings.cluster)
    pixels = cell.height * cell.width
    block = min(pixels, SOURCE_BLOCK**2)
    classification = dates * pixels / 4  # a bit a date, below
    read = dates_read(dates, settings)
    ahead = _BAND_BYTES * block * min(read, requests)
    reading = max(
        ahead + block * (2 * read + read / 4 + 2 * 12), min(dates, SCL_DATES) * pixels / 4
    )
    batch = ON_CPU * checkpoint.card.architecture.activation_bytes
    series = sum(12 * 2 * pixels * (PIXEL / band.resolution) ** 2 for band in bands)
    if settings.reading.geometric:
        wide = min(pixels, (2 * SOURCE_BLOCK) ** 2)
        values = sum(2 * wide * (PIXEL / band.resolution) ** 2 for band in bands)
        reading = max(reading, values * read / 12 + 2 * wide * len(bands))
        series = 2 * 12 * 2 * pixels * len(bands)  # months, and the same with gaps filled
    submitted = math.ceil(cells_in_flight(settings.cluster, workers.count) / workers.count)
    begun = min(submitted, 1 + math.ceil((workers.threads - 1) * block / pixels))
    return (
        _BASE_MEMORY
        + workers.threads * (reading + batch)
        + begun * (series + _MAP_BYTES * pixels)
        + submitted * classification / 8
    )


def memory_warning(needed: float, settings: MapSettings) -> str | None:
    """What to change where workers have less memory than they need, in bytes; else None."""
    workers = workers_of(settings.cluster)
    if workers.memory is None or needed <= workers.memory:
        return None
    have = f"a worker needs about {needed / 1e9:.1f} GB at its peak and "
    remedies = ["a smaller cell_size"]
    if workers.threads > 1:
        remedies.insert(0, f"fewer threads a worker than {workers.threads}")
    if setting := workers.memory_setting:
        limit = math.ceil(needed / 1e9)
        have += f"its {setting} is {workers.memory / 1e9:.1f} GB"
        remedies.append(f'{setting} = "{limit}GB", if the machine has it for each worker')
    else:
        have += f"this machine has {workers.memory / 1e9:.1f} GB"
    return f"{have}: it may be stopped in the middle. What helps: {', or '.join(remedies)}"


def measured_encode_rate(checkpoint: Checkpoint) -> float:
    """Pixels a second that this machine encodes, on its GPU where it has one (about a second).

    On the CPU each core encodes its own pixels, as workers do. The fastest of several batches
    counts: the first ones of a process are slow, and so is one that shares its core. A checkpoint
    is measured once in a process.
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
    return _encoders(CPU_COUNT) * _PROBE / fastest


def run_seconds(
    pixels: int,
    values: float,
    remote_bytes: float,
    encode_rate: float,
    settings: MapSettings,
    rates: Rates,
) -> tuple[float, float]:
    """Seconds from fastest to slowest; `encode_rate` is this machine's with all its cores.

    Fastest: encoding and reading overlap wholly, each at its best; slowest: one after the other.
    """
    workers = workers_of(settings.cluster)
    threads = workers.count * workers.threads
    # Processes of this machine share its cores and its GPU; each worker elsewhere has its own.
    cores = min(threads, CPU_COUNT) if not settings.cluster.remote else threads
    machines = 1 if not settings.cluster.remote else workers.count
    of_each = _encoders(cores // machines) / _encoders(CPU_COUNT)
    encode = pixels / (encode_rate * of_each * machines)
    slow, fast = (
        values / (rate * cores) + remote_bytes / network
        for rate, network in zip(rates.values, rates.network, strict=True)
    )
    return max(encode, fast), encode * 1.3 + slow


def _encoders(cores: int) -> int:
    """How many batches are encoded at once on a machine like this: one on a GPU, or one a core."""
    return 1 if device_at_hand().type == "cuda" else cores
