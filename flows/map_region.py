"""The mapping flow: plan, one Prefect task per tile, publish.

Each tile's task submits its cells to the Dask cluster that all tiles share.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from functools import partial

from distributed import Client, Future

from flows.execution.catalog_slots import catalog_slot
from flows.execution.dask_cluster import (
    has_gpu_workers,
    has_readers,
    require_shared_files,
    worker_count,
)
from flows.execution.map_artifacts import publish_map_artifacts
from flows.execution.prefect_api import (
    NO_CACHE,
    flow,
    get_run_logger,
    task,
)
from flows.execution.progress import RunProgress, UnitCount, report_progress
from flows.execution.task_progress import TaskProgress, task_progress
from flows.execution.unit_groups import UnitsFailed, passed_as_is, run_groups
from flows.execution.work_queue import UnitQueue, open_queue
from pipeline.clusters.settings import cells_in_flight
from pipeline.grid.cells import Cell
from pipeline.io.store import public_text
from pipeline.mapping.cell_graph import LONG_TASKS, cell_graph
from pipeline.mapping.fit_run import fitted_run
from pipeline.mapping.prepare import prepared_run
from pipeline.mapping.publish import publish, published_summary
from pipeline.mapping.run import PreparedRun
from pipeline.mapping.run_inputs import run_inputs
from pipeline.mapping.shared_run import SharedRun, shared_run
from pipeline.mapping.unencoded import require_series_fit, series_bytes
from pipeline.product.cell_report import CellReport
from pipeline.product.report import Summary
from pipeline.settings.map import MapSettings

_CELLS_A_TILE = 8  # a tile at the region's edge; a whole one has 36 cells of the default size
_MOST_TILES = 32  # open at once on a cluster that may grow; they wait in line for its slots

_prepared: ContextVar[PreparedRun | None] = ContextVar("_prepared", default=None)


class CellsFailed(UnitsFailed):
    """Cells that failed, in a run that went on without them; `errors` are why."""


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
    cannot be run; OwnershipLost where the folder was removed, or taken by another run; WorldError
    where catalogue, storage or cluster fail as a whole.
    """
    with contextlib.ExitStack() as holding:
        prepared = _prepared.get()
        if prepared is None or prepared.run.settings != settings:
            report_progress(RunProgress("planning"))
            prepared = prepare(settings, passed_as_is(holding))
        return _mapped(prepared)


@contextlib.contextmanager
def prepared_beforehand(prepared: PreparedRun) -> Iterator[None]:
    """Let flows in this block whose settings are those of `prepared` begin from it.

    The block holds the run's folder (`pipeline.mapping.prepare.prepared_run`).
    """
    token = _prepared.set(prepared)
    try:
        yield
    finally:
        _prepared.reset(token)


@task(name="plan", task_run_name="plan", cache_policy=NO_CACHE, persist_result=False)
def prepare(settings: MapSettings, holding: contextlib.ExitStack) -> PreparedRun:
    """Check the settings, search the items, plan the cells and open the run's folder.

    It is held until `holding` is closed.
    """
    prepared = holding.enter_context(prepared_run(settings))
    logger = get_run_logger()
    logger.info(f"{run_inputs(prepared)}\n{prepared.plan.summary()}")
    for warning in prepared.plan.warnings:
        logger.warning(warning)
    return prepared


