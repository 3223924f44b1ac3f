"""Progress within units: which tasks of a unit's graph the workers of a cluster have done.

A plugin of the workers sends the keys of tasks that end as events of Dask, which the scheduler
passes to the client. So it works on clusters of all kinds, and the graphs stay as they are.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from dask.delayed import Delayed
from distributed import Client, Worker, WorkerPlugin

_RAN = ("executing", "long-running")


class _EndedTasks(WorkerPlugin):
    """Sends the key of each task of some functions that ends well on a worker."""

    def __init__(self, topic: str, functions: tuple[str, ...]) -> None:
        self.name, self._prefixes = topic, tuple(f"{name}-" for name in functions)
        self._worker: Worker | None = None

    def setup(self, worker: Worker) -> None:
        """Begin on a worker."""
        self._worker = worker

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Send a task's key once it has run; copies of results from other workers do not count."""
        ran = start in _RAN and finish == "memory"
        if ran and self._worker is not None and str(key).startswith(self._prefixes):
            self._worker.log_event(self.name, str(key))


class TaskProgress:
    """Tells of units by name that one more of their tasks has ended."""

    def __init__(self, functions: tuple[str, ...], ended: Callable[[str], None]) -> None:
        self._prefixes = tuple(f"{name}-" for name in functions)
        self._ended = ended
        self._lock = threading.Lock()
        self._unit_of: dict[str, str] = {}
        self._keys_of: dict[str, list[str]] = {}

    def follow(self, name: str, graph: Delayed) -> int:
        """Follow a unit's graph; give the number of its tasks that will be told of."""
        keys = [key for key in map(str, graph.__dask_graph__()) if key.startswith(self._prefixes)]
        with self._lock:
            self._keys_of[name] = keys
            self._unit_of.update(dict.fromkeys(keys, name))
        return len(keys)

    def forget(self, name: str) -> None:
        """Follow a unit no longer."""
        with self._lock:
            for key in self._keys_of.pop(name, ()):
                self._unit_of.pop(key, None)

    def handle(self, event: tuple[float, str]) -> None:
        """Take an event of Dask."""
        with self._lock:
            name = self._unit_of.pop(event[1], None)
        if name is not None:
            self._ended(name)


@contextlib.contextmanager
def task_progress(
    client: Client, functions: tuple[str, ...], ended: Callable[[str], None]
) -> Iterator[TaskProgress]:
    """Follow the tasks of units on a cluster for the length of the block.

    Args:
        client: The cluster's client.
        functions: The names of the functions whose tasks count; the others are short.
        ended: Called with a unit's name, in a thread of Dask, for each of its tasks that has ended.
    """
    progress, topic = TaskProgress(functions, ended), f"timesen-tasks-{client.id}"
    client.subscribe_topic(topic, progress.handle)
    client.register_plugin(_EndedTasks(topic, functions))
    try:
        yield progress
    finally:
        if client.cluster is None and client.status == "running":  # others use its workers, too
            with contextlib.suppress(Exception):  # the scheduler may go now
                client.unregister_worker_plugin(topic)
