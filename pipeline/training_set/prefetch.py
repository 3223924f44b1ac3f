"""Prefetching: a thread that makes the items of an iterator before they are needed."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def prefetched(items: Iterator[T], count: int) -> Generator[T]:
    """Yield the items of an iterator in order, `count` of them made in advance by a thread.

    The thread starts with the first item, and has ended when this generator has ended or is closed.
    An error that `items` raises is raised here, at the same place.
    """
    end: Any = object()
    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    made = deque(thread.submit(next, items, end) for _ in range(count))
    try:
        while (item := made.popleft().result()) is not end:
            made.append(thread.submit(next, items, end))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)  # waits for the item that is being made
        if isinstance(items, Generator):
            items.close()