@task(name="publish", task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
def publish_run(prepared: PreparedRun) -> Summary:
    """Write collection, mosaic, styles, preview and report from the cells that are done."""
    return publish(prepared)


def _mapped(prepared: PreparedRun) -> Summary:
    """Map the cells of a run whose folder is held, and publish them.

    Processes that map the same run share its cells, and one of them publishes.
    """
    with shared_run(prepared) as shared:
        if prepared.points is not None:
            report_progress(RunProgress("reading examples"))
            with shared.alone("examples"):
                prepared = fitted_run(prepared)
        _map_cells(prepared, shared)
        report_progress(RunProgress("publishing"))
        with shared.alone("publication"):
            summary = published_summary(prepared, shared.published_since())
            if summary is None:
                summary = publish_run(passed_as_is(prepared))
                shared.remove_run_out()
    publish_map_artifacts(summary, prepared.run.store)
    if summary.failures:
        raise CellsFailed(_failure_message(summary))
    return summary


def _map_cells(prepared: PreparedRun, shared: SharedRun) -> None:
    left = {cell.id: cell for cell in prepared.unfinished()}
    count = count_cells(prepared.cells, [cell for cell in prepared.cells if cell.id not in left])
    get_run_logger().info("%s of %s cells to map", len(left), len(prepared.cells))
    if not left:
        return
    report_progress(count.progress("mapping"))
    require_series_fit(prepared)
    cluster = prepared.run.settings.cluster
    read = prepared.run.source is None  # else the embeddings of another run are classified
    slot = catalog_slot(prepared.catalog.url) if read else contextlib.nullcontext()
    with (
        slot,
        open_queue(cluster) as queue,
        task_progress(queue.client, LONG_TASKS, count.part_ended) as tasks,
    ):
        if cluster.remote:
            require_shared_files(queue.client, prepared.run)
        free = [*left.values()]
        while left:
            _map_tiles(free, prepared, shared, queue, count, tasks)
            left = {name: cell for name, cell in left.items() if not count.is_settled(name)}
            free = _free_cells([*left.values()], shared, count)
        report_progress(count.progress("mapping"))


def _map_tiles(
    cells: Sequence[Cell],
    prepared: PreparedRun,
    shared: SharedRun,
    queue: UnitQueue,
    count: UnitCount,
    tasks: TaskProgress,
) -> None:
    """Map those of the cells that no other process maps; those that failed are recorded."""
    if not cells:
        return
    by_tile: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_tile[cell.tile.name].append(cell)
    cluster = prepared.run.settings.cluster
    # A few tiles at a time: enough to keep the cluster busy, and one after the other done.
    in_flight = cells_in_flight(cluster, worker_count(queue.client))
    at_once = _MOST_TILES if cluster.remote else 2 + in_flight // _CELLS_A_TILE
    tiles = {
        name: partial(map_cells, by_tile[name], prepared, shared, queue, count, tasks)
        for name in shared.own_order([*by_tile])
    }
    failures = run_groups("tile", tiles, queue, count, "mapping", "map-progress", at_once)
    shared.leave_failed()
    for failure in failures:  # those of cells are recorded in the folder
        if not isinstance(failure, CellsFailed):
            raise failure


def _free_cells(cells: Sequence[Cell], shared: SharedRun, count: UnitCount) -> list[Cell]:
    """Wait until another process has ended some of the cells; give those that it left."""
    if cells:
        report_progress(count.progress("waiting for other processes"))
    free = []
    for cell, state in shared.until_others_end(cells):
        if state == "free":
            free.append(cell)
        else:
            count.settle(cell.id, state)
    return free


def map_cells(
    cells: Sequence[Cell],
    prepared: PreparedRun,
    shared: SharedRun,
    queue: UnitQueue,
    count: UnitCount,
    tasks: TaskProgress,
) -> None:
    """Map those of the cells that are not done, and that no other process maps.

    Failures are recorded in the run's folder; raises CellsFailed for them once the others are done.
    """
    left = {cell.id: cell for cell in cells if not count.is_done(cell.id)}
    cluster = prepared.run.settings.cluster
    gpu, readers = (has(queue.client, cluster) for has in (has_gpu_workers, has_readers))

    def submit(cell: Cell, client: Client, priority: int) -> Future | None:
        state = shared.begin(cell)
        if state != "ours":
            count.settle(cell.id, state)
            return None
        graph = cell_graph(cell, prepared.items_of(cell), prepared.run, gpu=gpu, readers=readers)
        count.begin(cell.id, tasks.follow(cell.id, graph))
        return client.compute(graph, priority=priority)

    def done(name: str, _report: CellReport) -> None:
        shared.finished(left[name])
        tasks.forget(name)
        count.finished(name)

    def failed(name: str, error: BaseException) -> None:
        shared.failed(left[name], error)
        tasks.forget(name)
        count.failed(name)

    units = {name: partial(submit, cell) for name, cell in left.items()}
    sizes = {
        name: series_bytes(cell, prepared.items_of(cell), prepared.run)
        for name, cell in left.items()
        if cluster.unencoded_limit is not None
    }
    if errors := queue.map(units, done, failed, sizes):
        message = f"{len(errors)} of {len(cells)} cells failed, such as: {errors[0]}"
        raise CellsFailed(public_text(message), errors)


def _failure_message(summary: Summary) -> str:
    first = summary.failures[0]
    return (
        f"{len(summary.failures)} of {summary.planned} cells failed, such as {first.cell} "
        f"({first.error}). The map shows the others; start again to try these once more."
    )
