"""Rasters are fetched before they are needed, so that a server's latency is paid once.

It is written by hand because stackstac reads one raster after the other, and waits for each:
`tests/benchmarks/bench_reading.py` measures both (`tests/benchmarks/results/reading.md`).
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from typing import Any

import numpy as np
from distributed.threadpoolexecutor import ThreadPoolExecutor
from rasterio.windows import Window

Decode = Callable[[], np.ndarray]
"""The second step of a read, once the bytes are there: the work that takes a core."""
Fetch = Callable[[Window], Decode]
"""The first step of a read: it waits for the network."""


class ReadAhead:
    """The reads of one window from several rasters, in the order of their announcement.

    stackstac calls its readers one after the other. When it calls one, the next are fetched, too,
    by threads that the process's tasks share. They wait for the network most of the time. The
    caller's thread decodes, so no more threads work than there are cores. At most `requests` reads
    are fetched and not yet taken, so memory stays bounded.
    """

    def __init__(self, requests: int) -> None:
        self._requests = requests
        self._announced: list[Fetch] = []
        self._fetching: dict[int, Future[Decode]] = {}
        self._next = 0
        self._lock = threading.Lock()

    def announce(self, fetch: Fetch) -> int:
        """Add a read after those announced so far; returns its number."""
        with self._lock:
            self._announced.append(fetch)
            return len(self._announced) - 1

    def take(self, number: int, window: Window) -> Decode:
        """The second step of a read; raises the error of its first step, and cancels the others."""
        with self._lock:
            last = min(number + self._requests, len(self._announced))
            threads = _threads(self._requests)
            for other in range(max(self._next, number), last):
                self._fetching[other] = threads.submit(self._announced[other], window)
            self._next = max(self._next, last)
            future = self._fetching.pop(number, None)
        if future is None:  # taken out of turn, or once more
            return self._announced[number](window)
        try:
            return future.result()
        except BaseException:
            with self._lock:
                for pending in self._fetching.values():
                    pending.cancel()
            raise

    def __dask_tokenize__(self) -> Any:
        return id(self)


@lru_cache(maxsize=4)
def _threads(requests: int) -> ThreadPoolExecutor:
    # Dask's executor: Python waits for the threads of its own before it ends, so a thread in a
    # retry's pause would delay the end by minutes.
    return ThreadPoolExecutor(requests, thread_name_prefix="reading")
