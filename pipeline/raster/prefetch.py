"""Rasters fetched ahead of who asks for them in turn: a server's latency is waited for once."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from typing import Any

import numpy as np
from distributed.threadpoolexecutor import ThreadPoolExecutor
from rasterio.windows import Window

Pixels = Callable[[], np.ndarray]
Begin = Callable[[Window], Pixels]


class ReadAhead:
    """Reads that will be asked for in the order in which they were announced, of one window.

    stackstac asks its readers one after the other. When the first is asked, the next ones are
    begun, too, by threads that this process's tasks share: `requests` of them, which wait for the
    network most of the time. What they fetched is finished by the thread that takes it, so that
    there are no more at work than cores, and what is held is small. No more than that many are
    begun and not yet taken, so memory stays bounded.
    """

    def __init__(self, requests: int) -> None:
        self._requests = requests
        self._announced: list[Begin] = []
        self._begun: dict[int, Future[Pixels]] = {}
        self._next = 0
        self._lock = threading.Lock()

    def announce(self, begin: Begin) -> int:
        """Say that a read will be asked for after those announced so far; gives its number."""
        with self._lock:
            self._announced.append(begin)
            return len(self._announced) - 1

    def take(self, number: int, window: Window) -> Pixels:
        """What finishes a read; raises what beginning it raises, and then begins no other."""
        with self._lock:
            last = min(number + self._requests, len(self._announced))
            threads = _threads(self._requests)
            for other in range(max(self._next, number), last):
                self._begun[other] = threads.submit(self._announced[other], window)
            self._next = max(self._next, last)
            future = self._begun.pop(number, None)
        if future is None:  # asked for out of turn
            return self._announced[number](window)
        try:
            return future.result()
        except BaseException:
            with self._lock:
                for begun in self._begun.values():
                    begun.cancel()
            raise

    def __dask_tokenize__(self) -> Any:
        return id(self)


@lru_cache(maxsize=4)
def _threads(requests: int) -> ThreadPoolExecutor:
    # Dask's own: Python waits for the threads of its executor before it ends, which those that ask
    # a server patiently would hold up by minutes.
    return ThreadPoolExecutor(requests, thread_name_prefix="reading")
