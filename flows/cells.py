"""Cells onto a Dask cluster: a bounded number in flight, one that fails stops no other."""

import itertools
import threading
from collections import deque
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from distributed import Client, Future

from flows.cluster import ClusterUnavailable, has_gpu_workers
from flows.progress import CellCount
from flows.slots import Slots
from pipeline.cell import cell_graph
from pipeline.errors import OutputUnwritable
from pipeline.grid import Cell
from pipeline.product import record_failure
from pipeline.run import PreparedRun

_POLL_SECONDS = 0.2


class CellQueue:
    """The cells of a run on their way through a cluster; several threads may map at once.

    At most `in_flight` cells are submitted at any time over all threads, so that memory does not
    grow with the region.
    """

    def __init__(
        self, client: Client, prepared: PreparedRun, count: CellCount, in_flight: int
    ) -> None:
        self._client = client
        self._prepared = prepared
        self._count = count
        self._slots = Slots(in_flight)
        self._order = itertools.count()
        self._stopping = threading.Event()
        self._gpu = has_gpu_workers(client)
        self.reason: BaseException | None = None

    def resize(self, in_flight: int) -> None:
        """Have another number of cells in flight from now on."""
        self._slots.resize(in_flight)

    @property
    def stopped(self) -> bool:
        """Whether the queue was stopped."""
        return self._stopping.is_set()

    def stop(self, reason: BaseException) -> None:
        """Submit nothing more and cancel what is in flight; the first reason is kept."""
        if not self._stopping.is_set():
            self.reason = reason
            self._stopping.set()

    def map(self, cells: Sequence[Cell]) -> list[BaseException]:
        """Map those of the cells that are not done; gives the errors of those that failed.

        A failure is recorded in the run's folder. Where every cell would fail alike, as on a full
        disk or without a cluster, the queue stops, and what is in flight is cancelled.
        """
        waiting = deque(cell for cell in cells if not self._count.is_done(cell))
        in_flight: dict[Future, Cell] = {}
        ended: SimpleQueue[Future] = SimpleQueue()
        errors: list[BaseException] = []
        place = self._slots.join()
        try:
            while (waiting or in_flight) and not self.stopped:
                if waiting and self._slots.take(place, 0 if in_flight else _POLL_SECONDS):
                    cell = waiting.popleft()
                    if not waiting:
                        self._slots.leave(place)
                    future = self._submit(cell)
                    in_flight[future] = cell
                    future.add_done_callback(ended.put)
                    continue
                try:
                    future = ended.get(timeout=_POLL_SECONDS)
                except Empty:
                    continue
                cell = in_flight.pop(future)
                self._slots.give_back()
                if (error := self._error(future)) is None:
                    self._count.finished(cell)
                else:
                    self._fail(cell, error)
                    errors.append(error)
        except Exception as error:
            self.stop(error)
        finally:
            self._slots.leave(place)
            if in_flight:
                self._client.cancel(list(in_flight), force=True)
                self._slots.give_back(len(in_flight))
        return errors

    def _submit(self, cell: Cell) -> Future:
        prepared = self._prepared
        graph = cell_graph(cell, prepared.items_of(cell), prepared.run, gpu=self._gpu)
        # The cells that came first are finished first: what is in memory is that of few cells.
        return self._client.compute(graph, priority=-next(self._order))

    def _error(self, future: Future) -> BaseException | None:
        if future.status == "finished":
            return None
        if future.status == "error":
            error: BaseException = future.exception()
            return error
        raise ClusterUnavailable(
            "The connection to the Dask scheduler was lost. What was made before is kept; start "
            "again to go on."
        )

    def _fail(self, cell: Cell, error: BaseException) -> None:
        if isinstance(error, OutputUnwritable):
            raise error
        record_failure(self._prepared.run.store, cell, error)
        self._count.failed(cell)
