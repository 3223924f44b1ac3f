"""Calls onto a Dask cluster: a bounded number in flight, one that fails stops no other."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from flows.cluster import ClusterUnavailable
from flows.slots import Slots
from pipeline.errors import OutputUnwritable

Call = Callable[[], Any]
"""What a worker does: picklable, and taking nothing."""

_POLL_SECONDS = 0.2


class UnitQueue:
    """Units of work on their way through a cluster; several threads may map at once.

    At most `in_flight` units are submitted at any time over all threads, so that memory does not
    grow with the number of units.
    """

    def __init__(self, client: Client, in_flight: int) -> None:
        self._client = client
        self._slots = Slots(in_flight)
        self._order = itertools.count()
        self._stopping = threading.Event()
        self.reason: BaseException | None = None

    @property
    def stopped(self) -> bool:
        """Whether the queue was stopped."""
        return self._stopping.is_set()

    def resize(self, in_flight: int) -> None:
        """Have another number of units in flight from now on."""
        self._slots.resize(in_flight)

    def stop(self, reason: BaseException) -> None:
        """Submit nothing more and cancel what is in flight; the first reason is kept."""
        if not self._stopping.is_set():
            self.reason = reason
            self._stopping.set()

    def map(
        self, calls: Mapping[str, Call], done: Callable[[str, Any], None]
    ) -> dict[str, BaseException]:
        """Have all calls done; gives the errors of those that failed, by name.

        `done` takes the name and the result of each that ends, one after the other in this thread.
        Where it cannot write, and where the cluster is lost, the queue stops.
        """
        waiting = deque(calls.items())
        in_flight: dict[Future, str] = {}
        ended: SimpleQueue[Future] = SimpleQueue()
        errors: dict[str, BaseException] = {}
        place = self._slots.join()
        try:
            while (waiting or in_flight) and not self.stopped:
                if waiting and self._slots.take(place, 0 if in_flight else _POLL_SECONDS):
                    name, call = waiting.popleft()
                    if not waiting:
                        self._slots.leave(place)
                    # Those that came first are finished first.
                    future = self._client.submit(call, pure=False, priority=-next(self._order))
                    in_flight[future] = name
                    future.add_done_callback(ended.put)
                    continue
                try:
                    future = ended.get(timeout=_POLL_SECONDS)
                except Empty:
                    continue
                name = in_flight.pop(future)
                self._slots.give_back()
                try:
                    done(name, _result(future))
                except (OutputUnwritable, ClusterUnavailable):
                    raise
                except Exception as error:
                    errors[name] = error
        except Exception as error:
            self.stop(error)
        finally:
            self._slots.leave(place)
            if in_flight:
                self._client.cancel(list(in_flight), force=True)
                self._slots.give_back(len(in_flight))
        return errors


def call(function: Callable[..., Any], *arguments: Any) -> Call:
    """A function and what it takes, to be called by a worker."""
    return partial(function, *arguments)


def _result(future: Future) -> Any:
    if future.status == "finished":
        return future.result()
    if future.status == "error":
        raise future.exception()
    raise ClusterUnavailable(
        "The connection to the Dask scheduler was lost. What was made before is kept; start "
        "again to go on."
    )
