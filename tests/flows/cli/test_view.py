"""The mistakes of `timesen view`; tests/pipeline/viewer/test_page.py runs it."""

import socket
from pathlib import Path

import pytest

from flows.cli.main import run
from pipeline.layout import VOCABULARY_FILE
from tests.pipeline.made_run import ONE_ZONE, make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = make_run(str(tmp_path_factory.mktemp("run") / "a"), ONE_ZONE)
    made.store.write(VOCABULARY_FILE, made.vocabulary.model_dump_json().encode())
    return made.store.root


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["view", str(tmp_path)]) == 2
    assert "there is no run here" in capsys.readouterr().err
    assert run(["view"]) == 2
    assert "Name a run's folder" in capsys.readouterr().err


def test_a_basemap_that_is_none_is_refused(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["view", folder, "--basemap", "https://a.example/tiles"]) == 2
    assert "{z}/{x}/{y}" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["view", folder, "--port", port]) == 2
    assert f"127.0.0.1:{port}: cannot listen there" in capsys.readouterr().err
    assert run(["view", folder, "--port", "123456"]) == 2
    assert run(["view", folder, "--host", "no-such-host.invalid"]) == 2
