"""The cells of a run onto a Dask cluster."""

from collections.abc import Sequence
from functools import partial

from distributed import Client, Future

from flows.cluster import has_gpu_workers
from flows.unit_count import UnitCount
from flows.unit_queue import UnitQueue
from pipeline.cell import cell_graph
from pipeline.grid import Cell
from pipeline.product import record_failure
from pipeline.run import PreparedRun


def count_cells(cells: Sequence[Cell], done: Sequence[Cell] = ()) -> UnitCount:
    """Counts a run's cells, by their pixels; `done` were finished before it was started."""
    pixels = {cell.id: cell.height * cell.width for cell in cells}
    return UnitCount(pixels, [cell.id for cell in done], "cells")


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
