"""The blocks of a map, read on a Dask cluster; this process alone writes what they hold."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from distributed import Client, Future
from rasterio.windows import Window

from flows.execution.suspect_units import is_killed
from flows.execution.work_queue import Submit, UnitQueue, open_queue
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings, workers_of
from pipeline.product.map_blocks import MapBlocks, ReadBlocks, WriteBlock, read_block


@contextmanager
def block_reader(cluster: ClusterSettings) -> Iterator[ReadBlocks]:
    """Open a cluster that reads the blocks of maps, for the length of the block.

    A few more blocks than the workers have threads are in flight at a time, so the memory does not
    grow with a map. The workers must see the run's folder. What is read may raise OutputUnreadable,
    and ClusterUnavailable where workers die.

    Raises as `open_cluster`.
    """
    workers = workers_of(cluster)
    in_flight = cluster.cells_in_flight or workers.count * workers.threads + 2
    with open_queue(cluster.model_copy(update={"cells_in_flight": in_flight})) as queue:
        yield partial(_read_blocks, queue)


def _read_blocks(
    queue: UnitQueue, blocks: MapBlocks, windows: Sequence[Window], write: WriteBlock
) -> None:
    by_name = {f"{window.row_off}-{window.col_off}": window for window in windows}
    # A task, which Dask repeats where its result is lost with a worker; units then name it.
    source = queue.client.submit(_same, blocks, pure=False)

    def unit(window: Window) -> Submit:
        def submit(client: Client, priority: int) -> Future:
            return client.submit(read_block, source, window, pure=False, priority=priority)

        return submit

    def done(name: str, values: Any) -> None:
        write(by_name[name], values)

    queue.map({name: unit(window) for name, window in by_name.items()}, done, _failed)
    if queue.reason is not None:
        raise queue.reason


def _failed(_: str, error: BaseException) -> None:
    """Stop the queue: a map that lacks a block is none."""
    if is_killed(error):
        raise ClusterUnavailable(
            "Workers died while they read blocks of the map. Most often they lack memory: give "
            "them more, or fewer threads."
        ) from error
    raise error


def _same(blocks: MapBlocks) -> MapBlocks:
    return blocks
