"""Where Dask runs: real workers in threads, in processes, and behind a scheduler's address."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from distributed import Client

from flows.execution.cell_work import CellsFailed, CellWork, count_cells
from flows.execution.dask_cluster import (
    has_gpu_workers,
    one_cluster,
    open_cluster,
    require_shared_files,
    worker_count,
)
from flows.execution.task_progress import TaskProgress, task_progress
from flows.execution.work_queue import UnitQueue
from pipeline.clusters import address as address_cluster
from pipeline.clusters.kind import ClusterError, ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings
from pipeline.mapping.cell_graph import LONG_TASKS
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run import PreparedRun
from pipeline.mapping.shared_run import shared_run
from pipeline.settings.map import MapSettings, make_settings
from tests.flows.conftest import Shell
from tests.scheduler_file import scheduler_address

Start = Callable[..., subprocess.Popen[str]]
GB = 10**9


def test_threads_of_this_process() -> None:
    with open_cluster(ClusterSettings(threads=3)) as client:
        assert worker_count(client) == 1
        assert set(client.nthreads().values()) == {3}
        assert client.submit(threading.get_ident).result() != threading.get_ident()
        assert not has_gpu_workers(client, ClusterSettings(threads=3))


def test_runs_with_the_same_settings_share_a_cluster() -> None:
    with one_cluster():
        with open_cluster(ClusterSettings(threads=2)) as first:
            pass
        with open_cluster(ClusterSettings(threads=2)) as second:
            assert second is first
            assert second.submit(sum, [1, 2]).result() == 3
        with open_cluster(ClusterSettings(threads=1)) as third:
            assert third is not first
            assert first.status == "closed"
        with pytest.raises(ValueError, match="broken"), open_cluster(ClusterSettings(threads=1)):
            raise ValueError("broken")
        assert third.status == "closed"
        with open_cluster(ClusterSettings(threads=1)) as fourth:
            assert fourth is not third
    assert fourth.status == "closed"
    with open_cluster(ClusterSettings(threads=1)) as alone:
        pass
    assert alone.status == "closed"


def test_settings_of_dask_that_make_no_sense() -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "soon"}),
        pytest.raises(ClusterUnavailable, match=r"do not start \(KeyError: .*time unit: soon"),
        open_cluster(ClusterSettings()),
    ):
        raise AssertionError


BEGAN, FREE = threading.Event(), threading.Event()


def busy() -> None:
    BEGAN.set()
    FREE.wait(60)


@pytest.mark.parametrize("shared", [nullcontext, one_cluster])
def test_threads_that_are_busy_are_not_waited_for(
    shared: Callable[[], AbstractContextManager[None]],
) -> None:
    BEGAN.clear()
    FREE.clear()

    def interrupted() -> None:
        with shared(), open_cluster(ClusterSettings()) as client:
            future = client.submit(busy, pure=False)
            assert BEGAN.wait(30)
            client.cancel(future)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not FREE.is_set()
    FREE.set()


def test_processes_of_this_machine() -> None:
    settings = ClusterSettings(kind="local", workers=1, threads=2, memory_limit="1GB")
    with open_cluster(settings) as client:
        (worker,) = client.scheduler_info(n_workers=-1)["workers"].values()
        assert (worker["nthreads"], worker["memory_limit"]) == (2, GB)
        assert str(worker["host"]) == "127.0.0.1"


@pytest.fixture
def scheduler(shell: Shell, tmp_path: Path) -> tuple[str, Start]:
    """A scheduler's address, and how to start a worker for it: `start(*options, **environment)`."""
    dask = (sys.executable, "-m", "distributed.cli.dask_scheduler")
    file = tmp_path / "scheduler.json"
    quiet = ("--no-dashboard", "--host", "127.0.0.1", "--port", "0")
    shell.start(*dask, *quiet, "--scheduler-file", str(file))
    address = scheduler_address(file)

    def start(*options: str, **environment: str) -> subprocess.Popen[str]:
        worker = (sys.executable, "-m", "distributed.cli.dask_worker", address)
        sizes = ("--no-nanny", "--nthreads", "1", "--no-dashboard")
        return shell.start(*worker, *sizes, *options, **environment)

    return address, start


