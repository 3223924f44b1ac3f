"""A flow on a console: its progress and its messages, with its Prefect server behind."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.text import Text

from flows.execution.prefect_server import prefect_server
from flows.execution.progress import RunProgress, progress_listener, report_progress
from models.files.process_mark import remove_leftovers
from models.visible_text import visible_lines

_LINE_SECONDS = 10
_LINE_SHARE = 0.02  # of the time so far: a run of days has some hundred lines in a log


class PlainConsole(Console):
    """A console that shows texts as they are, whoever wrote them.

    They hold no markup, and their control characters do not reach the terminal. Styles are those
    of arguments and of `rich.text.Text`.
    """

    def __init__(self, width: int | None = None) -> None:
        super().__init__(width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text, safe before its width is measured."""
        return super().render_str(visible_lines(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """The segments of anything; those that are rich's own controls stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible_lines(segment.text), segment.style)


@contextlib.contextmanager
def show_flow(console: Console) -> Iterator[Callable[[], None]]:
    """Start Prefect's server and show the progress of the flow that runs in this block.

    Import what needs Prefect inside the block. Raises PrefectUnavailable.

    Returns:
        A function that waits until the server answers.
    """
    remove_leftovers()
    # What Prefect logs goes to its server; on the console, only we speak.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with prefect_server() as wait_for_server, show_progress(console):
        report_progress(RunProgress("starting"))
        yield wait_for_server


@contextlib.contextmanager
def show_progress(console: Console) -> Iterator[None]:
    """Show the progress of runs in this block: a bar on a terminal, else a line now and then."""
    with _bar(console) if console.is_terminal else _lines(console):
        yield


def say(console: Console, text: str) -> None:
    """Print a text as it is, however long its lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[None]:
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: RunProgress) -> None:
            bar.update(task, description=str(progress))
            if progress.total:  # a stage without a number, such as publishing, leaves it as it is
                bar.update(task, completed=progress.share, total=1.0)

        with progress_listener(show):
            yield


@contextlib.contextmanager
def _lines(console: Console) -> Iterator[None]:
    printed = RunProgress("")
    began = time.monotonic()
    when = began - _LINE_SECONDS

    def show(progress: RunProgress) -> None:
        nonlocal printed, when
        now, new = time.monotonic(), replace(progress, seconds_left=None, share=0.0)
        ended = progress.total and progress.done + progress.failed == progress.total
        due = now - when >= max(_LINE_SECONDS, (now - began) * _LINE_SHARE)
        if new != printed and (new.stage != printed.stage or ended or due):
            console.print(str(progress), highlight=False, soft_wrap=True)
            printed, when = new, now

    with progress_listener(show):
        yield
