"""The mistakes of `timesen view`; tests/pipeline/viewer/test_page.py runs it."""

import shutil
import socket
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli.main import run
from flows.cli.view import _opened
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


def test_a_file_of_years_opens_those_that_are_mapped(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "years.toml"
    settings = f'region = "{ONE_ZONE}"\nclasses = "a, b"\nout = "{tmp_path}/{{year}}"\n'
    file.write_text(f"{settings}years = [2020, 2021]\n")
    assert run(["view", str(file)]) == 2
    assert f"Map them: timesen map-regions {file}" in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "2021")
    console = Console(width=200)
    (opened,) = _opened([str(file)], console)
    assert opened.to_dict()["name"] == "years-2021"
    assert "not mapped yet: years-2020" in capsys.readouterr().out
    (other,) = _opened([folder], console)
    assert other.name == "a"
