"""Retries by a clock of the test's own: what passes, how long, and how often."""

import time

import pytest

from pipeline.raster import retry as retry_module
from pipeline.raster.read_errors import ReadFailure, Unreadable
from pipeline.raster.retry import with_retries

BUSY = ReadFailure("its server answered HTTP 503", unreachable=True, passing=True)
ABSENT = ReadFailure("its server answered HTTP 404", unreachable=False)
DENIED = ReadFailure("its server answered HTTP 403", unreachable=True, refused=True)


class Clock:
    """Time that passes only while someone sleeps, or while a question takes its time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(retry_module, "time", clock)
    return clock


@pytest.fixture
def without_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry_module.random, "uniform", lambda least, most: (least + most) / 2)


class Server:
    """Answers after some failures, each of which takes `seconds` of the clock's."""

    def __init__(self, clock: Clock, *failures: ReadFailure, seconds: float = 0.0) -> None:
        self.clock, self.seconds = clock, seconds
        self.failures = list(failures)
        self.asked: list[float] = []
        self.retried: list[int] = []

    def __call__(self) -> str:
        self.asked.append(self.clock.now)
        self.clock.now += self.seconds
        if self.failures:
            raise Unreadable(self.failures.pop(0))
        return "its answer"

    def with_retries(self, seconds: float) -> str:
        """Call it with retries; `retried` holds the number of calls before each retry."""
        return with_retries(self, seconds, lambda: self.retried.append(len(self.asked)))


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_the_answer_after_failures_is_returned(clock: Clock, failures: int) -> None:
    server = Server(clock, *failures * [BUSY])
    assert server.with_retries(120) == "its answer"
    assert len(server.asked) == failures + 1
    assert server.retried == list(range(1, failures + 1))  # before each new question, once
    assert len(clock.pauses) == failures


@pytest.mark.usefixtures("without_jitter")
def test_pauses_double_up_to_ten_seconds(clock: Clock) -> None:
    Server(clock, *8 * [BUSY]).with_retries(1000)
    assert clock.pauses == [0.25, 0.5, 1, 2, 4, 8, 10, 10]


def test_readers_that_failed_at_once_do_not_come_back_at_once(clock: Clock) -> None:
    for _ in range(200):
        Server(clock, BUSY, BUSY).with_retries(120)
    for pauses, usual in ((clock.pauses[::2], 0.25), (clock.pauses[1::2], 0.5)):
        assert len(set(pauses)) > 100
        assert min(pauses) >= 0.5 * usual
        assert max(pauses) <= 1.5 * usual
        assert max(pauses) - min(pauses) > 0.5 * usual


@pytest.mark.parametrize("seconds", [0.0, 3.0])
@pytest.mark.parametrize("limit", [0.5, 20.0, 120.0])
def test_requests_repeat_until_the_limit(clock: Clock, limit: float, seconds: float) -> None:
    """The time of an attempt counts, and no pause ends after the limit."""
    server = Server(clock, *1000 * [BUSY], seconds=seconds)
    with pytest.raises(Unreadable) as raised:
        server.with_retries(limit)
    assert raised.value.failure == BUSY
    began = server.asked[0]
    assert server.asked[-1] <= began + limit
    longest = min(0.25 * 2 ** len(clock.pauses), 10) * 1.5
    assert clock.now + longest > began + limit  # it does not give up while a pause would fit
    assert len(server.retried) == len(clock.pauses) == len(server.asked) - 1


def test_without_a_retry_time_one_request_is_sent(clock: Clock) -> None:
    server = Server(clock, BUSY)
    with pytest.raises(Unreadable):
        server.with_retries(0)
    assert (len(server.asked), server.retried, clock.pauses) == (1, [], [])


@pytest.mark.parametrize("failure", [ABSENT, DENIED], ids=["404", "403"])
def test_a_failure_that_does_not_pass_is_raised_at_once(clock: Clock, failure: ReadFailure) -> None:
    server = Server(clock, failure)
    with pytest.raises(Unreadable) as raised:
        server.with_retries(120)
    assert raised.value.failure == failure
    assert (len(server.asked), server.retried, clock.pauses) == (1, [], [])


def test_a_later_failure_that_does_not_pass_is_raised(clock: Clock) -> None:
    server = Server(clock, BUSY, BUSY, ABSENT, BUSY)
    with pytest.raises(Unreadable) as raised:
        server.with_retries(120)
    assert raised.value.failure == ABSENT
    assert server.retried == [1, 2]


@pytest.mark.usefixtures("without_jitter")
def test_a_pause_that_the_server_names_comes_before_its_own(clock: Clock) -> None:
    busy_for_30 = ReadFailure(BUSY.reason, unreachable=True, passing=True, pause=30)
    Server(clock, BUSY, busy_for_30, BUSY).with_retries(120)
    assert clock.pauses == [0.25, 30 + 0.5, 1]  # only for the failure that names it


def test_readers_that_are_sent_away_alike_do_not_come_back_at_once(clock: Clock) -> None:
    busy_for_30 = ReadFailure(BUSY.reason, unreachable=True, passing=True, pause=30)
    for _ in range(50):
        Server(clock, busy_for_30).with_retries(120)
    assert min(clock.pauses) > 30
    assert len(set(clock.pauses)) > 25


@pytest.mark.parametrize(("pause", "limit"), [(3600, 120), (30, 30), (30, 1)])
def test_a_pause_beyond_the_limit_is_not_begun(clock: Clock, pause: float, limit: float) -> None:
    """Not cut to what is left, either: a server that is asked too early only refuses again."""
    failure = ReadFailure(BUSY.reason, unreachable=True, passing=True, pause=pause)
    server = Server(clock, failure)
    with pytest.raises(Unreadable) as raised:
        server.with_retries(limit)
    assert raised.value.failure == failure
    assert (len(server.asked), server.retried, clock.pauses) == (1, [], [])


@pytest.mark.usefixtures("without_jitter")
def test_pauses_add_up_to_the_limit_and_no_more(clock: Clock) -> None:
    failure = ReadFailure(BUSY.reason, unreachable=True, passing=True, pause=10)
    server = Server(clock, *5 * [failure])
    with pytest.raises(Unreadable):
        server.with_retries(10.25 + 10.5)  # the third pause would be beyond
    assert clock.pauses == [10.25, 10.5]
    assert len(server.asked) == 3


def test_other_errors_are_not_caught(clock: Clock) -> None:
    def wrong() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with_retries(wrong, 120)
    assert not clock.pauses


def test_by_the_real_clock() -> None:
    """It does wait; and `retried` need not be given."""
    failures = [BUSY]

    def ask() -> str:
        if failures:
            raise Unreadable(failures.pop())
        return "its answer"

    began = time.monotonic()
    assert with_retries(ask, 60) == "its answer"
    assert time.monotonic() >= began + 0.125
