"""Pretrainings that are cut off and go on: to the same weights, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.cli.main import run
from models.encoder.checkpoint import load_checkpoint
from models.pretraining.state import saved_states
from pipeline.io.store import Store
from tests.flows.conftest import REPOSITORY, Shell, connected, end_when
from tests.flows.pretrainings import members, pretraining, weights
from tests.s3_server import s3
from tests.scheduler_file import scheduler_address
from tests.training_sets import made_set

__all__ = ["s3"]

pytestmark = pytest.mark.timeout(900)  # a busy machine takes minutes to start processes
TWO = ("--processes", "2", "--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "set"
    made_set(str(folder))
    return folder


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory, users_server: str) -> Path:
    """A checkpoint of two processes that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "made"
    with connected(users_server):
        assert run(pretraining(dataset, out, *TWO)) == 0
    (session,) = load_checkpoint(out).card.training["sessions"]
    assert (session["from_step"], session["processes"]) == (0, 2)
    return out


def sessions(checkpoint: Path) -> list[int]:
    """The steps from which a checkpoint's processes began."""
    return [s["from_step"] for s in load_checkpoint(checkpoint).card.training["sessions"]]


def has_saved(folder: str, step: int) -> Callable[[], bool]:
    """Whether the state of a step, or a later one, is saved."""
    store = Store(f"{folder}/states")
    return lambda: any(_step(key) >= step for key in saved_states(store))


def _step(key: str) -> int:
    return int(key.removeprefix("state-").partition(".")[0])


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "process"])
def test_a_worker_or_its_process_that_is_killed(
    dataset: Path, whole: Path, tmp_path: Path, s3: str, users_server: str, victim: str
) -> None:
    out, folder = tmp_path / "made", f"{s3}/{victim}"
    saved = has_saved(folder, 10)

    def kill() -> None:
        while not saved():
            time.sleep(0.02)
        member = members()[-1]
        os.kill(member.ppid() if victim == "worker" else member.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with connected(users_server):
        assert run(pretraining(dataset, out, *TWO, "--run", folder)) == 0
    killer.join()
    assert 10 <= sessions(out)[1] < 30
    assert weights(out) == weights(whole)
    metrics = Store(folder).read("metrics.jsonl")
    assert [e["step"] for e in map(json.loads, metrics.splitlines()) if "loss" in e] == [
        5, 10, 15, 20, 25, 30,
    ]  # fmt: skip
    assert list(Store(f"{folder}/tensorboard").keys())


@pytest.mark.slow
def test_everything_stopped_and_the_same_command_again(
    dataset: Path, whole: Path, tmp_path: Path, shell: Shell, users_server: str
) -> None:
    out = tmp_path / "made"
    command = pretraining(dataset, out, *TWO)
    process = shell.timesen(*command, PREFECT_API_URL=users_server)
    end_when(shell, process, signal.SIGKILL, has_saved(f"{out}.training", 5))
    assert process.returncode == -signal.SIGKILL
    process = shell.timesen(*command, PREFECT_API_URL=users_server)
    end_when(shell, process, signal.SIGTERM, has_saved(f"{out}.training", 15))
    assert process.returncode == 130
    assert not out.exists()
    with connected(users_server):
        assert run(command) == 0
    assert len(sessions(out)) == 3
    assert sessions(out)[1] >= 5
    assert weights(out) == weights(whole)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_and_started_again(
    dataset: Path, whole: Path, tmp_path: Path, shell: Shell, users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "made"
    saved, started = has_saved(f"{out}.training", 10), [*cluster(shell, tmp_path / "first")]
    address = json.loads((tmp_path / "first").read_text())["address"]

    def kill() -> None:
        while not saved():
            time.sleep(0.01)
        started[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with connected(users_server):
        assert run(pretraining(dataset, out, *TWO, "--cluster", address)) == 1
        assert "the same command goes on from there" in capsys.readouterr().err
        killer.join()
        cluster(shell, tmp_path / "second")
        address = json.loads((tmp_path / "second").read_text())["address"]
        assert run(pretraining(dataset, out, *TWO, "--cluster", address)) == 0
    assert sessions(out)[1] >= 10
    assert weights(out) == weights(whole)


def cluster(shell: Shell, file: Path) -> tuple[subprocess.Popen[str], ...]:
    """A scheduler, whose address is in a file, and two workers."""
    dask = (sys.executable, "-m")
    scheduler = shell.start(
        *dask, "distributed.cli.dask_scheduler", "--no-dashboard", "--host", "127.0.0.1",
        "--port", "0", "--scheduler-file", str(file),
    )  # fmt: skip
    scheduler_address(file)
    workers = shell.start(
        *dask, "distributed.cli.dask_worker", "--scheduler-file", str(file),
        "--nworkers", "2", "--nthreads", "1", "--no-dashboard",
    )  # fmt: skip
    return scheduler, workers
