"""The mapping flow: plan, one Prefect task per tile, publish.

Each tile's task submits its cells to the Dask cluster that all tiles share.
"""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TypeVar
from uuid import UUID

from distributed import Client, Future

from flows.execution.dask_cluster import (
    has_gpu_workers,
    open_cluster,
    require_shared_files,
    worker_count,
)
from flows.execution.prefect_api import (
    NO_CACHE,
    Cancelled,
    PrefectFuture,
    State,
    ThreadPoolTaskRunner,
    UnitsFailed,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    flow,
    get_run_logger,
    is_worth_retrying,
    passed_as_is,
    task,
    update_progress_artifact,
)
from flows.execution.progress import RunProgress, UnitCount, report_progress
from flows.execution.work_queue import UnitQueue
from pipeline.clusters.settings import cells_in_flight
from pipeline.grid.cells import Cell
from pipeline.io.store import public_text
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.prepare import PreparedRun, prepare_run
from pipeline.mapping.publish import publish
from pipeline.product.ledger import record_failure
from pipeline.product.report import Summary, summary_markdown
from pipeline.settings.map import MapSettings

_RETRY_SECONDS = 5
_WATCH_SECONDS = 0.25
_FIT_SECONDS = 5
_ARTIFACT_SECONDS = 2
_CELLS_A_TILE = 8  # a tile at the region's edge; a whole one has 36 cells of the default size
_MOST_TILES = 32  # open at once on a cluster that may grow; they wait in line for its slots

T = TypeVar("T")
_prepared: ContextVar[PreparedRun | None] = ContextVar("_prepared", default=None)


class CellsFailed(UnitsFailed):
    """Cells that failed, in a run that went on without them; `errors` are why."""


class CellQueue(UnitQueue):
    """The cells of a run on their way through a cluster; several threads may map at once."""

    def __init__(
        self, client: Client, prepared: PreparedRun, count: UnitCount, in_flight: int
    ) -> None:
        super().__init__(client, in_flight)
        self._prepared = prepared
        self._count = count
        self._gpu = has_gpu_workers(client)

    def map_cells(self, cells: Sequence[Cell]) -> list[BaseException]:
        """Map those of the cells that are not done; gives the errors of those that failed.

        A failure is recorded in the run's folder.
        """
        left = {cell.id: cell for cell in cells if not self._count.is_done(cell.id)}

        def failed(name: str, error: BaseException) -> None:
            record_failure(self._prepared.run.store, left[name], error)
            self._count.failed(name)

        return self.map(
            {name: partial(self._submit, cell) for name, cell in left.items()},
            lambda name, _: self._count.finished(name),
            failed,
        )

    def _submit(self, cell: Cell, client: Client, priority: int) -> Future:
        prepared = self._prepared
        graph = cell_graph(cell, prepared.items_of(cell), prepared.run, gpu=self._gpu)
        return client.compute(graph, priority=priority)


def count_cells(cells: Sequence[Cell], done: Sequence[Cell] = ()) -> UnitCount:
    """Counts a run's cells, by their pixels; `done` were finished before it was started."""
    pixels = {cell.id: cell.height * cell.width for cell in cells}
    return UnitCount(pixels, [cell.id for cell in done], "cells")


@flow(
    name="map-region",
    flow_run_name="{settings.year} {settings.region} → {settings.out}",
    persist_result=False,
)
def map_region(settings: MapSettings) -> Summary:
    """Map a region and publish the map; started again, it goes on where it stopped.

    Raises CellsFailed once everything else is mapped and published; UserError for settings that
    cannot be run; WorldError where catalogue, storage or cluster fail as a whole.
    """
    report_progress(RunProgress("planning"))
    prepared = _prepared.get()
    if prepared is None or prepared.run.settings != settings:
        prepared = prepare(settings)
    _map_cells(prepared)
    report_progress(RunProgress("publishing"))
    summary: Summary = publish_run(passed_as_is(prepared))
    _publish_artifacts(summary)
    if summary.failures:
        raise CellsFailed(_failure_message(summary))
    return summary


@contextlib.contextmanager
def prepared_beforehand(prepared: PreparedRun) -> Iterator[None]:
    """Let flows in this block whose settings are those of `prepared` begin from it."""
    token = _prepared.set(prepared)
    try:
        yield
    finally:
        _prepared.reset(token)


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE, persist_result=False)
def prepare(settings: MapSettings) -> PreparedRun:
    """Check the settings, search the items, plan the cells and open the run's folder."""
    prepared = prepare_run(settings)
    get_run_logger().info(prepared.plan.summary())
    return prepared


