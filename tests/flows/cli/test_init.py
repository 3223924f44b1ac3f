"""`timesen init`: the file it writes, what it asks at a terminal, and what it refuses."""

import os
import pty
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flows.cli.main import run
from pipeline.settings.load import load_settings
from pipeline.settings.map import MapSettings
from tests.flows.conftest import REPOSITORY


def test_a_file_without_questions_where_there_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    assert "timesen plan run.toml" in capsys.readouterr().out
    text = (tmp_path / "run.toml").read_text()
    settings = load_settings(MapSettings, {}, tmp_path / "run.toml")
    assert (settings.checkpoint, settings.catalog.url) == ("real-land", "earth-search")
    assert settings.out == str(tmp_path / "runs" / "my-region")
    # Every comment that has a default is that of the model, and can be uncommented.
    uncommented = re.sub(r"^# (\w+ = [^…]+)$", r"\1", text, flags=re.MULTILINE)
    assert len(tomllib.loads(uncommented)) > len(tomllib.loads(text))
    (tmp_path / "all.toml").write_text(uncommented)
    assert load_settings(MapSettings, {}, tmp_path / "all.toml") == settings
    assert max(map(len, text.splitlines())) <= 100


def test_options_stand_in_the_file_and_relative_paths_start_where_they_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    given = ("--region", "-1.5,44,-1,45", "--year", "2023", "--vocabulary", "lucas-crops")
    assert run(["init", "runs/a.toml", *given, "--out", "map"]) == 0
    settings = load_settings(MapSettings, {}, tmp_path / "runs" / "a.toml")
    assert (settings.region, settings.year) == ("-1.5,44,-1,45", 2023)
    assert (settings.vocabulary, settings.classes) == ("lucas-crops", None)
    assert settings.out == str(tmp_path / "map")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--region", "nowhere.gpkg"], "no such file"),
        (["--year", "1999"], "year: 1999 is given, and it must be 2015 or more"),
        (["--checkpoint", "real-lnd"], "did you mean real-land?"),
        (["--vocabulary", "lucas-crop"], "did you mean lucas-crops?"),
        (["--classes", "forest"], "its only class"),
    ],
)
def test_a_mistake_writes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", *options]) == 2
    assert problem in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.toml"
    file.write_text("mine")
    assert run(["init", str(file)]) == 2
    assert "it is there already" in capsys.readouterr().err
    assert file.read_text() == "mine"


def test_questions_at_a_terminal_and_again_after_a_wrong_answer(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    answers = ("99XYZ", "31UFS", "", "lucas-crop, lake", "", "nowhere", "", "maps/a")
    os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli", "init", "--year", "2023"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert ended.returncode == 0, said
    assert "there is no such Sentinel-2 tile" in said
    settings = load_settings(MapSettings, {}, tmp_path / "run.toml")
    assert (settings.region, settings.year) == ("31UFS", 2023)
    assert settings.out == str(tmp_path / "maps" / "a")
