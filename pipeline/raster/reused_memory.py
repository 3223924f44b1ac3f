"""Memory that is used again for the next read, instead of being mapped and cleared anew.

New memory costs a page fault and a cleared page for every 4 kB, and glibc gives freed blocks of
more than 128 kB back to the system; in Dask's worker processes always, since they are started with
MALLOC_TRIM_THRESHOLD_=65536. `tests/benchmarks/bench_reading.py` measures what reading takes.
"""

import ctypes
import math
import threading
from functools import cache

import numpy as np

# mallopt(3) of glibc: the parameters' numbers, and their values in bytes.
_M_TRIM_THRESHOLD, _TRIM_THRESHOLD = -1, 8 * 2**20  # what each heap may keep at its end
_M_MMAP_THRESHOLD, _MMAP_THRESHOLD = -3, 8 * 2**20  # four blocks of 1024² pixels

_kept = threading.local()


@cache
def keep_freed_memory() -> None:
    """Have this process keep the memory of blocks and windows that it frees; no effect off glibc.

    Each of its heaps, of which there is one for a few threads, may keep 8 MB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)


def return_freed_memory() -> None:
    """Give all that was freed back to the system, after much of it was; no effect off glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def reused_array(shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """An array with any content, which this thread's next call overwrites."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory: np.ndarray | None = getattr(_kept, "memory", None)
    if memory is None or memory.size < size:
        _kept.memory = memory = None  # freed before more is asked for
        _kept.memory = memory = np.empty(size, np.uint8)
    return memory[:size].view(dtype).reshape(shape)
