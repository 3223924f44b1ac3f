"""Prefetching: a thread that makes the items of an iterator before they are needed."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1


class _End:
    """Nothing follows, or the error that ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetched(items: Iterator[T], count: int) -> Iterator[T]:
    """Yield the items of an iterator in order, up to `count` of them made in advance by a thread.

    The thread starts with the first item, and has ended when this iterator has ended or is closed.
    An error that `items` raises is raised here, at the same place.
    """
    made: queue.Queue[T | _End] = queue.Queue(count)
    stopped = threading.Event()

    def put(what: T | _End) -> None:
        while not stopped.is_set():
            try:
                made.put(what, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            break

    def make() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    break
        except BaseException as error:  # raised again in the consumer's thread
            put(_End(error))
        else:
            put(_End())
        finally:
            if hasattr(items, "close"):
                items.close()

    thread = threading.Thread(target=make, daemon=True, name="prefetch")
    thread.start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()