def test_a_scheduler_that_runs_already(
    scheduler: tuple[str, Start], planned_settings: MapSettings
) -> None:
    address, start_worker = scheduler
    start_worker("--resources", "GPU=1")
    settings = ClusterSettings(kind="address", address=address)
    prepared = prepare_run(planned_settings)
    with open_cluster(settings) as client:
        assert worker_count(client) == 1
        assert has_gpu_workers(client, settings)
        require_shared_files(client, prepared.run)
        elsewhere = replace(prepared.run, checkpoint="/nowhere/checkpoint")
        with pytest.raises(ClusterError, match=r"the worker tcp\S+: it cannot open"):
            require_shared_files(client, elsewhere)
        errors = map_some(client, prepared, 2)
        assert errors == []
    assert len(prepared.unfinished()) == len(prepared.cells) - 2
    with Client(address, timeout=10, set_as_default=False) as client:  # it is left running
        assert worker_count(client) == 1


def test_a_scheduler_that_goes_away(
    scheduler: tuple[str, Start], planned_settings: MapSettings, shell: Shell
) -> None:
    address, start_worker = scheduler
    start_worker()
    prepared = prepare_run(planned_settings)
    cluster = ClusterSettings(kind="address", address=address)
    with open_cluster(cluster) as client, shared_run(prepared) as shared:
        count = count_cells(prepared.cells)
        tasks = TaskProgress(LONG_TASKS, count.part_ended)
        queue = UnitQueue(client, lambda: 2)
        work = CellWork(prepared, shared, queue, count, tasks)
        thread = threading.Thread(target=work.map_cells, args=(prepared.cells,))
        thread.start()
        while not count.progress("").done:
            time.sleep(0.01)
        for process in shell.processes():
            process.kill()
        thread.join(60)
        assert not thread.is_alive()
    assert isinstance(queue.reason, ClusterUnavailable), queue.reason
    assert "connection to the Dask scheduler was lost" in str(queue.reason)
    assert 0 < len(prepared.unfinished()) < len(prepared.cells)


def map_some(client: Client, prepared: PreparedRun, number: int) -> list[BaseException]:
    """Map the first cells of a run; gives the errors."""
    queue = UnitQueue(client, lambda: 2)
    try:
        with shared_run(prepared) as shared:
            cells, count = prepared.cells[:number], count_cells(prepared.cells)
            with task_progress(client, LONG_TASKS, count.part_ended) as tasks:
                CellWork(prepared, shared, queue, count, tasks).map_cells(cells)
    except CellsFailed as error:
        return list(error.errors)
    finally:
        assert queue.reason is None
    return []


@pytest.fixture
def planned_settings(planned: Path, options: Callable[..., list[str]]) -> MapSettings:
    given = iter(options(planned))
    flat = {flag[2:].replace("-", "_"): value for flag, value in zip(given, given, strict=True)}
    return make_settings(flat | {"catalog": {"url": flat["catalog"]}})


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        (
            "rasterio.py",
            "raise ModuleNotFoundError('No module named rasterio')",
            r"the worker tcp\S+ cannot import timesen \(.*rasterio",
        ),
        (
            "timesen-0.0.9.dist-info/METADATA",
            "Name: timesen\nVersion: 0.0.9\n",
            r"the worker tcp\S+ has other software: timesen 0\.0\.9 instead of",
        ),
    ],
)
def test_workers_with_other_software(
    scheduler: tuple[str, Start], tmp_path: Path, file: str, content: str, problem: str
) -> None:
    address, start_worker = scheduler
    installed = tmp_path / "other" / file
    installed.parent.mkdir(parents=True)
    installed.write_text(content)
    start_worker(PYTHONPATH=str(tmp_path / "other"))
    settings = ClusterSettings(kind="address", address=address)
    with pytest.raises(ClusterError, match=problem):
        open_cluster(settings).__enter__()


def test_an_address_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_cluster, "_CONNECT_SECONDS", 1)
    before = _event_loops()
    settings = ClusterSettings(kind="address", address="tcp://127.0.0.1:9")
    with pytest.raises(ClusterUnavailable, match=r"127\.0\.0\.1:9 does not answer"):
        open_cluster(settings).__enter__()
    assert dask.config.get("scheduler", None) is None  # other computations still work
    assert not _event_loops() - before


def test_an_address_that_is_none() -> None:
    before = _event_loops()
    settings = ClusterSettings(kind="address", address="htp://nowhere")
    with pytest.raises(ClusterError, match="no scheduler's address"):
        open_cluster(settings).__enter__()
    assert not _event_loops() - before


def _event_loops() -> set[threading.Thread]:
    """Dask's threads; a client that is left open has one, and is closed at any moment."""
    return {thread for thread in threading.enumerate() if thread.name == "IO loop"}


def test_a_scheduler_without_workers(
    scheduler: tuple[str, Start], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_cluster, "_WORKERS_SECONDS", 0.5)
    settings = ClusterSettings(kind="address", address=scheduler[0])
    with pytest.raises(ClusterUnavailable, match="had no workers"):
        open_cluster(settings).__enter__()
