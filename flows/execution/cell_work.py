"""The cells of a run on their way through a cluster: submitted, counted, claimed, set aside."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from distributed import Client, Future

from flows.execution.dask_cluster import has_gpu_workers, has_readers
from flows.execution.progress import UnitCount
from flows.execution.suspect_units import SuspectUnits, blamed, is_killed
from flows.execution.task_progress import TaskProgress
from flows.execution.unit_groups import UnitsFailed
from flows.execution.work_queue import UnitQueue
from pipeline.grid.cells import Cell
from pipeline.io.store import public_text
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.run import PreparedRun
from pipeline.mapping.shared_run import SharedRun
from pipeline.mapping.unencoded import series_bytes
from pipeline.product.cell_report import CellReport


class CellsFailed(UnitsFailed):
    """Cells that failed, in a run that went on without them; `errors` are why."""


def count_cells(cells: Sequence[Cell], done: Sequence[Cell] = ()) -> UnitCount:
    """Counts a run's cells, by their pixels; `done` were finished before it was started."""
    pixels = {cell.id: cell.height * cell.width for cell in cells}
    return UnitCount(pixels, [cell.id for cell in done], "cells")


@dataclass(frozen=True)
class CellWork:
    """The work on a run's cells that this process does.

    Attributes:
        prepared: The run.
        shared: What of it is this process's.
        queue: The way through the cluster.
        count: How many cells are done and failed.
        tasks: The progress within cells.
        suspects: Cells that are mapped last and alone, since workers died with them in work.
    """

    prepared: PreparedRun
    shared: SharedRun
    queue: UnitQueue
    count: UnitCount
    tasks: TaskProgress
    suspects: SuspectUnits = field(default_factory=SuspectUnits)

    def is_open(self, cell: Cell) -> bool:
        """Whether a cell is still to be mapped beside others: not done, failed or suspected."""
        return not (self.count.is_settled(cell.id) or cell.id in self.suspects)

    def map_cells(self, cells: Sequence[Cell]) -> None:
        """Map those of the cells that are not done or suspected, and that no other process maps.

        Failures are recorded in the run's folder; raises CellsFailed for them once the others are
        done. Where workers died, a cell is suspected, and has not failed.
        """
        by_id = {cell.id: cell for cell in cells}

        def failed(name: str, error: BaseException) -> None:
            if is_killed(error):
                self.tasks.forget(name)
                self.suspects.add(name)
            else:
                self._failed(by_id[name], error)

        left = [c for c in cells if not self.count.is_done(c.id) and c.id not in self.suspects]
        if errors := [error for error in self._run(left, failed) if not is_killed(error)]:
            message = f"{len(errors)} of {len(cells)} cells failed, such as: {errors[0]}"
            raise CellsFailed(public_text(message), errors)

    def suspected(self) -> list[Cell]:
        """The suspected cells that are neither done nor failed."""
        names = [n for n in self.suspects.names() if not self.count.is_settled(n)]
        by_id = {cell.id: cell for cell in self.prepared.own_cells} if names else {}
        return [by_id[name] for name in names]

    def map_alone(self, cell: Cell) -> None:
        """Map a cell while no other is in flight; a failure is recorded."""
        self._run([cell], lambda _, error: self._failed(cell, blamed(error, "cell")))

    def _run(
        self, cells: Sequence[Cell], failed: Callable[[str, BaseException], None]
    ) -> list[BaseException]:
        """Put cells through the queue; gives the errors of those that failed."""
        by_id, prepared = {cell.id: cell for cell in cells}, self.prepared
        cluster = prepared.run.settings.cluster
        gpu, readers = (has(self.queue.client, cluster) for has in (has_gpu_workers, has_readers))

        def submit(cell: Cell, client: Client, priority: int) -> Future | None:
            state = self.shared.begin(cell)
            if state != "ours":
                self.count.settle(cell.id, state)
                return None
            items = prepared.items_of(cell)
            graph = cell_graph(cell, items, prepared.run, gpu=gpu, readers=readers)
            self.count.begin(cell.id, self.tasks.follow(cell.id, graph))
            return client.compute(graph, priority=priority)

        def done(name: str, _report: CellReport) -> None:
            self.shared.finished(by_id[name])
            self.tasks.forget(name)
            self.count.finished(name)

        units = {name: partial(submit, cell) for name, cell in by_id.items()}
        sizes = {
            name: series_bytes(cell, prepared.items_of(cell), prepared.run)
            for name, cell in by_id.items()
            if cluster.unencoded_limit is not None
        }
        return self.queue.map(units, done, failed, sizes)

    def _failed(self, cell: Cell, error: BaseException) -> None:
        self.shared.failed(cell, error)
        self.tasks.forget(cell.id)
        self.count.failed(cell.id)
