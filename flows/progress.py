"""How far a run is: told to whoever listens, shown on a terminal."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_LINE_SECONDS = 10


@dataclass(frozen=True)
class RunProgress:
    """How far a run is: `stage` in words, and of its `units` how many there are and are done.

    `share` is what part of all work is done, 0 … 1. `seconds_left` is None while nothing tells how
    long a unit takes.
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
