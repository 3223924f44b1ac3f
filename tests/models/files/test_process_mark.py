"""Marks of real processes: alive, stopped, killed, and killed but not yet waited for."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.files.process_mark import is_dead, is_here, process_mark, remove_leftovers

_SHOWS_ITS_MARK = (
    "import sys, time\nfrom models.files.process_mark import process_mark\n"
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


_LEAVES = (
    "import multiprocessing, sys, tempfile\n"
    "from models.files.process_mark import mark_semaphores, temporary_prefix\n"
    "mark_semaphores()\n"
    "lock = multiprocessing.get_context('spawn').Lock()\n"
    "folder = tempfile.mkdtemp(prefix=temporary_prefix('test'))\n"
    "print(lock._semlock.name, folder, flush=True)\nsys.stdin.read()\n"
)


def test_only_what_a_killed_group_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _LEAVES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        for _ in range(2)
    ]
    left = []
    for process in processes:
        assert process.stdout is not None
        semaphore, folder = process.stdout.readline().split()
        left.append((Path(f"/dev/shm/sem.{semaphore[1:]}"), Path(folder)))
    others = [tmp_path / name for name in ("timesen-prefect-0a1b2c3d", "timesen-x", "other-x-y")]
    for other in others:
        other.mkdir()
    os.killpg(processes[0].pid, signal.SIGKILL)  # with Python's own that removes semaphores
    processes[0].communicate()
    assert all(path.exists() for paths in left for path in paths)
    remove_leftovers()
    assert [path.exists() for path in left[0]] == [False, False]
    assert [path.exists() for path in left[1]] == [True, True]
    assert all(other.exists() for other in others)
    processes[1].communicate("")
    assert not left[1][0].exists()
