"""Fewer collections of garbage while many small objects are made that form no circles."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLD = (100_000, 50, 1000)  # objects, and collections of the younger generations

_lock = threading.Lock()
_within = 0  # blocks that are under way, in whatever threads
_before = gc.get_threshold()


@contextmanager
def few_collections() -> Iterator[None]:
    """Let Python look for circles seldom; else it goes through all items again and again.

    The setting is the whole process's: the first block to begin sets it, the last to end restores
    it, in whatever threads they are.
    """
    global _within, _before
    with _lock:
        if not _within:
            _before = gc.get_threshold()
            gc.set_threshold(*_THRESHOLD)
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
            if not _within:
                gc.set_threshold(*_before)
