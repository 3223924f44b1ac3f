"""The progress of a run, reported to whoever listens, and units counted by several threads."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class RunProgress:
    """The progress of a run at one moment.

    Attributes:
        stage: what the run does now, in words.
        total: number of units.
        done: number of units that are done.
        failed: number of units that failed.
        share: part of all work that is done, 0 … 1.
        seconds_left: None while it is not known how long a unit takes.
        units: what units are called.
    """

    stage: str
    total: int = 0
    done: int = 0
    failed: int = 0
    share: float = 0.0
    seconds_left: float | None = None
    units: str = "cells"

    def __str__(self) -> str:
        """One line, "mapping: 3 of 12 cells, 1 failed, about 4 min left"."""
        parts = [f"{self.stage}"]
        if self.total:
            parts[0] += f": {self.done} of {self.total} {self.units}"
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.seconds_left is not None and self.done + self.failed < self.total:
            parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)


Listener = Callable[[RunProgress], None]
_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)


@contextlib.contextmanager
def progress_listener(listener: Listener) -> Iterator[None]:
    """Report the progress of runs in this block to a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report_progress(progress: RunProgress) -> None:
    """Report progress to the listener, if there is one."""
    if (listener := _listener.get()) is not None:
        listener(progress)


def report_tenths(stage: str) -> Callable[[float], None]:
    """Report that a stage begins; give a function that takes its share, 0 … 1, of work done.

    The function reports each tenth once.
    """
    report_progress(RunProgress(stage))
    reported = 0

    def progress(share: float) -> None:
        nonlocal reported
        if (tenths := int(share * 10)) > reported:
            reported = tenths
            report_progress(RunProgress(f"{stage}, {tenths / 10:.0%}"))

    return progress


def duration(seconds: float) -> str:
    """A duration in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class UnitCount:
    """The number of units of a run that are done and that failed; threads may share it.

    Args:
        weights: the work of each unit, by name, in any measure.
        done: names of the units that were done before the run began.
        units: what units are called, such as "cells".
    """

    def __init__(self, weights: Mapping[str, int], done: Collection[str], units: str) -> None:
        self._lock = threading.Lock()
        self._weights = dict(weights)
        self._units = units
        self._done = set(done)
        self._failed: set[str] = set()
        self._before = self._sum(self._done)
        self._began = time.monotonic()

    def finished(self, name: str) -> None:
        """Count a unit as done."""
        with self._lock:
            self._done.add(name)
            self._failed.discard(name)

    def failed(self, name: str) -> None:
        """Count a unit as failed, until it is finished."""
        with self._lock:
            self._failed.add(name)

    def is_done(self, name: str) -> bool:
        """Whether a unit is done."""
        return name in self._done

    def progress(self, stage: str) -> RunProgress:
        """The progress now."""
        with self._lock:
            total, done = self._sum(self._weights), self._sum(self._done)
            left, now = total - done - self._sum(self._failed), done - self._before
            elapsed = time.monotonic() - self._began
            return RunProgress(
                stage=stage,
                total=len(self._weights),
                done=len(self._done),
                failed=len(self._failed),
                share=done / total if total else 1.0,
                seconds_left=elapsed * left / now if now else None,
                units=self._units,
            )

    def _sum(self, names: Collection[str]) -> int:
        return sum(self._weights[name] for name in names)
