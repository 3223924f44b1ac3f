"""Units whose workers died while they ran: who is to blame shows when one runs alone.

Dask counts the death of a worker against every task that the worker had, those that had not begun
included. So a unit that Dask gives up (`KilledWorker`) is only suspected, and is tried once more
after all others, with nothing else in flight. What dies then dies of this unit.
"""

import threading
from collections.abc import Iterable

from distributed import KilledWorker

from models.errors import WorldError


class WorkerDeaths(WorldError):
    """A unit that was alone on a cluster whose workers died, as often as the settings allow."""


class SuspectUnits:
    """The names of suspected units, in the order in which they came; threads may share it."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._names = dict.fromkeys(names)

    def add(self, name: str) -> None:
        """Suspect a unit."""
        with self._lock:
            self._names[name] = None

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def names(self) -> list[str]:
        """All of them now."""
        with self._lock:
            return list(self._names)


def is_killed(error: BaseException) -> bool:
    """Whether a unit failed because workers died that had it in work, or next."""
    return isinstance(error, KilledWorker)


def blamed(error: BaseException, unit: str) -> BaseException:
    """The error of a unit that ran alone: where its workers died, what that means and what helps.

    `unit` is what it is called, "cell". Other errors are given as they are.
    """
    if not isinstance(error, KilledWorker):
        return error
    deaths = error.allowed_failures + 1
    times = "once" if deaths == 1 else f"{deaths} times"
    return WorkerDeaths(
        f"its worker died {times} while no other {unit} was in work. Most often it lacks memory. "
        "What helps: more memory for each worker (memory_limit of local workers, or that of their "
        f"jobs or pods), or fewer threads of a worker. A new start tries this {unit} last and alone"
    )
