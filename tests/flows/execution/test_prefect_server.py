"""A temporary server that does not start, and a user's that has gone."""

import sys
from pathlib import Path

import pytest

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
