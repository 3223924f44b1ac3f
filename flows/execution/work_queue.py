"""A queue of units of work for a Dask cluster, with a bounded number of them in flight.

A unit that fails stops no other. The bound may change while the queue runs.
"""

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from flows.execution.dask_cluster import open_cluster, worker_count
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings, cells_in_flight
from pipeline.errors import OutputUnwritable, OwnershipLost

Submit = Callable[[Client, int], Future | None]
"""Submits a unit to a cluster, at a priority; None where there is nothing to do after all."""

_POLL_SECONDS = 0.2
_WORKERLESS_SECONDS = 180  # a worker starts in 3 s, on a busy machine in a minute


def call(function: Callable[..., Any], *arguments: Any) -> Submit:
    """Make a unit of a function and its arguments, all picklable; a worker calls it."""

    def submit(client: Client, priority: int) -> Future:
        return client.submit(partial(function, *arguments), pure=False, priority=priority)

    return submit


@contextlib.contextmanager
def open_queue(cluster: ClusterSettings) -> Iterator["UnitQueue"]:
    """Open a cluster with a queue; where the block fails, the queue stops.

    Raises what stopped the queue, and what `open_cluster` raises.
    """
    with open_cluster(cluster) as client:
        size = _Size(cluster, client)
        queue = UnitQueue(client, size, cluster.most_unencoded, size.saw_worker)
        try:
            yield queue
        except BaseException as error:
            queue.stop(error)
            raise
        if queue.reason is not None:
            raise queue.reason


class _Size:
    """How many units are in flight, by the workers that there are now.

    Calling it raises ClusterUnavailable where all workers are gone for good: Dask starts each of
    this machine again, but that may fail; a queue may give none.
    """

    def __init__(self, cluster: ClusterSettings, client: Client) -> None:
        self._cluster, self._client = cluster, client
        self._seen = time.monotonic()

    def saw_worker(self) -> None:
        """Note that there was a worker just now, perhaps one that died between two calls."""
        self._seen = time.monotonic()

    def __call__(self) -> int:
        cluster, workers = self._cluster, worker_count(self._client)
        waited = time.monotonic() - self._seen
        if workers or cluster.kind == "address":  # its workers may come back at any time
            self.saw_worker()
        elif waited > (60 * cluster.wait_minutes if cluster.remote else _WORKERLESS_SECONDS):
            look = "Look at the queue, or give more wait_minutes"
            if not cluster.remote:
                look = "Look at free memory, or take fewer workers or a higher memory_limit"
            raise ClusterUnavailable(
                f"All workers have died, and none has come for {waited:.0f} s. {look}. "
                "What was made before is kept; start again to go on."
            )
        return cells_in_flight(self._cluster, workers)


