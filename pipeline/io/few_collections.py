"""Fewer collections of garbage while many small objects are made that form no circles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLD = (100_000, 50, 1000)  # objects, and collections of the younger generations


@contextmanager
def few_collections() -> Iterator[None]:
    """Let Python look for circles seldom; else it goes through all items again and again."""
    before = gc.get_threshold()
    gc.set_threshold(*_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*before)
