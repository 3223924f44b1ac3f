"""What listens while a run goes on: on this machine's loopback alone, whatever starts it."""

import ipaddress
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from flows.execution.dask_cluster import open_cluster
from flows.training.process_group_launcher import run_job
from flows.training.process_group_worker_task import Job
from pipeline.clusters.settings import ClusterSettings
from tests.flows.conftest import REPOSITORY, Shell

pytestmark = pytest.mark.timeout(900)  # a busy machine takes minutes to start processes
Options = Callable[..., list[str]]
Addresses = set[tuple[str, int]]


def listening(processes: Iterable[psutil.Process]) -> Addresses:
    """The addresses and ports at which processes listen."""
    found: Addresses = set()
    for process in processes:
        try:
            sockets = process.net_connections("inet")
        except psutil.Error:  # it has ended
            continue
        found |= {
            (str(one.laddr.ip), int(one.laddr.port))
            for one in sockets
            if one.status == psutil.CONN_LISTEN
        }
    return found


def require_loopback(found: Addresses) -> None:
    assert found
    assert not [one for one in found if not ipaddress.ip_address(one[0]).is_loopback]


@contextmanager
def watched() -> Iterator[Addresses]:
    """The addresses at which this process and its children come to listen within the block."""
    this = psutil.Process()
    before, found, done = listening([this]), set[tuple[str, int]](), threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            found.update(listening([this, *this.children(recursive=True)]) - before)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


@pytest.mark.slow
def test_a_run_with_its_own_workers_and_prefect_server(
    tmp_path: Path, shell: Shell, options: Options
) -> None:
    """The scheduler, nanny and worker of Dask, their pages, and Prefect's server."""
    sizes = ("--cluster", "local", "--workers", "1", "--threads", "1")
    process = shell.timesen("map", *options(tmp_path / "run", *sizes))
    found: Addresses = set()
    while process.poll() is None:
        found |= listening(shell.processes())
        time.sleep(0.1)
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    require_loopback(found)
    assert len(found) >= 5, "scheduler and worker, a page of each, nanny and Prefect's server"
    assert "Traceback" not in said + errors
    assert "distributed" not in said + errors


def test_threads_of_this_process() -> None:
    with watched() as found, open_cluster(ClusterSettings(threads=1)) as client:
        assert client.submit(sum, [2, 3]).result(timeout=60) == 5
        time.sleep(0.5)
    assert all(ipaddress.ip_address(ip).is_loopback for ip, _ in found)


def test_the_dashboard_is_for_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ClusterSettings(threads=1, dashboard=True)
    with watched() as found, open_cluster(settings):
        address = capsys.readouterr().err.removeprefix("Dask's dashboard: ").strip()
        with urllib.request.urlopen(address, timeout=60) as page:
            assert "bokeh" in page.read().decode()
    require_loopback(found)
    assert ("127.0.0.1", urlsplit(address).port) in found


def test_processes_that_train_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store at which they meet, and the ports at which they exchange gradients."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    job = Job(
        "tests.flows.group_job", json.dumps({"does": None, "folder": str(tmp_path)}), 2, threads=1
    )
    messages: list[Any] = []
    settings = ClusterSettings(kind="local", workers=2, threads=1)
    with open_cluster(settings) as client, watched() as found:
        run_job(client, job, messages.append)
    assert len(messages) == 2
    require_loopback(found)