class UnitQueue:
    """A queue of units in front of a cluster; several threads may map at once.

    At most `in_flight()` units are submitted at any time over all threads, and units of at most
    `most_bytes` (None: of any size), so that memory does not grow with the number of units.
    """

    def __init__(
        self,
        client: Client,
        in_flight: Callable[[], int],
        most_bytes: int | None = None,
        unit_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.client = client
        self._unit_ended = unit_ended
        self._in_flight = in_flight
        self._slots = Slots(in_flight(), most_bytes)
        self._order = itertools.count()
        self._stopping = threading.Event()
        self.reason: BaseException | None = None

    @property
    def stopped(self) -> bool:
        """Whether the queue was stopped."""
        return self._stopping.is_set()

    def resize(self) -> None:
        """Follow the cluster's size: from now on as many units are in flight as it takes now."""
        self._slots.resize(self._in_flight())

    def stop(self, reason: BaseException) -> None:
        """Submit nothing more and cancel what is in flight; the first reason is kept."""
        if not self._stopping.is_set():
            self.reason = reason
            self._stopping.set()

    def map(
        self,
        units: Mapping[str, Submit],
        done: Callable[[str, Any], None],
        failed: Callable[[str, BaseException], None],
        sizes: Mapping[str, int] | None = None,
    ) -> list[BaseException]:
        """Run all units and wait for them.

        If all others would fail like one (a full disk, a lost folder, no cluster), the queue stops,
        and what is in flight is cancelled.

        Args:
            units: The units by name.
            done: Called in this thread with the name and the result of each finished unit.
            failed: Called in this thread with the name and the error of each failed unit.
            sizes: The bytes that each unit may take on the cluster until it ends; default: 0.

        Returns:
            The errors of the units that failed.
        """
        waiting = deque(units.items())
        sizes = sizes or {}
        in_flight: dict[Future, str] = {}
        ended: SimpleQueue[Future] = SimpleQueue()
        errors: list[BaseException] = []
        ticket = self._slots.join()
        try:
            while (waiting or in_flight) and not self.stopped:
                size = sizes.get(waiting[0][0], 0) if waiting else 0
                if waiting and self._slots.take(ticket, 0 if in_flight else _POLL_SECONDS, size):
                    name, submit = waiting.popleft()
                    if not waiting:
                        self._slots.leave(ticket)
                    # The first come is finished first, so that few units are in memory.
                    future = submit(self.client, -next(self._order))
                    if future is None:
                        self._slots.give_back(size=size)
                        continue
                    in_flight[future] = name
                    future.add_done_callback(ended.put)
                    continue
                try:
                    future = ended.get(timeout=_POLL_SECONDS)
                except Empty:
                    continue
                name = in_flight.pop(future)
                self._slots.give_back(size=sizes.get(name, 0))
                self._unit_ended()
                try:
                    done(name, _result(future))
                except (OutputUnwritable, OwnershipLost, ClusterUnavailable):
                    raise
                except Exception as error:
                    errors.append(error)
                    failed(name, error)
        except Exception as error:
            self.stop(error)
        finally:
            self._slots.leave(ticket)
            if in_flight:
                self.client.cancel(list(in_flight), force=True)
                held = sum(sizes.get(name, 0) for name in in_flight.values())
                self._slots.give_back(len(in_flight), held)
        return errors


class Slots:
    """A number of slots that waiting threads take in the order in which they came.

    The first takes all slots that it needs, then the second. So the cells of one tile are finished
    before those of the next, rather than all tiles at the end, however many are open.

    What takes a slot has a size, and all together at most `most_bytes` (None: any). What is larger
    than that waits for ever.
    """

    def __init__(self, number: int, most_bytes: int | None = None) -> None:
        self._number = number
        self._most_bytes = float("inf") if most_bytes is None else most_bytes
        self._taken = 0
        self._bytes = 0
        self._waiting: list[object] = []
        self._changed = threading.Condition()

    def join(self) -> object:
        """Wait behind the others; give a ticket for `take` and `leave`."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
        return ticket

    def leave(self, ticket: object) -> None:
        """Stop waiting, and keep the slots that were taken; a second call has no effect."""
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def take(self, ticket: object, timeout: float, size: int = 0) -> bool:
        """Take a slot once the ticket is the first and a slot is free; False after `timeout` s."""

        def is_free() -> bool:
            fits = self._bytes + size <= self._most_bytes
            return self._waiting[:1] == [ticket] and self._taken < self._number and fits

        with self._changed:
            taken = self._changed.wait_for(is_free, timeout)
            if taken:
                self._taken += 1
                self._bytes += size
            return taken

    def give_back(self, number: int = 1, size: int = 0) -> None:
        """Give slots back, of so many bytes together."""
        with self._changed:
            self._taken -= number
            self._bytes -= size
            self._changed.notify_all()

    def resize(self, number: int) -> None:
        """Change the number of slots; those that are taken beyond it stay taken."""
        with self._changed:
            self._number = number
            self._changed.notify_all()


def _result(future: Future) -> Any:
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        raise future.exception()
    raise ClusterUnavailable(
        "The connection to the Dask scheduler was lost. What was made before is kept; start "
        "again to go on."
    )
