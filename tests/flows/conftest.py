"""A run small enough to be made many times, processes that can be told apart, a Prefect server."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch

from flows.cli.main import run
from flows.execution.prefect_server import drain
from models.encoder.checkpoint import save_checkpoint
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from pipeline.sample.archive import SampleArchive
from tests.made_card import made_card

REPOSITORY = Path(__file__).resolve().parents[2]
CELL_SIZE = 64
_ARCHITECTURE = TimeSenClipArchitecture(dim=16, depth=1, heads=2, feedforward=16, embedding_dim=384)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with random weights: what it maps is nonsense, and always the same."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    torch.manual_seed(0)
    save_checkpoint(folder, TimeSenClipEncoder(_ARCHITECTURE), made_card(_ARCHITECTURE))
    return folder


@pytest.fixture(scope="session")
def options(sample_archive: SampleArchive, tiny_checkpoint: Path) -> Callable[..., list[str]]:
    """The options of `timesen map` for the sample: `options(out, "--strict", ...)`."""

    def given(
        out: Path | str, *more: str, archive: Path | str = sample_archive.folder
    ) -> list[str]:
        return [
            *("--region", sample_archive.region, "--year", str(sample_archive.year)),
            *("--vocabulary", "sample-landscape", "--checkpoint", str(tiny_checkpoint)),
            *("--catalog", str(archive), "--cell-size", str(CELL_SIZE), "--out", str(out)),
            *more,
        ]

    return given


@pytest.fixture(scope="session")
def whole_run(
    tmp_path_factory: pytest.TempPathFactory, options: Callable[..., list[str]], users_server: str
) -> Path:
    """The folder of a run that nothing interrupted."""
    return mapped(tmp_path_factory.mktemp("whole") / "run", options, users_server)


def mapped(out: Path, options: Callable[..., list[str]], server: str) -> Path:
    """The folder `out`, once a run has mapped into it."""
    with connected(server):
        assert run(["map", *options(out)]) == 0
    return out


@pytest.fixture
def planned(tmp_path: Path, whole_run: Path) -> Path:
    """The folder of a run that is planned, its words embedded, and of which no cell is done."""
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    shutil.rmtree(out / "cells")
    return out


@dataclass(frozen=True)
class Shell:
    """A user's shell with a home of its own, in which every process can be found again."""

    home: Path
    mark: str

    @property
    def environment(self) -> dict[str, str]:
        """What its processes see: nothing of Prefect's that this process has set."""
        outer = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        return outer | {
            "HOME": str(self.home),
            "MPLCONFIGDIR": str(self.home / "matplotlib"),
            "TIMESEN_TEST_MARK": self.mark,
            "PYTHONPATH": str(REPOSITORY),
        }

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in a session of its own, as a terminal does."""
        return subprocess.Popen(
            command,
            env=self.environment | environment,
            cwd=self.home,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def timesen(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command `timesen`."""
        return self.start(sys.executable, "-m", "flows.cli", *arguments, **environment)

    def processes(self) -> list[psutil.Process]:
        """Those of its processes that live."""
        return [process for process in psutil.process_iter() if _has_mark(process, self.mark)]

    def require_nothing_left(self, seconds: float = 15) -> None:
        """Fail where a process lives on."""
        until = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        assert not left, [process.cmdline() for process in left]


def _has_mark(process: psutil.Process, mark: str) -> bool:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return alive and process.environ().get("TIMESEN_TEST_MARK") == mark
    except (psutil.Error, OSError):
        return False


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell for one test; whatever still runs in it at the end is ended."""
    opened = Shell(tmp_path_factory.mktemp("home"), secrets.token_hex(8))
    # Tests that run in the background ignore Ctrl-C, and what they start would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield opened
    signal.signal(signal.SIGINT, before)
    for process in opened.processes():
        process.kill()


def end_when(
    shell: Shell, process: subprocess.Popen[str], ended: signal.Signals, moment: Callable[[], bool]
) -> None:
    """Send a signal at a moment; the process stands still while the moment is looked at."""
    whole = psutil.Process(process.pid)
    until = time.monotonic() + 300  # a machine may be busy
    while True:
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < until, "the moment did not come"
        if moment():
            whole.suspend()
            if moment():
                break
            whole.resume()
        time.sleep(0.001)
    whole.send_signal(ended)
    whole.resume()
    process.communicate(timeout=60)
    shell.require_nothing_left()


def rasters(out: Path) -> dict[str, bytes]:
    """The cells' rasters in a run's folder."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.glob("cells/*/*/*.tif")}


@pytest.fixture(scope="session")
def users_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's URL of a Prefect server that a user runs, with its own SQLite database.

    Its scheduler looks two years ahead, so that a yearly schedule shows.
    """
    shell = Shell(tmp_path_factory.mktemp("server"), secrets.token_hex(8))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    log = (shell.home / "log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", port, "--no-ui"],
        env=shell.environment
        | {
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME": "P800D",
        },
        cwd=shell.home,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}/api"
    try:
        _await(f"{url}/health", server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=20)
        log.close()


@contextlib.contextmanager
def connected(url: str) -> Iterator[None]:
    """Have flows of this process run against a Prefect server."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        yield
        drain()  # of flows that a test calls itself


def _await(url: str, server: subprocess.Popen[bytes], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"{url} does not answer; the server's exit code: {server.poll()}")
