"""The progress of a run, reported to whoever listens, and units counted by several threads."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace

_CORRECTION = 0.2


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
        others: number of units that other processes did meanwhile.
    """

    stage: str
    total: int = 0
    done: int = 0
    failed: int = 0
    share: float = 0.0
    seconds_left: float | None = None
    units: str = "cells"
    others: int = 0

    def __str__(self) -> str:
        """One line, "mapping: 3 of 12 cells, 1 failed, about 4 min left"."""
        parts = [f"{self.stage}"]
        if self.total:
            parts[0] += f": {self.done} of {self.total} {self.units}"
        if self.others:
            parts.append(f"{self.others} by other processes")
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


@contextlib.contextmanager
def progress_of(name: str) -> Iterator[None]:
    """Report what runs in this block as the progress of one of several runs, "ghent: mapping"."""
    outer = _listener.get()
    if outer is None:
        yield
        return
    listener = outer
    with progress_listener(lambda one: listener(replace(one, stage=f"{name}: {one.stage}"))):
        yield


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

    The share of work that is done never falls: a unit that failed has been gone through.

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
        self._by_others: set[str] = set()
        self._parts: dict[str, tuple[int, int]] = {}
        self._total = sum(self._weights.values())
        self._before = self._gone = float(self._sum(self._done))
        self._left = _TimeLeft()

    def begin(self, name: str, parts: int) -> None:
        """Count a unit as begun; `part_ended` tells of so many parts of about the same length."""
        with self._lock:
            self._parts[name] = 0, parts

    def part_ended(self, name: str) -> None:
        """Count a part of a unit that was begun."""
        with self._lock:
            if name in self._parts:
                ended, parts = self._parts[name]
                self._parts[name] = min(ended + 1, parts), parts

    def finished(self, name: str) -> None:
        """Count a unit as done."""
        with self._lock:
            self._parts.pop(name, None)
            self._done.add(name)
            self._failed.discard(name)

    def failed(self, name: str) -> None:
        """Count a unit as failed, until it is finished."""
        with self._lock:
            self._parts.pop(name, None)
            self._failed.add(name)

    def settle(self, name: str, outcome: str) -> None:
        """Count a unit that another process ended: as "done", "failed", or not yet at all."""
        if outcome == "done":
            self.finished(name)
            self._by_others.add(name)
        elif outcome == "failed":
            self.failed(name)

    def is_done(self, name: str) -> bool:
        """Whether a unit is done."""
        return name in self._done

    def is_settled(self, name: str) -> bool:
        """Whether a unit is done or failed."""
        return name in self._done or name in self._failed

    def progress(self, stage: str) -> RunProgress:
        """The progress now."""
        with self._lock:
            self._gone = max(self._gone, self._sum(self._done | self._failed) + self._begun())
            left = self._left.seconds(self._gone - self._before, self._total - self._gone)
            return RunProgress(
                stage=stage,
                total=len(self._weights),
                done=len(self._done),
                failed=len(self._failed),
                share=self._gone / self._total if self._total else 1.0,
                seconds_left=left,
                units=self._units,
                others=len(self._by_others),
            )

    def _begun(self) -> float:
        """The work in units that are under way; what ends a unit counts as one part more."""
        return sum(
            self._weights[name] * ended / (parts + 1)
            for name, (ended, parts) in self._parts.items()
        )

    def _sum(self, names: Collection[str]) -> int:
        return sum(self._weights[name] for name in names)


class _TimeLeft:
    """The time until a run ends: by the clock between two looks at its work, so that it falls."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._work = 0.0
        self._end: float | None = None

    def seconds(self, work: float, left: float) -> float | None:
        """Seconds left after so much work, in any measure; None while it is not known."""
        now = time.monotonic()
        if work <= 0:
            return None
        if self._end is None or work > self._work or now >= self._end:
            end = now + (now - self._began) * left / work
            if self._end is None or now >= self._end:
                self._end = end
            else:  # what has been said is corrected step by step
                self._end += _CORRECTION * (end - self._end)
            self._work = work
        return max(0.0, self._end - now)
