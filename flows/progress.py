"""How far a run is: counted while cells finish, told to whoever listens, shown on a terminal."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipeline.grid import Cell

_LINE_SECONDS = 10


@dataclass(frozen=True)
class RunProgress:
    """How far a run is: `stage` in words, its cells, and what share of their pixels is done.

    What is counted may be called otherwise: `units`.
    `seconds_left` is None while nothing tells how long a cell takes.
    """

    stage: str
    cells: int = 0
    done: int = 0
    failed: int = 0
    share: float = 0.0
    seconds_left: float | None = None
    units: str = "cells"

    def __str__(self) -> str:
        """One line, "mapping: 3 of 12 cells, 1 failed, about 4 min left"."""
        parts = [f"{self.stage}"]
        if self.cells:
            parts[0] += f": {self.done} of {self.cells} {self.units}"
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.seconds_left is not None and self.done + self.failed < self.cells:
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


class CellCount:
    """Cells done and failed, counted by several threads.

    `cells` are all of the run, `done` those that were finished before it was started.
    """

    def __init__(self, cells: Sequence[Cell], done: Sequence[Cell] = ()) -> None:
        self._lock = threading.Lock()
        self._pixels = {cell.id: cell.height * cell.width for cell in cells}
        self._done = {cell.id for cell in done}
        self._failed: set[str] = set()
        self._before = self._sum(self._done)
        self._began = time.monotonic()

    def finished(self, cell: Cell) -> None:
        """Count a cell as done."""
        with self._lock:
            self._done.add(cell.id)
            self._failed.discard(cell.id)

    def failed(self, cell: Cell) -> None:
        """Count a cell as failed, until it is finished."""
        with self._lock:
            self._failed.add(cell.id)

    def is_done(self, cell: Cell) -> bool:
        """Whether a cell is done."""
        return cell.id in self._done

    def progress(self, stage: str) -> RunProgress:
        """How far the run is now."""
        with self._lock:
            total, done = sum(self._pixels.values()), self._sum(self._done)
            left, now = total - done - self._sum(self._failed), done - self._before
            elapsed = time.monotonic() - self._began
            return RunProgress(
                stage=stage,
                cells=len(self._pixels),
                done=len(self._done),
                failed=len(self._failed),
                share=done / total if total else 1.0,
                seconds_left=elapsed * left / now if now else None,
            )

    def _sum(self, ids: set[str]) -> int:
        return sum(self._pixels[cell] for cell in ids)


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
            total = 1.0 if progress.cells else None
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
        ended = progress.cells and progress.done + progress.failed == progress.cells
        if new != shown and (new.stage != shown.stage or ended or now - when >= _LINE_SECONDS):
            console.print(str(progress), highlight=False, soft_wrap=True)
            shown, when = new, now

    with told_to(show):
        yield
