"""Asking again: with growing, jittered pauses, for as long as it may go better."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.raster.read_errors import ReadFailure, Unreadable

_Answer = TypeVar("_Answer")
_FIRST, _LONGEST = 0.25, 10.0  # seconds of a pause


def patiently(
    ask: Callable[[], _Answer], patience: float, retried: Callable[[], None] = lambda: None
) -> _Answer:
    """What `ask` gives; while it raises a passing failure it is asked again.

    Pauses double from a quarter of a second to ten seconds, each 50 to 150 % of that, so that
    many readers of a server that has failed do not come back at once; where the server names a
    pause, they follow it. None ends later than `patience` seconds from the first question.
    `retried` is called before each new question. Raises the last Unreadable.
    """
    began = time.monotonic()
    pause = _FIRST
    while True:
        try:
            return ask()
        except Unreadable as error:
            failure: ReadFailure = error.failure
            wait = failure.pause + pause * random.uniform(0.5, 1.5)
            if not failure.passing or time.monotonic() + wait > began + patience:
                raise
        retried()
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST)
