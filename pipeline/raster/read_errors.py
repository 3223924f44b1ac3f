"""Why a raster could not be read, and the log of those that were left out for it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Failure:
    """Why a raster could not be read, in words of our own, which hold no address.

    `unreachable` says that nothing is known of the raster itself: server, network, credentials or
    memory failed. Else it is missing or damaged, and stays so; `certain` where that cannot be a
    refusal in the middle of a file. `passing`: asked again after a while, it may go better;
    `pause` is the seconds that the server wants to be left alone. `refused`: new credentials may
    help.
    """

    reason: str
    unreachable: bool
    certain: bool = True
    passing: bool = False
    refused: bool = False
    pause: float = 0.0


class Unreadable(Exception):
    """Raised with a `Failure` between the parts of the reader, never outside of it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def damaged(reason: str = "is truncated or damaged") -> Unreadable:
    """What is raised for a raster that is there, but is not what it should be."""
    return Unreadable(Failure(reason, unreachable=False))


@dataclass(frozen=True)
class Fault:
    """A raster that was left out: its URL without secrets, its band, and a short reason."""

    asset: str
    band: str
    reason: str


class FaultLog:
    """The faults that readers of this process have met, and how often they asked again.

    Threads may share one.
    """

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._retried = 0
        self._lock = threading.Lock()

    def append(self, fault: Fault) -> None:
        """Note a fault."""
        with self._lock:
            self._faults.append(fault)

    def retried(self) -> None:
        """Note that something was asked for again."""
        with self._lock:
            self._retried += 1

    @property
    def retries(self) -> int:
        """How often something was asked for again."""
        return self._retried

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def __getstate__(self) -> dict[str, Any]:
        return {"faults": tuple(self._faults), "retries": self._retried}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self._faults = list(state["faults"])
        self._retried = state["retries"]

    def __dask_tokenize__(self) -> int:
        return id(self)  # what a reader reads does not depend on the faults it has met
