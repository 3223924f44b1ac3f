"""Marks of real processes: alive, stopped, killed, and killed but not yet waited for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from models.process_mark import is_dead, is_here, process_mark

_SHOWS_ITS_MARK = (
    "import sys, time\nfrom models.process_mark import process_mark\n"
    "print(process_mark(), flush=True)\ntime.sleep(600)\n"
)


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process, and its mark."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SHOWS_ITS_MARK], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def test_a_process_is_dead_once_it_was_killed(other: tuple[subprocess.Popen[str], str]) -> None:
    process, mark = other
    assert is_here(mark)
    assert not is_dead(f"{mark}-and-more")
    process.send_signal(signal.SIGSTOP)
    assert not is_dead(mark)
    process.kill()
    until = time.monotonic() + 10
    while not is_dead(mark) and time.monotonic() < until:
        time.sleep(0.01)
    assert is_dead(mark), "killed, and its parent has not waited for it"
    process.wait()
    assert is_dead(f"{mark}-and-more")


def test_another_process_of_the_same_id_is_told_by_its_start() -> None:
    machine, pid, start = process_mark().split("-")
    assert not is_dead(process_mark())
    assert int(pid) == os.getpid()
    assert is_dead(f"{machine}-{pid}-{int(start) - 1}")


@pytest.mark.parametrize("mark", ["", "a1b2c3", "0123456789ab-1-1", "x-1-2", "0123456789ab--1"])
def test_nothing_is_said_of_other_machines_or_other_names(mark: str) -> None:
    assert not is_dead(mark)
    assert not is_here(mark)
