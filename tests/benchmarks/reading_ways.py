"""The pixels of a cell, read in one of several ways: time, memory, and what was read.

`python -m tests.benchmarks.reading_ways WAY JOB`: each way runs in a process of its own, so that
its peak memory is its own, and reads a corner of other items first, so that imports and
compilation don't count. JOB is a file of a `reading_job.Job`. Prints seconds, seconds of CPU, peak
bytes and, if the job asks for it, a digest of each asset's pixels as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import dask
import dask.array as da
import numpy as np

from pipeline.raster.access import OPEN
from tests.benchmarks.memory import peak_bytes
from tests.benchmarks.reading_archive import ALL_ASSETS, BAND_ASSETS, OFFSET, rasters_of
from tests.benchmarks.reading_floor import (
    Delivered,
    decoding,
    fetching,
    gdal_in_memory,
    taken,
)
from tests.benchmarks.reading_job import THREADS, Job, read_job

Way = Callable[[Job], Callable[[], Delivered]]


def with_timesen(job: Job) -> Delivered:
    """As the pipeline's tasks read: stackstac, one band in one source block, 20 m as 20 m."""
    from models.encoder.preprocessing import BANDS
    from pipeline.catalog.item import SCL
    from pipeline.catalog.normalise import normalise
    from pipeline.grid.cell_blocks import Block, block_windows
    from pipeline.grid.cells import SOURCE_BLOCK
    from pipeline.observations.cube import band_resolution, observations, read_observations

    items, cell = [normalise(item) for item in job.items], job.cell
    bands = (*BANDS, SCL)
    parts = [
        (band, block)
        for band in bands
        for block in block_windows(cell, SOURCE_BLOCK * band_resolution(items, band) // 10)
    ]

    def read(part: tuple[str, Block]) -> np.ndarray:
        band, block = part
        grid = block.bounds(cell), cell.epsg, band_resolution(items, band)
        if band != SCL:
            return taken(read_observations(items, band, *grid, reuse=not job.whole), job)
        (chunk,) = observations(items, [band], *grid, dtype=np.uint8).to_delayed().ravel()
        return taken(chunk.compute(scheduler="synchronous")[:, 0], job)

    delivered: Delivered = {name: [] for name in ALL_ASSETS}
    with ThreadPoolExecutor(THREADS) as pool:
        for (band, _), values in zip(parts, pool.map(read, parts), strict=True):
            delivered[ALL_ASSETS[bands.index(band)]].append(values)
    return delivered


def with_timesen_at_10m(job: Job) -> Delivered:
    """stackstac with our reader: one stack of everything at 10 m, as the others deliver it."""
    from models.encoder.preprocessing import BANDS
    from pipeline.catalog.item import SCL
    from pipeline.catalog.normalise import normalise
    from pipeline.observations.cube import observations

    items, cell = [normalise(item) for item in job.items], job.cell
    dates = -1 if job.whole else 8  # a chunk of a large cell's year would be half a gigabyte
    stack = observations(items, [*BANDS, SCL], cell.bounds, cell.epsg, 10, dates=dates)
    return _by_asset(_computed(stack, job))


def with_stackstac(job: Job, **options: Any) -> Delivered:
    """stackstac with its own reader; without options as it comes."""
    import stackstac

    cell = job.cell
    stack = stackstac.stack(
        job.items, assets=list(ALL_ASSETS), epsg=cell.epsg, resolution=10, bounds=cell.bounds,
        **options,
    )  # fmt: skip
    return _by_asset(_computed(stack.data, job))


def with_odc_stac(job: Job) -> Delivered:
    """odc-stac: stored numbers as uint16, lazy, with its own settings for the cloud."""
    import odc.stac
    import pystac
    from odc.geo.geobox import GeoBox

    odc.stac.configure_rio(cloud_defaults=True)
    cell = job.cell
    cube = odc.stac.load(
        [pystac.Item.from_dict(item) for item in job.items],
        bands=list(ALL_ASSETS),
        geobox=GeoBox(cell.shape, cell.transform, f"EPSG:{cell.epsg}"),
        dtype="uint16",
        chunks={"x": 1024, "y": 1024},
    )
    lazy = {name: _remaining(cube[name].data, job) for name in ALL_ASSETS}
    (values,) = dask.compute(lazy)
    return {name: [array] for name, array in values.items()}


def with_async_geotiff(job: Job) -> Delivered:
    """async-geotiff: every raster's own window, many under way at once; Rust threads decode."""
    import async_geotiff
    from obstore.store import HTTPStore

    left, bottom, right, top = job.cell.bounds
    rasters = list(rasters_of(job.items))
    server = rasters[0][1].split("/", 3)
    store = HTTPStore.from_url("/".join(server[:3]), client_options={"allow_http": True})
    under_way = asyncio.Semaphore(OPEN.requests)

    async def read(href: str) -> np.ndarray:
        async with under_way:
            file = await async_geotiff.GeoTIFF.open(href.split("/", 3)[3], store=store)
            grid = file.transform
            column, row = round((left - grid.c) / grid.a), round((grid.f - top) / grid.a)
            width, height = round((right - left) / grid.a), round((top - bottom) / grid.a)
            window = async_geotiff.Window(column, row, width, height)
            return taken((await file.read(window=window)).data[0], job)

    async def read_all() -> list[np.ndarray]:
        return await asyncio.gather(*(read(href) for _, href in rasters))

    delivered: Delivered = {name: [] for name in ALL_ASSETS}
    for (name, _), values in zip(rasters, asyncio.run(read_all()), strict=True):
        delivered[name].append(values)
    return delivered


def _started(way: Callable[..., Delivered], **options: Any) -> Way:
    return lambda job: partial(way, job, **options)


WAYS: Mapping[str, Way] = {
    "timesen": _started(with_timesen),
    "timesen, all at 10 m": _started(with_timesen_at_10m),
    "stackstac": _started(with_stackstac),
    "stackstac, uint16": _started(
        with_stackstac, dtype=np.dtype("uint16"), fill_value=np.uint16(0), rescale=False
    ),
    "odc-stac": _started(with_odc_stac),
    "async-geotiff": _started(with_async_geotiff),
    "decoding alone": decoding,
    "fetching and decoding": fetching,
    "GDAL in memory": gdal_in_memory,
}
"""The preparation of a job before the clock runs; it gives the function that is timed."""


def _remaining(lazy: da.Array, job: Job) -> da.Array:
    if job.whole:
        return lazy
    chunks = tuple((1,) * len(sizes) for sizes in lazy.chunks)
    return da.map_blocks(taken, lazy, job, dtype=lazy.dtype, chunks=chunks, name=False)


def _computed(lazy: da.Array, job: Job) -> np.ndarray:
    values: np.ndarray = _remaining(lazy, job).compute()
    return values


def _by_asset(values: np.ndarray) -> Delivered:
    return {name: [values[:, k]] for k, name in enumerate(ALL_ASSETS)}


def digest(way: str, name: str, chunks: list[np.ndarray], job: Job) -> int:
    """A digest of an asset's pixels, as they are stored, repeated to 10 m.

    Of a job that is not whole, the maximum.
    """
    number = 0
    for chunk in chunks:
        for values in chunk.reshape(-1, *chunk.shape[-2:]):
            stored = as_stored(way, name, values)
            if job.whole:
                n = job.cell.width // stored.shape[-1]
                stored = stored.repeat(n, axis=-2).repeat(n, axis=-1)
                number = crc32(stored.tobytes(), number)
            else:
                number = max(number, int(stored.max()))
    return number


def as_stored(way: str, name: str, values: np.ndarray) -> np.ndarray:
    """The stored numbers (uint16) of a way's result."""
    if name in BAND_ASSETS and way.startswith("timesen"):
        values = np.where(values == 0, 0, values + OFFSET)
    elif name in BAND_ASSETS and way == "stackstac":
        values = np.nan_to_num(np.rint(values * 10_000 + OFFSET))
    return values.astype(np.uint16)


def main(way: str, path: Path) -> None:
    """Read one way and print its cost."""
    job = read_job(path)
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        WAYS[way](job.warming)()
        read = WAYS[way](job)
        began, cpu = time.perf_counter(), time.process_time()
        delivered = read()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    told: dict[str, Any] = {"seconds": seconds, "cpu": cpu, "peak": peak_bytes()}
    if job.digest:
        told["digest"] = [digest(way, name, delivered[name], job) for name in ALL_ASSETS]
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
