"""The Prefect server of a run: the user's own if one is set, else a temporary one.

Prefect can start a temporary server by itself, but that one outlives a parent that is killed, keeps
its database in `~/.prefect` and picks a random port, which may be taken. Ours ends with its parent
in every case, listens on a free port, and leaves no files.
"""

import contextlib
import logging
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from flows.execution.loopback import (
    loopback_without_proxy,
    prefect_without_proxy,
    without_proxies,
)
from models.errors import WorldError
from models.files.process_mark import temporary_prefix
from models.option import user_path
from pipeline.errors import SettingsError
from pipeline.io.store import public_text, public_url

_STARTUP_SECONDS = 120
_SHUTDOWN_SECONDS = 5
_REASON_CHARACTERS = 1000  # the end of the log of a server that does not start
_NO_TELEMETRY = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
_TEMPORARY = _NO_TELEMETRY | {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


class PrefectUnavailable(WorldError):
    """A Prefect server that does not start or does not answer."""


@contextlib.contextmanager
def prefect_server() -> Iterator[Callable[[], None]]:
    """Have flows inside the block run against a Prefect server.

    The server is the user's where PREFECT_API_URL, a profile or a prefect.toml names one. Else it
    is a temporary one, which starts in the background (about 6 s). Telemetry is off. Neither is
    asked through a proxy where it is on this machine. Import no part of `prefect` before, or that
    import makes a `~/.prefect`.

    Returns:
        A function that waits until the server answers; it raises PrefectUnavailable.

    Raises:
        SettingsError: A variable or file of Prefect's settings is malformed.
    """
    os.environ.update(_NO_TELEMETRY)
    with _home() as home, _no_logging_errors(), loopback_without_proxy():
        if url := _users_server():
            with prefect_without_proxy(url), _loss_explained(url):
                yield lambda: _require_answer(url)
                drain()
        else:
            with _temporary_server(home) as wait:
                yield wait


@contextlib.contextmanager
def users_prefect_server() -> Iterator[None]:
    """Have clients inside the block talk to the user's Prefect server, which must be there.

    Raises:
        SettingsError: No server is named, or a variable or file of Prefect's settings is malformed.
        PrefectUnavailable: It does not answer.
    """
    os.environ.update(_NO_TELEMETRY)
    with _home(), _no_logging_errors(), loopback_without_proxy():
        if (url := _users_server()) is None:
            raise SettingsError(
                "PREFECT_API_URL",
                "it is not set, and deployments are kept by a Prefect server",
                "Set it to the server's address, http://HOST:4200/api; `prefect server start` "
                "starts a server",
            )
        with prefect_without_proxy(url), _loss_explained(url):
            _require_answer(url)
            yield


def _users_server() -> str | None:
    """The address of the user's server, if there is one; this is the first import of Prefect."""
    try:
        from prefect.settings import PREFECT_API_URL

        import flows.execution.prefect_api  # noqa: F401
    except ValueError as error:  # tomllib's and pydantic's, too
        problem = " ".join(str(error).split())
        if isinstance(error, ValidationError):  # without the values, which may be secret
            fields = error.errors(include_input=False, include_url=False)
            problem = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in fields)
        raise SettingsError(
            "Prefect's settings",
            public_text(problem).rstrip("."),
            "Correct the variable PREFECT_…, the prefect.toml or pyproject.toml in this folder, or "
            "the profiles.toml in PREFECT_HOME (~/.prefect) that has this value, or remove it",
        ) from None
    return PREFECT_API_URL.value()


