"""The mapping flow: plan, one Prefect task per tile, publish.

Each tile's task submits its cells to the Dask cluster that all tiles share.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import partial

from flows.execution.catalog_slots import catalog_slot
from flows.execution.cell_work import CellsFailed, CellWork, count_cells
from flows.execution.dask_cluster import require_shared_files, worker_count
from flows.execution.map_artifacts import publish_map_artifacts
from flows.execution.prefect_api import (
    NO_CACHE,
    flow,
    get_run_logger,
    task,
)
from flows.execution.progress import RunProgress, report_progress
from flows.execution.suspect_units import SuspectUnits, WorkerDeaths
from flows.execution.task_progress import task_progress
from flows.execution.unit_groups import passed_as_is, run_groups
from flows.execution.work_queue import open_queue
from pipeline.clusters.settings import cells_in_flight
from pipeline.grid.cells import Cell
from pipeline.mapping.cell_graph import LONG_TASKS
from pipeline.mapping.fit_run import fitted_run
from pipeline.mapping.prepare import prepared_run
from pipeline.mapping.publish import (
    PublishedRun,
    publish,
    published_run,
    published_summary,
    shard_summary,
)
from pipeline.mapping.run import PreparedRun
from pipeline.mapping.run_inputs import run_inputs
from pipeline.mapping.shared_run import SharedRun, shared_run
from pipeline.mapping.unencoded import require_series_fit
from pipeline.product.report import Summary
from pipeline.settings.map import MapSettings

_CELLS_A_TILE = 8  # a tile at the region's edge; a whole one has 36 cells of the default size
_MOST_TILES = 32  # open at once on a cluster that may grow; they wait in line for its slots

_prepared: ContextVar[PreparedRun | None] = ContextVar("_prepared", default=None)


@flow(
    name="map-region",
    flow_run_name="{settings.year} {settings.region} → {settings.out}",
    persist_result=False,
)
def map_region(settings: MapSettings) -> Summary:
    """Map a region and publish the map; started again, it goes on where it stopped.

    Where the settings name a shard, its cells are mapped, and nothing is published.

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
def publish_run(run: PublishedRun) -> Summary:
    """Write collection, mosaic, styles, preview and report from the cells that are done."""
    return publish(run)


def _mapped(prepared: PreparedRun) -> Summary:
    """Map the cells of a run whose folder is held, and publish them; a shard is not published.

    Processes that map the same run share its cells, and one of them publishes.
    """
    with shared_run(prepared) as shared:
        if prepared.points is not None:
            report_progress(RunProgress("reading examples"))
            with shared.alone("examples"):
                prepared = fitted_run(prepared)
        _map_cells(prepared, shared)
        if prepared.run.settings.shard is not None:
            summary = shard_summary(prepared)
        else:
            report_progress(RunProgress("publishing"))
            with shared.alone("publication"):
                published = published_run(prepared)
                found = published_summary(published, shared.published_since())
                summary = found or publish_run(passed_as_is(published))
                if found is None:
                    shared.remove_run_out()
            publish_map_artifacts(summary, prepared.run.store)
    if summary.failures:
        raise CellsFailed(_failure_message(summary))
    return summary


def _map_cells(prepared: PreparedRun, shared: SharedRun) -> None:
    left, cells = prepared.unfinished(), prepared.own_cells
    ids = {cell.id for cell in left}
    count = count_cells(cells, [cell for cell in cells if cell.id not in ids])
    get_run_logger().info("%s of %s cells to map", len(left), len(cells))
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
        suspects = SuspectUnits(
            failure.cell
            for failure in shared.failed_before()
            if failure.kind == WorkerDeaths.__name__ and failure.cell in ids
        )
        work = CellWork(prepared, shared, queue, count, tasks, suspects)
        _map_until_settled(lambda: [c for c in left if work.is_open(c)], _map_tiles, work)
        _map_until_settled(work.suspected, _map_one_by_one, work)
        report_progress(count.progress("mapping"))


def _map_until_settled(
    left: Callable[[], Sequence[Cell]],
    map_free: Callable[[CellWork, Sequence[Cell]], None],
    work: CellWork,
) -> None:
    """Map the cells of `left` that no other process maps, until none is left."""
    free = left()
    while left():
        map_free(work, free)
        free = _free_cells(left(), work)


def _map_tiles(work: CellWork, cells: Sequence[Cell]) -> None:
    """Map cells in a task of Prefect per tile; those that failed are recorded."""
    if not cells:
        return
    by_tile: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        by_tile[cell.tile.name].append(cell)
    cluster = work.prepared.run.settings.cluster
    # A few tiles at a time: enough to keep the cluster busy, and one after the other done.
    in_flight = cells_in_flight(cluster, worker_count(work.queue.client))
    at_once = _MOST_TILES if cluster.remote else 2 + in_flight // _CELLS_A_TILE
    tiles = {
        name: partial(work.map_cells, by_tile[name]) for name in work.shared.own_order([*by_tile])
    }
    _run_tasks("tile", tiles, work, "mapping", at_once)


def _map_one_by_one(work: CellWork, cells: Sequence[Cell]) -> None:
    """Map suspected cells, in a task of Prefect each."""
    alone = {cell.id: partial(work.map_alone, cell) for cell in cells}
    if alone:
        _run_tasks("cell", alone, work, "mapping alone, since workers died", 1)


def _run_tasks(
    kind: str, groups: Mapping[str, Callable[[], None]], work: CellWork, stage: str, at_once: int
) -> None:
    failures = run_groups(kind, groups, work.queue, work.count, stage, "map-progress", at_once)
    work.shared.leave_failed()
    for failure in failures:  # those of cells are recorded in the folder
        if not isinstance(failure, CellsFailed):
            raise failure


def _free_cells(cells: Sequence[Cell], work: CellWork) -> list[Cell]:
    """Wait until another process has ended some of the cells; give those that it left."""
    if cells:
        report_progress(work.count.progress("waiting for other processes"))
    free = []
    for cell, state in work.shared.until_others_end(cells):
        if state == "free":
            free.append(cell)
        else:
            work.count.settle(cell.id, state)
    return free


def _failure_message(summary: Summary) -> str:
    first = summary.failures[0]
    return (
        f"{len(summary.failures)} of {summary.planned} cells failed, such as {first.cell} "
        f"({first.error}). The others are mapped; start again to try these once more."
    )
