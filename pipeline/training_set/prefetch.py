"""What an iterator gives, made by a thread a little ahead of who asks for it."""

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


def made_ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """What `items` gives, in order, at most `count` of them made and not yet asked for.

    The thread begins with the first question, and has ended when this iterator has, or is closed.
    Raises what `items` raises, in its place.
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
        except BaseException as error:  # told to who asks, in whose thread it is answered
            put(_End(error))
        else:
            put(_End())
        finally:
            if hasattr(items, "close"):
                items.close()

    thread = threading.Thread(target=make, daemon=True, name="made-ahead")
    thread.start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()
