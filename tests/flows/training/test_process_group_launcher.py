"""Groups of real processes on real Dask workers, and how they end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

from flows.execution.dask_cluster import open_cluster
from flows.training import process_group_launcher as process_group
from flows.training.process_group_launcher import MemberDied, run_job, run_surviving
from flows.training.process_group_member import GroupPlace, place_of_environment
from flows.training.process_group_worker_task import Job
from models.errors import UserError, WorldError
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings
from tests.flows.conftest import REPOSITORY, Shell
from tests.scheduler_file import scheduler_address

pytestmark = pytest.mark.timeout(900)  # a busy machine takes minutes to start processes
Given = Callable[..., Job]


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        yield


@pytest.fixture(scope="module")
def workers() -> Iterator[Client]:
    """Two workers that their nannies start again."""
    with open_cluster(ClusterSettings(kind="local", workers=2, threads=1)) as client:
        yield client


@pytest.fixture
def job(tmp_path: Path) -> Given:
    def made(processes: int = 2, threads: int | None = 1, **given: Any) -> Job:
        line = json.dumps({"does": None, "folder": str(tmp_path)} | given)
        return Job("tests.flows.group_job", line, processes, threads)

    return made


def require_ended(messages: Sequence[Any], seconds: float = 60) -> None:
    """Fail where a process that sent a message lives on."""
    until = time.monotonic() + seconds
    while left := [m["pid"] for m in messages if psutil.pid_exists(m["pid"])]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def test_a_process_on_each_worker(workers: Client, job: Given) -> None:
    messages: list[Any] = []
    run_job(workers, job(threads=2), messages.append)
    assert {message["rank"]: message["total"] for message in messages} == {0: 3.0, 1: 3.0}
    assert {message["threads"] for message in messages} == {2}
    parents = [*workers.run(os.getpid).values(), os.getpid()]
    assert len({message["pid"] for message in messages} - {*parents}) == 2


def test_the_store_listens_on_the_workers_address_only(workers: Client, job: Given) -> None:
    messages: list[Any] = []
    run_job(workers, job(), messages.append)
    assert [message["store"] for message in messages] == [("127.0.0.1",)] * 2


def test_one_process_in_this_ones_worker(job: Given) -> None:
    messages: list[Any] = []
    with open_cluster(ClusterSettings()) as client:
        run_job(client, job(1), messages.append)
    assert [message["total"] for message in messages] == [1.0]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"does": "die", "rank": 1}, MemberDied, r"^Process 1 of 2, on the Dask worker tcp://\S+, "
         r"was ended by SIGKILL"),
        ({"does": "raise", "rank": 0}, MemberDied, "(?s)exit code 1.*nobody expected this"),
        ({"does": "mistake", "rank": 1}, UserError, "^the given: it is wrong. Give another.$"),
        ({"does": "failure", "rank": 0}, WorldError, "^s3://bucket/x does not answer"),
        # Rank 0 waits for rank 1, which sleeps.
        ({"does": "wait", "rank": 1, "timeout": 2}, MemberDied, "(?s)Process 0 .*imed out"),
    ],
)  # fmt: skip
def test_one_that_ends_badly_ends_all(
    workers: Client, job: Given, given: dict[str, Any], error: type[Exception], says: str
) -> None:
    messages: list[Any] = []
    with pytest.raises(error, match=says) as raised:
        run_job(workers, job(**given), messages.append)
    assert type(raised.value) is error
    assert len(messages) == 2
    require_ended(messages)


@pytest.mark.slow
def test_starts_again_after_a_death_so_often_and_no_more(workers: Client, job: Given) -> None:
    messages: list[Any] = []
    deaths: list[int] = []
    run_surviving(
        workers, job(does="die once", rank=1), messages.append, restarts=1,
        advanced=lambda: False, on_death=lambda error, left: deaths.append(left),
    )  # fmt: skip
    assert deaths == [0]
    deaths.clear()
    saved = iter([True, False])
    with pytest.raises(MemberDied, match="SIGKILL"):
        run_surviving(
            workers, job(does="die", rank=0), messages.append, restarts=1,
            advanced=lambda: next(saved, False),
            on_death=lambda error, left: deaths.append(left),
        )  # fmt: skip
    assert deaths == [1, 0]  # the first had saved something, which gives all restarts anew


@pytest.mark.slow
def test_a_worker_that_is_killed(workers: Client, job: Given) -> None:
    messages: list[Any] = []
    before = workers.run(os.getpid)
    victim = max(before.values())

    def kill_once_it_runs() -> None:
        while len(messages) < 2:
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill_once_it_runs)
    killer.start()
    with pytest.raises(MemberDied, match=r"Process [01] of 2, on .* is gone with its worker"):
        run_job(workers, job(does="wait", timeout=60), messages.append)
    killer.join()
    require_ended(messages)
    run_job(workers, job(), messages.append)  # the nanny has started another
    assert victim not in workers.run(os.getpid).values()


@pytest.mark.slow
def test_a_scheduler_that_is_killed(shell: Shell, tmp_path: Path, job: Given) -> None:
    file = tmp_path / "scheduler.json"
    dask = (sys.executable, "-m", "distributed.cli.dask_scheduler")
    quiet = ("--no-dashboard", "--host", "127.0.0.1", "--port", "0")
    scheduler: subprocess.Popen[str] = shell.start(*dask, *quiet, "--scheduler-file", str(file))
    address = scheduler_address(file)
    worker = (sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file))
    shell.start(*worker, "--nworkers", "2", "--nthreads", "1", "--no-dashboard")
    messages: list[Any] = []

    def hear(message: Any) -> None:
        messages.append(message)
        if len(messages) == 2:
            scheduler.kill()

    settings = ClusterSettings(kind="address", address=address)
    with (
        open_cluster(settings) as client,
        pytest.raises(ClusterUnavailable, match="the same command goes on from there"),
    ):
        run_job(client, job(does="wait", timeout=60), hear)
    require_ended(messages)


def test_too_few_workers(workers: Client, job: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_group, "_WORKERS_SECONDS", 0.5)
    with pytest.raises(ClusterUnavailable, match="3 processes need as many Dask workers"):
        run_job(workers, job(3), lambda message: None)


def test_places() -> None:
    assert place_of_environment({}) == GroupPlace()
    there = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    slurm = {"SLURM_PROCID": "2", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert place_of_environment(torchrun | there) == GroupPlace(3, 4, 1)
    assert place_of_environment(slurm | there) == GroupPlace(2, 4, 0)
    with pytest.raises(UserError, match="MASTER_ADDR and MASTER_PORT"):
        place_of_environment(slurm)
