"""Workers and schedulers that are really killed: while they start, in the middle, for good."""

import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import psutil
import pytest

from flows.cli.main import run
from flows.execution import work_queue
from flows.execution.dask_cluster import open_cluster
from flows.execution.dask_log import dask_log_file, log_dask_to_file
from flows.execution.work_queue import open_queue
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings
from tests.flows.conftest import Shell, connected, rasters
from tests.scheduler_file import scheduler_address

pytestmark = pytest.mark.timeout(900)  # a busy machine takes minutes to start processes
Options = Callable[..., list[str]]
ONE = ClusterSettings(kind="local", workers=1, threads=1)


def worker_processes(of: psutil.Process) -> list[psutil.Process]:
    """The processes of Dask's workers below a process."""
    found = []
    for child in of.children(recursive=True):
        try:
            if any("spawn_main" in word for word in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


@contextmanager
def killing(most: int, of: psutil.Process | None = None) -> Iterator[set[int]]:
    """Kill each worker as soon as it is there, up to so many; gives their process ids."""
    killed: set[int] = set()
    ended = threading.Event()

    def kill() -> None:
        while len(killed) < most and not ended.wait(0.02):
            for worker in worker_processes(of or psutil.Process()):
                if worker.pid not in killed and len(killed) < most:
                    worker.kill()
                    killed.add(worker.pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_a_worker_that_is_killed_while_it_starts_is_started_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with killing(1) as killed, open_cluster(ONE) as client:
        assert len(killed) == 1
        assert client.submit(sum, [2, 3]).result(timeout=120) == 5
    said, errors = capfd.readouterr()
    assert "Traceback" not in said + errors
    assert "distributed" not in said + errors


def test_workers_that_never_start_are_given_up(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        killing(1000) as killed,
        pytest.raises(
            ClusterUnavailable, match=r"do not start in 3 attempts \(RuntimeError: Nanny"
        ),
        open_cluster(ONE),
    ):
        raise AssertionError
    assert len(killed) == 3
    said, errors = capfd.readouterr()
    assert "Traceback" not in said + errors
    assert not worker_processes(psutil.Process())


@pytest.mark.slow
def test_workers_that_never_come_back_end_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_queue, "_WORKERLESS_SECONDS", 1)

    def wait_for_them() -> None:
        with open_queue(ONE) as queue, killing(1000):
            until = time.monotonic() + 300
            while time.monotonic() < until:
                queue.resize()
                time.sleep(0.2)

    with pytest.raises(ClusterUnavailable, match="All workers have died"):
        wait_for_them()


def finished(out: Path) -> int:
    return len(list(out.glob("cells/*/*/item.json")))


def wait_for(moment: Callable[[], bool]) -> None:
    until = time.monotonic() + 600
    while not moment():
        assert time.monotonic() < until, "the moment did not come"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_run_survives_its_workers_and_says_nothing_of_it(
    tmp_path: Path, shell: Shell, options: Options, whole_run: Path, users_server: str
) -> None:
    out, state = tmp_path / "run", tmp_path / "state"
    sizes = ("--cluster", "local", "--workers", "1", "--threads", "1")
    process = shell.timesen(
        "map", *options(out, *sizes), PREFECT_API_URL=users_server, XDG_STATE_HOME=str(state)
    )
    wait_for(lambda: finished(out) >= 2 or process.poll() is not None)
    with killing(2, psutil.Process(process.pid)) as killed:  # the second while it starts again
        wait_for(lambda: len(killed) == 2 or process.poll() is not None)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert len(killed) == 2
    assert "Traceback" not in said + errors
    assert "distributed" not in said + errors
    assert rasters(out) == rasters(whole_run)
    assert "distributed.nanny WARNING Restarting worker" in (state / "timesen/dask.log").read_text()


POISON = """
import os, signal
import pipeline.mapping.cell_graph as graph
if graph.commit_cell.__name__ != "poisoned":  # Dask preloads it twice
    commit_cell = graph.commit_cell
    def poisoned(store, run, cell, *rest):
        if cell.id == "{cell}":
            os.kill(os.getpid(), signal.SIGKILL)
        return commit_cell(store, run, cell, *rest)
    graph.commit_cell = poisoned
"""


@pytest.mark.slow
def test_a_cell_that_kills_its_workers_is_set_aside_alone(
    tmp_path: Path,
    options: Options,
    whole_run: Path,
    users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, (first, *others) = tmp_path / "run", sorted(whole_run.glob("cells/*/*"))
    sizes = ("--cluster", "local", "--workers", "1", "--threads", "2", "--worker-deaths", "1")
    preload = {"distributed.worker.preload": [POISON.format(cell=first.name)]}
    with connected(users_server), dask.config.set(preload):
        assert run(["map", *options(out, *sizes)]) == 1
    assert finished(out) == len(others)  # also those that were in flight beside it
    assert [path.stem for path in (out / "failures").iterdir()] == [first.name]
    said, reason = capsys.readouterr().out, "its worker died once while no other cell was in work"
    assert f"1 of {len(others) + 1} cells failed, such as {first.name} ({reason}" in said
    assert run(["status", str(out), "--json"]) == 0
    (failure,) = json.loads(capsys.readouterr().out)["failed"]
    assert failure["kind"] == "WorkerDeaths"
    assert failure["error"].startswith(reason)
    assert "more memory for each worker" in (out / "report.html").read_text()

    # The next start tries it after the cells that are left.
    last = out / others[-1].relative_to(whole_run)
    shutil.rmtree(last)
    with connected(users_server):
        assert run(["map", *options(out)]) == 0
    poisoned = out / first.relative_to(whole_run) / "item.json"
    assert poisoned.stat().st_mtime_ns > (last / "item.json").stat().st_mtime_ns
    assert rasters(out) == rasters(whole_run)


@pytest.mark.slow
def test_a_run_whose_scheduler_is_killed_says_so_and_goes_on_later(
    tmp_path: Path, shell: Shell, options: Options, whole_run: Path, users_server: str
) -> None:
    out, file = tmp_path / "run", tmp_path / "scheduler.json"
    scheduler = shell.start(
        *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"),
        *("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)),
    )
    address = scheduler_address(file)
    worker = shell.start(
        *(sys.executable, "-m", "distributed.cli.dask_worker", address),
        *("--no-nanny", "--nthreads", "1", "--no-dashboard"),
    )
    process = shell.timesen(
        "map", *options(out, "--cluster", address), PREFECT_API_URL=users_server
    )
    wait_for(lambda: finished(out) >= 2 or process.poll() is not None)
    os.kill(scheduler.pid, signal.SIGKILL)
    said, errors = process.communicate(timeout=600)
    worker.kill()
    assert process.returncode == 1
    assert "The connection to the Dask scheduler was lost" in errors
    assert "Traceback" not in said + errors
    assert 2 <= finished(out) < finished(whole_run)
    again = shell.timesen("map", *options(out), PREFECT_API_URL=users_server)
    _, errors = again.communicate(timeout=600)
    assert again.returncode == 0, errors
    assert rasters(out) == rasters(whole_run)


def test_the_log_is_a_file_that_holds_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    log_dask_to_file()
    log_dask_to_file()
    try:
        raise OSError("https://user:word@host/a.tif?sig=word\x1b[2J refused")
    except OSError:
        logging.getLogger("distributed.worker").exception("failed during heartbeat")
    path = dask_log_file()
    assert path == tmp_path / "timesen" / "dask.log"
    text = path.read_text()
    assert text.count("failed during heartbeat") == 1
    assert "Traceback" in text
    assert "word" not in text
    assert "\x1b" not in text
    assert capfd.readouterr() == ("", "")
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    log_dask_to_file()
    logging.getLogger("distributed.worker").error("nobody hears this")
    assert capfd.readouterr() == ("", "")