@contextlib.contextmanager
def _home() -> Iterator[Path]:
    """A temporary Prefect home; it is also this process's where the user has none.

    A user without any home (no HOME, no entry in /etc/passwd) gets it as home, since Prefect asks
    for one when it is imported.
    """
    home = Path(tempfile.mkdtemp(prefix=temporary_prefix("prefect")))
    users = user_path(os.environ.get("PREFECT_HOME", "~/.prefect"))
    try:
        if not users.exists():
            os.environ["PREFECT_HOME"] = str(home)
        if user_path("~") == Path("~"):
            os.environ["HOME"] = str(home)
        yield home
    finally:
        for name in ("PREFECT_HOME", "HOME"):
            if os.environ.get(name) == str(home):
                del os.environ[name]
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _no_logging_errors() -> Iterator[None]:
    """Print no "Error logging to API" where the server has gone: the flow fails and says so."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


@contextlib.contextmanager
def _temporary_server(home: Path) -> Iterator[Callable[[], None]]:
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_HOME,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    # The socket listens before the server runs: its URL is known at once, and early requests wait.
    log_file = home / "server.log"
    with (
        socket.create_server(("127.0.0.1", 0), backlog=128) as listener,
        log_file.open("wb") as log,
    ):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        users = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        users = without_proxies(users)
        server = subprocess.Popen(
            # -P: nothing is imported from the current folder, which may hold a models.py.
            [sys.executable, "-P", "-m", "flows.execution.prefect_server", str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C ends this process, which still sends its last events
            env=users | _TEMPORARY | {"PREFECT_HOME": str(home)},
        )
    try:
        with (
            prefect_without_proxy(url),
            temporary_settings(
                {
                    PREFECT_API_URL: url,
                    PREFECT_HOME: home,
                    PREFECT_LOGGING_TO_API_ENABLED: False,  # the server ends with the run
                }
            ),
            _loss_explained(url),
        ):
            yield lambda: _require_start(server, log_file)
            drain()
    finally:
        _stop(server)


@contextlib.contextmanager
def _loss_explained(url: str) -> Iterator[None]:
    """Raise PrefectUnavailable where Prefect gives up its requests to the server at `url`."""
    import httpx  # Prefect has imported it by now

    try:
        yield
    except httpx.HTTPError as error:
        asked = getattr(error, "_request", None)  # `request` raises where there is none
        if asked is None or not str(asked.url).startswith(url):
            raise
        raise PrefectUnavailable(
            f"The Prefect server at {public_url(url)} was lost ({type(error).__name__}). What is "
            "finished is kept; the same command goes on from there."
        ) from error


def _require_start(server: subprocess.Popen[bytes], log_file: Path) -> None:
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], _STARTUP_SECONDS)
    if not ready:
        reason = f"it did not answer within {_STARTUP_SECONDS} s"
    elif server.stdout.readline():
        return
    else:
        reason = f"it ended with exit code {server.wait()}"
    if last_words := log_file.read_text(errors="replace").strip()[-_REASON_CHARACTERS:]:
        reason += f", and said: {public_text(last_words)}"
    raise PrefectUnavailable(
        f"Prefect's temporary server did not start: {reason.rstrip('.')}. Start again; if it stays "
        "so, run `prefect server start` and set PREFECT_API_URL to the address that it prints."
    )


def _require_answer(url: str) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise PrefectUnavailable(
            f"The Prefect server at {public_url(url)} does not answer ({type(error).__name__}). "
            "Start it, or unset PREFECT_API_URL to run with a temporary one."
        )


def drain() -> None:
    """Send the events and logs that Prefect has queued, while its server is there."""
    from prefect.events.worker import EventsWorker

    EventsWorker.drain_all(timeout=_SHUTDOWN_SECONDS)


def _stop(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(_SHUTDOWN_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    finally:
        assert server.stdout is not None
        server.stdout.close()


def _serve(descriptor: int) -> None:
    """Serve until the standard input closes: the parent has ended, in whatever way."""
    import uvicorn
    from prefect.server.api.server import create_app

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print("ready", flush=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its log matters until here

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        shutil.rmtree(os.environ["PREFECT_HOME"], ignore_errors=True)
        os._exit(0)  # without clean-up: its database is gone

    threading.Thread(target=end_with_parent, daemon=True).start()
    server = Announced(uvicorn.Config(create_app, factory=True, log_level="error"))
    server.run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
