"""A temporary server that does not start, and a user's that has gone."""

import os
import sys
from pathlib import Path
from urllib.request import proxy_bypass

import psutil
import pytest

from flows.execution.loopback import loopback_without_proxy
from flows.execution.prefect_server import PrefectUnavailable, prefect_server
from tests.flows.conftest import REPOSITORY, Shell


def test_the_reason_why_a_server_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "x" * 5000 + " nothing can be had from https://me:secret@host/simple?token=secret"
    (tmp_path / "uvicorn.py").write_text(f"raise ImportError({words!r})\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{REPOSITORY}")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with prefect_server() as wait, pytest.raises(PrefectUnavailable) as raised:
        wait()
    said = str(raised.value)
    assert "did not start: it ended with exit code 1, and said: " in said
    assert "nothing can be had from https://host/simple" in said
    assert "secret" not in said
    assert len(said) < 1500


LOGS_TO_A_SERVER_THAT_HAS_GONE = """
from flows.execution.prefect_server import prefect_server
with prefect_server():
    from prefect.logging.handlers import APILogWorker
    APILogWorker.instance().send({"message": "of a flow", "level": 20})
"""


def test_a_server_that_has_gone_leaves_nothing_on_the_terminal(shell: Shell) -> None:
    process = shell.start(
        *(sys.executable, "-c", LOGS_TO_A_SERVER_THAT_HAS_GONE),
        PREFECT_API_URL="http://127.0.0.1:9/api",
    )
    out, errors = process.communicate(timeout=200)
    assert (process.returncode, out, errors) == (0, "", "")


def ask_a_server_that_was_killed() -> None:
    with prefect_server() as wait:
        wait()
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

        (server,) = (
            child
            for child in psutil.Process().children()
            if "flows.execution.prefect_server" in child.cmdline()
        )
        server.kill()
        server.wait(60)
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client(sync_client=True) as client,
        ):
            client.read_flows()


def test_a_server_that_is_lost_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's exception reached the terminal where the server was killed as a flow ended."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(PrefectUnavailable, match=r"lost \(ConnectError\).*goes on") as raised:
        ask_a_server_that_was_killed()
    assert "127.0.0.1" in str(raised.value)


A_FLOW = """
from flows.execution.prefect_server import prefect_server
with prefect_server() as wait:
    from flows.execution.prefect_api import flow
    wait()
    print(flow(lambda: 7, name="seven")())
"""


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_the_temporary_server_is_not_asked_through_a_proxy(shell: Shell, proxy: str) -> None:
    named = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"), proxy)
    process = shell.start(sys.executable, "-c", A_FLOW, **named)
    out, errors = process.communicate(timeout=280)
    assert (process.returncode, out.strip()) == (0, "7"), errors
    shell.require_nothing_left()


def test_the_users_exceptions_from_proxies_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with loopback_without_proxy():
        assert "no_proxy" not in os.environ
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    for stated, expected in (
        ("", "127.0.0.1,localhost,::1"),
        ("example.com, localhost", "example.com,localhost,127.0.0.1,::1"),
        ("*", "*"),
    ):
        monkeypatch.setenv("NO_PROXY", stated)
        with loopback_without_proxy():
            assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == (expected, expected)
            assert stated == "*" or proxy_bypass("127.0.0.1:4200")
        assert "no_proxy" not in os.environ
        assert os.environ["NO_PROXY"] == stated
