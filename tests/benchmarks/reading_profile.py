"""The CPU time of a read by its parts, summed over all threads.

`python -m tests.benchmarks.reading_profile JOB` reads as the way `timesen` of `reading_ways` does,
its parts wrapped in clocks, and prints the seconds as JSON.
"""

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stackstac import to_dask

from pipeline.observations import cube
from pipeline.raster import byte_ranges, cog_reader
from pipeline.raster import stackstac_reader as reader
from tests.benchmarks.reading_job import read_job
from tests.benchmarks.reading_ways import with_timesen

REST, WALL = "all else: Python, Dask, waking threads", "wall"
_PARTS: tuple[tuple[str, Any, str], ...] = (
    ("fetching bytes", byte_ranges.HttpRanges, "read"),
    ("inflating", cog_reader, "_inflated"),
    ("undoing differences", cog_reader, "_put"),
    ("the rest of a window: its memory, the list of blocks", cog_reader.StoredWindow, "decoded"),
    ("headers", cog_reader, "read_header"),
    ("offset and saturation", reader, "harmonised"),
    ("the rest of the reader", reader.NativeReader, "_fetch"),
    ("the rest of the reader", reader.NativeReader, "read"),
    ("stackstac: a chunk's memory, the copy into it", to_dask, "fetch_raster_window"),
    ("stackstac: the lazy array", cube, "observations"),
)
"""The timed functions, by the name of their part; a part's time excludes the parts within it."""


class Clocks:
    """Seconds of CPU by part; the calls of a thread are nested."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open = threading.local()
        self._lock = threading.Lock()

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def within(*args: Any, **kwargs: Any) -> Any:
            inner = getattr(self._open, "inner", 0.0)
            self._open.inner = 0.0
            began = time.thread_time()
            try:
                return call(*args, **kwargs)
            finally:
                spent = time.thread_time() - began
                with self._lock:
                    self.seconds[name] += spent - self._open.inner
                self._open.inner = inner + spent

        return within


def main(path: Path) -> None:
    """Read, and print the cost."""
    job = read_job(path)
    with_timesen(job.warming)
    clocks = Clocks()
    for name, place, function in _PARTS:
        setattr(place, function, clocks.timed(name, getattr(place, function)))
    began, cpu = time.perf_counter(), time.process_time()
    delivered = with_timesen(job)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert delivered  # its memory is held until the clocks have stopped
    spent = {name: clocks.seconds[name] for name, _, _ in _PARTS}
    spent |= {REST: cpu - sum(spent.values()), WALL: wall}
    print(json.dumps(spent))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