@task(
    name="tile",
    task_run_name="tile {name}",
    retries=1,
    retry_delay_seconds=_RETRY_SECONDS,
    retry_condition_fn=is_worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def map_tile(name: str, cells: Sequence[Cell], queue: CellQueue) -> State | None:
    """Map a tile's cells; a retry maps only those that are not done. Raises CellsFailed."""
    errors = queue.map_cells(cells)
    if queue.stopped:
        return Cancelled(message=public_text(f"the run was stopped: {queue.reason}"))
    if errors:
        message = f"{len(errors)} of {len(cells)} cells of tile {name} failed, such as: {errors[0]}"
        raise CellsFailed(public_text(message), errors)
    return None


@task(name="publish", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
def publish_run(prepared: PreparedRun) -> Summary:
    """Write collection, mosaic, styles, preview and report from the cells that are done."""
    return publish(prepared)


def _map_cells(prepared: PreparedRun) -> None:
    unfinished = prepared.unfinished()
    left = {cell.id for cell in unfinished}
    count = count_cells(prepared.cells, [cell for cell in prepared.cells if cell.id not in left])
    logger = get_run_logger()
    logger.info("%s of %s cells to map", len(unfinished), len(prepared.cells))
    if not unfinished:
        return
    report_progress(count.progress("mapping"))
    cluster = prepared.run.settings.cluster
    with open_cluster(cluster) as client:
        if cluster.remote:
            require_shared_files(client, prepared.run)
        in_flight = cells_in_flight(cluster, worker_count(client))
        queue = CellQueue(client, prepared, count, in_flight)
        # A few tiles at a time: enough to keep the cluster busy, and one after the other done.
        tiles_at_once = _MOST_TILES if cluster.remote else 2 + in_flight // _CELLS_A_TILE
        runner: ThreadPoolTaskRunner[State | None] = ThreadPoolTaskRunner(max_workers=tiles_at_once)
        with runner:
            try:
                tiles = [
                    runner.submit(
                        map_tile,
                        {"name": name, "cells": passed_as_is(cells), "queue": passed_as_is(queue)},
                    )
                    for name, cells in _by_tile(unfinished).items()
                ]
                _watch(
                    tiles,
                    count,
                    lambda: queue.resize(cells_in_flight(cluster, worker_count(client))),
                )
            except BaseException as error:
                queue.stop(error)
                raise
        if queue.reason is not None:
            raise queue.reason


def _by_tile(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    tiles: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        tiles[cell.tile.name].append(cell)
    return dict(tiles)


def _watch(
    tiles: Sequence[PrefectFuture], count: UnitCount, fit_cluster: Callable[[], None]
) -> None:
    """Tell how far the run is until all its tiles have ended, and follow the cluster's size."""
    ended = threading.Semaphore(0)
    for tile in tiles:
        tile.add_done_callback(lambda _: ended.release())
    artifact = create_progress_artifact(0.0, key="map-progress", description="cells, by pixels")
    assert isinstance(artifact, UUID)  # a coroutine only in a flow that is one
    logger, told, published = get_run_logger(), count.progress("mapping"), time.monotonic()
    fitted = time.monotonic()
    left = len(tiles)
    while left:
        left -= ended.acquire(timeout=_WATCH_SECONDS)
        if time.monotonic() - fitted >= _FIT_SECONDS:
            fit_cluster()
            fitted = time.monotonic()
        progress = count.progress("mapping")
        report_progress(progress)
        due = not left or time.monotonic() - published >= _ARTIFACT_SECONDS
        if due and (progress.done, progress.failed) != (told.done, told.failed):
            logger.info(str(progress))
            update_progress_artifact(artifact, progress=100 * progress.share)
            told, published = progress, time.monotonic()


def _publish_artifacts(summary: Summary) -> None:
    create_markdown_artifact(summary_markdown(summary), key="map-report")
    if summary.failures:
        table = [
            {"cell": failure.cell, "error": failure.kind, "why": failure.error}
            for failure in summary.failures
        ]
        create_table_artifact(table, key="failed-cells", description="cells that failed, and why")


def _failure_message(summary: Summary) -> str:
    first = summary.failures[0]
    return (
        f"{len(summary.failures)} of {summary.planned} cells failed, such as {first.cell} "
        f"({first.error}). The map shows the others; start again to try these once more."
    )
