"""The limits of one input: seconds and bytes, beyond which it counts as a finding."""

import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SECONDS = 10.0
"""That one input may compute."""
WAITING = 60.0
"""Seconds that one input may take, waiting included: the machine may have other work."""
BYTES = 10**9
"""That one input may take beyond what the process had before."""

_TIMERS = {
    signal.SIGPROF: (signal.ITIMER_PROF, SECONDS),
    signal.SIGALRM: (signal.ITIMER_REAL, WAITING),
}


class TookTooLong(BaseException):
    """An input took longer than it may; no `except Exception` of a library catches it."""


@contextmanager
def limited() -> Iterator[None]:
    """Raise TookTooLong or MemoryError in this block, which runs in the main thread.

    Memory is that of data (RLIMIT_DATA): files that are mapped for reading do not count, and what
    is allocated counts whether it is used or not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    before = {number: signal.signal(number, _late) for number in _TIMERS}
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + BYTES, hard))
    for timer, seconds in _TIMERS.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _ in _TIMERS.values():
            signal.setitimer(timer, 0)
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
        for number, handler in before.items():
            signal.signal(number, handler)


def _late(number: int, frame: FrameType | None) -> None:
    what = "computing" if number == signal.SIGPROF else "waiting"
    raise TookTooLong(f"no end after {_TIMERS[signal.Signals(number)][1]:g} s of {what}")


def _data_bytes() -> int:
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def peak_bytes() -> int:
    """The most memory that this process has held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
