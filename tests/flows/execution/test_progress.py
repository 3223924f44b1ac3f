"""The share of work that is done, the time that is left, and the lines of a log."""

from types import SimpleNamespace

import pytest

from flows.execution import console as console_module
from flows.execution import progress as progress_module
from flows.execution.console import PlainConsole, show_progress
from flows.execution.progress import RunProgress, UnitCount, report_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of progress; `now` is set by the test."""
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    for module in (progress_module, console_module):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_parts_of_a_unit_count_until_it_ends(clock: SimpleNamespace) -> None:
    count = UnitCount({"a": 100, "b": 100, "c": 200}, ["c"], "cells")
    assert count.progress("mapping").share == 0.5
    count.begin("a", 3)
    count.part_ended("a")
    assert count.progress("mapping").share == pytest.approx(0.5 + 0.25 / 4)
    for _ in range(7):  # a worker died, and its tasks were run once more
        count.part_ended("a")
    assert count.progress("mapping").share == pytest.approx(0.5 + 0.75 / 4)
    count.finished("a")
    assert count.progress("mapping").share == 0.75
    assert str(count.progress("mapping")).startswith("mapping: 2 of 3 cells")


def test_the_share_does_not_fall_where_a_unit_fails_and_begins_again() -> None:
    count = UnitCount({"a": 1, "b": 1}, [], "cells")
    shares = []
    for change in (
        lambda: count.begin("a", 9),
        *[lambda: count.part_ended("a")] * 9,
        lambda: count.failed("a"),
        lambda: count.begin("a", 9),
        lambda: count.part_ended("a"),
        lambda: count.finished("a"),
        lambda: count.settle("b", "others'"),
        lambda: count.settle("b", "done"),
    ):
        change()
        shares.append(count.progress("mapping").share)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert str(count.progress("mapping")) == "mapping: 2 of 2 cells, 1 by other processes"


def test_the_time_left_falls_with_the_clock(clock: SimpleNamespace) -> None:
    count = UnitCount({str(number): 1 for number in range(10)}, [], "cells")
    assert count.progress("mapping").seconds_left is None
    left = []
    for number in range(9):
        for _ in range(4):
            clock.now += 1
            if (seconds := count.progress("mapping").seconds_left) is not None:
                left.append(seconds)
        count.finished(str(number))
        left.append(count.progress("mapping").seconds_left or 0.0)
    assert left[0] == pytest.approx(36)
    assert left == sorted(left, reverse=True)
    assert left[-1] == pytest.approx(4)


def test_a_unit_that_takes_longer_moves_the_end(clock: SimpleNamespace) -> None:
    count = UnitCount({"a": 1, "b": 1}, [], "cells")
    clock.now += 10
    count.finished("a")
    assert count.progress("mapping").seconds_left == pytest.approx(10)
    clock.now += 20
    assert count.progress("mapping").seconds_left == pytest.approx(30)


def test_a_log_has_few_lines(clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    day, cells = 24 * 3600, 10_000
    with show_progress(PlainConsole(width=100)):
        for cell in range(cells):
            clock.now += 2 * day / cells
            report_progress(RunProgress("mapping", cells, cell, 0, cell / cells, 100.0))
            report_progress(RunProgress("mapping", cells, cell, 0, (cell + 0.5) / cells, 90.0))
        report_progress(RunProgress("mapping", cells, cells, 0, 1.0))
    lines = capsys.readouterr().out.splitlines()
    assert 50 < len(lines) < 500
    assert lines[-1] == "mapping: 10000 of 10000 cells"
