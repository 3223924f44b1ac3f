"""The retry policy: growing, jittered pauses, for as long as a failure may pass."""

import math
import random
import time
from collections.abc import Callable
from typing import TypeVar

from pipeline.raster.read_errors import Unreadable

_Result = TypeVar("_Result")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0  # seconds


def with_retries(
    attempt: Callable[[], _Result],
    retry_seconds: float,
    retried: Callable[[], None] = lambda: None,
    *,
    attempts: float = math.inf,
) -> _Result:
    """Call `attempt` until it returns; repeat it while it raises a failure that may pass.

    Pauses double from a quarter of a second to ten seconds. Each is 50 to 150 % of that, so that
    many readers of a server that has failed do not come back at once. A pause that the server
    names (Retry-After) is added.

    Args:
        attempt: May raise Unreadable.
        retry_seconds: No pause ends later than this after the first attempt.
        retried: Called before each new attempt.
        attempts: The most attempts.

    Raises:
        Unreadable: The last failure.
    """
    began = time.monotonic()
    pause = _FIRST_PAUSE
    while True:
        attempts -= 1
        try:
            return attempt()
        except Unreadable as error:
            failure = error.failure
            wait = failure.pause + pause * random.uniform(0.5, 1.5)
            too_late = attempts < 1 or time.monotonic() + wait > began + retry_seconds
            if too_late or not failure.passing:
                raise
        retried()
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)
