"""The progress of a run: units counted by several threads, and shown on a terminal."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_LINE_SECONDS = 10


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
def told_to(listener: Listener) -> Iterator[None]:
    """Have the progress of runs in this block told to a listener."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(progress: RunProgress) -> None:
    """Tell who listens, if somebody does."""
    if (listener := _listener.get()) is not None:
        listener(progress)


def in_tenths(stage: str) -> Callable[[float], None]:
    """Tells that a stage begins, then how far it is, in tenths; it is given shares, 0 … 1."""
    tell(RunProgress(stage))
    told = 0

    def progress(share: float) -> None:
        nonlocal told
        if (tenths := int(share * 10)) > told:
            told = tenths
            tell(RunProgress(f"{stage}, {tenths / 10:.0%}"))

    return progress


@contextlib.contextmanager
def shown_on(console: Console) -> Iterator[None]:
    """Show the progress of runs in this block: a bar on a terminal, else a line now and then."""
    with _bar(console) if console.is_terminal else _lines(console):
        yield


def duration(seconds: float) -> str:
    """A time that a person reads: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[None]:
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: RunProgress) -> None:
            total = 1.0 if progress.total else None
            bar.update(task, description=str(progress), completed=progress.share, total=total)

        with told_to(show):
            yield


@contextlib.contextmanager
def _lines(console: Console) -> Iterator[None]:
    shown = RunProgress("")
    when = -float(_LINE_SECONDS)

    def show(progress: RunProgress) -> None:
        nonlocal shown, when
        now, new = time.monotonic(), replace(progress, seconds_left=None)
        ended = progress.total and progress.done + progress.failed == progress.total
        if new != shown and (new.stage != shown.stage or ended or now - when >= _LINE_SECONDS):
            console.print(str(progress), highlight=False, soft_wrap=True)
            shown, when = new, now

    with told_to(show):
        yield


class UnitCount:
    """Count the units of a run that are done and failed.

    Args:
        weights: the share of the work of each unit, by name.
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
        """How far the run is now."""
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
