"""A flow on a console: its Prefect server in the background, how far it is, what it says."""

import contextlib
import os
from collections.abc import Callable, Iterator

from rich.console import Console

from flows.execution.prefect_server import prefect_server
from flows.execution.progress import RunProgress, shown_on, tell


@contextlib.contextmanager
def on_console(console: Console) -> Iterator[Callable[[], None]]:
    """Show the progress of a flow in this block; gives a function that awaits its Prefect server.

    What needs Prefect is to be imported in the block. Raises PrefectUnavailable.
    """
    # What Prefect logs goes to its server; on the console, only we speak.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with prefect_server() as wait_for_server, shown_on(console):
        tell(RunProgress("starting"))
        yield wait_for_server


def say(console: Console, text: str) -> None:
    """Print a text as it is, however long its lines."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)
