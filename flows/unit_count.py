"""Units of work done and failed, counted by several threads."""

import threading
import time
from collections.abc import Collection, Mapping

from flows.progress import RunProgress


class UnitCount:
    """How far a run is: `weights` of all its units, of which some are `done` before it begins.

    `units` is what they are called.
    """

    def __init__(self, weights: Mapping[str, int], done: Collection[str], units: str) -> None:
        self._lock = threading.Lock()
        self._weights = dict(weights)
        self._units = units
        self._done = set(done)
        self._failed: set[str] = set()
        self._before = self._sum(self._done)
        self._began = time.monotonic()

    def finished(self, name: str) -> None:
        """Count a unit as done."""
        with self._lock:
            self._done.add(name)
            self._failed.discard(name)

    def failed(self, name: str) -> None:
        """Count a unit as failed, until it is finished."""
        with self._lock:
            self._failed.add(name)

    def is_done(self, name: str) -> bool:
        """Whether a unit is done."""
        return name in self._done

    def progress(self, stage: str) -> RunProgress:
        """How far the run is now."""
        with self._lock:
            total, done = self._sum(self._weights), self._sum(self._done)
            left, now = total - done - self._sum(self._failed), done - self._before
            elapsed = time.monotonic() - self._began
            return RunProgress(
                stage=stage,
                total=len(self._weights),
                done=len(self._done),
                failed=len(self._failed),
                share=done / total if total else 1.0,
                seconds_left=elapsed * left / now if now else None,
                units=self._units,
            )

    def _sum(self, names: Collection[str]) -> int:
        return sum(self._weights[name] for name in names)
