"""The mapping flow: plan, one Prefect task per tile, publish.

Each tile's task submits its cells to the Dask cluster that all tiles share.
"""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from functools import partial

from distributed import Client, Future

from flows.execution.dask_cluster import has_gpu_workers, require_shared_files, worker_count
from flows.execution.prefect_api import (
    NO_CACHE,
    create_markdown_artifact,
    create_table_artifact,
    flow,
    get_run_logger,
    task,
)
from flows.execution.progress import RunProgress, UnitCount, report_progress
from flows.execution.unit_groups import UnitsFailed, passed_as_is, run_groups
from flows.execution.work_queue import UnitQueue, open_queue
from pipeline.clusters.settings import cells_in_flight
from pipeline.grid.cells import Cell
from pipeline.io.store import public_text
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.fit_run import fitted_run
from pipeline.mapping.prepare import prepared_run
from pipeline.mapping.publish import publish
from pipeline.mapping.run import PreparedRun
from pipeline.mapping.run_inputs import run_inputs
from pipeline.product.ledger import record_failure, require_held
from pipeline.product.report import Summary, summary_markdown
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
    """Map the cells of a run whose folder is held, and publish them."""
    if prepared.points is not None:
        report_progress(RunProgress("reading examples"))
        prepared = fitted_run(prepared)
    _map_cells(prepared)
    report_progress(RunProgress("publishing"))
    summary: Summary = publish_run(passed_as_is(prepared))
    _publish_artifacts(summary)
    if summary.failures:
        raise CellsFailed(_failure_message(summary))
    return summary


def _map_cells(prepared: PreparedRun) -> None:
    unfinished = prepared.unfinished()
    left = {cell.id for cell in unfinished}
    count = count_cells(prepared.cells, [cell for cell in prepared.cells if cell.id not in left])
    get_run_logger().info("%s of %s cells to map", len(unfinished), len(prepared.cells))
    if not unfinished:
        return
    report_progress(count.progress("mapping"))
    by_tile: defaultdict[str, list[Cell]] = defaultdict(list)
    for cell in unfinished:
        by_tile[cell.tile.name].append(cell)
    cluster = prepared.run.settings.cluster
    with open_queue(cluster) as queue:
        if cluster.remote:
            require_shared_files(queue.client, prepared.run)
        # A few tiles at a time: enough to keep the cluster busy, and one after the other done.
        in_flight = cells_in_flight(cluster, worker_count(queue.client))
        at_once = _MOST_TILES if cluster.remote else 2 + in_flight // _CELLS_A_TILE
        tiles = {
            name: partial(map_cells, cells, prepared, queue, count)
            for name, cells in by_tile.items()
        }
        failures = run_groups("tile", tiles, queue, count, "mapping", "map-progress", at_once)
    for failure in failures:  # those of cells are recorded in the folder
        if not isinstance(failure, CellsFailed):
            raise failure


def map_cells(
    cells: Sequence[Cell], prepared: PreparedRun, queue: UnitQueue, count: UnitCount
) -> None:
    """Map those of the cells that are not done.

    Failures are recorded in the run's folder; raises CellsFailed for them once the others are done.
    """
    left = {cell.id: cell for cell in cells if not count.is_done(cell.id)}
    gpu = has_gpu_workers(queue.client)

    def submit(cell: Cell, client: Client, priority: int) -> Future:
        graph = cell_graph(cell, prepared.items_of(cell), prepared.run, gpu=gpu)
        return client.compute(graph, priority=priority)

    def failed(name: str, error: BaseException) -> None:
        require_held(prepared.run.store, prepared.run.manifest)
        record_failure(prepared.run.store, left[name], error)
        count.failed(name)

    units = {name: partial(submit, cell) for name, cell in left.items()}
    if errors := queue.map(units, lambda name, _: count.finished(name), failed):
        message = f"{len(errors)} of {len(cells)} cells failed, such as: {errors[0]}"
        raise CellsFailed(public_text(message), errors)


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
