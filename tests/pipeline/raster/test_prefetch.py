"""Reads begun ahead of their turn: in order, at most so many, finished by the thread that asks."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from rasterio.windows import Window

from pipeline.raster.prefetch import ReadAhead

WINDOW = Window(0, 0, 2, 2)
PATIENCE = 30.0  # seconds that a test waits before it fails


class Reads:
    """Reads that note when they are begun and by whom they are finished."""

    def __init__(self, ahead: ReadAhead, number: int, fails: int | None = None) -> None:
        self.begun: list[int] = []
        self.finished: list[str] = []
        self.changed = threading.Condition()
        for n in range(number):
            assert ahead.announce(self._read(n, fails=n == fails)) == n

    def _read(self, n: int, *, fails: bool) -> Callable[[Window], Callable[[], np.ndarray]]:
        def begin(window: Window) -> Callable[[], np.ndarray]:
            with self.changed:
                self.begun.append(n)
                self.changed.notify_all()
            if fails:
                raise OSError(f"read {n} fails")
            return lambda: self._finish(n)

        return begin

    def _finish(self, n: int) -> np.ndarray:
        self.finished.append(threading.current_thread().name)
        return np.full((2, 2), n)

    def wait_for(self, number: int) -> None:
        """Until so many are begun."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.begun) >= number, PATIENCE)


def test_each_reader_gets_its_own_window() -> None:
    ahead = ReadAhead(3)
    Reads(ahead, 10)
    for n in range(10):
        np.testing.assert_array_equal(ahead.take(n, WINDOW)(), np.full((2, 2), n))


def test_begins_so_many_ahead_and_no_more() -> None:
    ahead = ReadAhead(4)
    reads = Reads(ahead, 10)
    ahead.take(0, WINDOW)
    reads.wait_for(4)
    assert sorted(reads.begun) == [0, 1, 2, 3]
    ahead.take(1, WINDOW)
    reads.wait_for(5)
    assert sorted(reads.begun) == [0, 1, 2, 3, 4]


def test_who_asks_decodes() -> None:
    ahead = ReadAhead(4)
    reads = Reads(ahead, 4)
    for n in range(4):
        ahead.take(n, WINDOW)()
    assert set(reads.finished) == {threading.current_thread().name}


def test_reads_out_of_turn() -> None:
    ahead = ReadAhead(2)
    reads = Reads(ahead, 6)
    for n in (3, 3, 0, 5, 1):
        assert ahead.take(n, WINDOW)()[0, 0] == n
    assert 2 not in reads.begun  # it was passed over and nobody asked for it


def test_a_failure_is_raised_in_its_turn_and_cancels_waiting_reads() -> None:
    ahead = ReadAhead(3)
    reads = Reads(ahead, 50, fails=2)
    assert ahead.take(0, WINDOW)()[0, 0] == 0
    assert ahead.take(1, WINDOW)()[0, 0] == 1
    with pytest.raises(OSError, match="read 2 fails"):
        ahead.take(2, WINDOW)
    assert max(reads.begun) <= 4


def test_threads_share_an_ahead() -> None:
    """Two tasks whose readers were announced together each get their own."""
    ahead = ReadAhead(8)
    Reads(ahead, 40)
    found: dict[int, int] = {}

    def take(numbers: range) -> None:
        for n in numbers:
            found[n] = int(ahead.take(n, WINDOW)()[0, 0])

    threads = [threading.Thread(target=take, args=(range(k, 40, 2),)) for k in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == {n: n for n in range(40)}
