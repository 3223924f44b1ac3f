"""Fixtures: a small sample archive, and a real HTTP server of a folder."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.sample.archive import SampleArchive, write_archive

SEED = 7
SIZE = 1300.0
_ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def sample_archive(tmp_path_factory: pytest.TempPathFactory) -> SampleArchive:
    """A small sample archive: 1.3 km, two overpasses a month, all four tiles."""
    folder = tmp_path_factory.mktemp("archive")
    return write_archive(folder, seed=SEED, size=SIZE, per_month=1)


@pytest.fixture(scope="session")
def http_server() -> Iterator[Callable[[Path], str]]:
    """Serve folders over HTTP with byte ranges: `http_server(folder)` gives the base URL.

    Each folder has one server, a process of its own on a free port of this machine; they end
    with the tests.
    """
    servers: dict[Path, tuple[subprocess.Popen[str], str]] = {}

    def serve(folder: Path) -> str:
        place = Path(folder).resolve()
        if place not in servers:
            # As a module from the root: `tests/pipeline` would hide `pipeline` from a script here.
            command = [sys.executable, "-m", "tests.sample_fixtures", str(place)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT)
            assert process.stdout is not None
            servers[place] = (process, process.stdout.readline().strip())
        process, url = servers[place]
        assert url.startswith("http://"), f"the server of {place} ended: {process.poll()}"
        return url

    yield serve
    for process, _url in servers.values():
        process.terminate()
    for process, _url in servers.values():
        process.wait(timeout=20)


def _serve(folder: str) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles

    listening = socket.create_server(("127.0.0.1", 0))  # bound before its URL is told
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    app = Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    _serve(sys.argv[1])
