"""`timesen distil`: a student of a checkpoint, made and used as any other."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.cli.main import run
from models.encoder.checkpoint import load_checkpoint
from pipeline.sample.series import sample_series
from tests.flows.conftest import connected

Options = Callable[..., list[str]]
QUICK = ["--bank", "300", "--steps", "20", "--batch", "64"]
SMALL = ["--dim", "16", "--depth", "1", "--heads", "2", "--feedforward", "16"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series") / "made.npy"
    np.save(path, sample_series(1, 400)[1])
    return path


def test_a_student_of_the_sample(
    series: Path, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "student"
    command = ["distil", "sample", "--series", str(series), "--out", str(out)]
    sizes = ["--dim", "64", "--vocabulary", "cropland"]
    with connected(users_server):
        assert run([*command, *sizes, "--bank", "1000", "--steps", "120", "--batch", "128"]) == 0
    said = capsys.readouterr().out
    student, teacher = load_checkpoint(out), load_checkpoint("sample")
    assert f"fingerprint {student.fingerprint}" in said
    assert "cropland, by the teacher's class" in said
    card = student.card
    assert card.name == "student"
    assert card.demonstration
    assert (card.text_tower, card.logit_scale) == (
        teacher.card.text_tower,
        teacher.card.logit_scale,
    )
    assert card.training["teacher"] == "sample"
    assert card.training["teacher's fingerprint"] == teacher.fingerprint
    assert card.training["series"] == "400 series of made.npy, 320 of them to learn from"
    assert card.training["steps"] == 120
    assert set(card.training["versions"]) == {"timesen", "torch", "numpy"}
    assert card.metrics["held-out series"] == 80
    assert card.metrics["same class as the teacher, cropland"] > 0.9
    by_class = card.metrics["same class as the teacher, cropland, by the teacher's class"]
    assert sum(entry["series"] for entry in by_class.values()) == 80
    assert run(["checkpoint", "show", str(out)]) == 0


@pytest.mark.slow
def test_of_a_planned_run_and_mapped_with(
    planned: Path,
    tmp_path: Path,
    tiny_checkpoint: Path,
    options: Options,
    users_server: str,
) -> None:
    out = tmp_path / "student"
    drawn = ["--run", str(planned), "--pixels", "200", "--blocks", "4"]
    with connected(users_server):
        command = ["distil", str(tiny_checkpoint), *drawn, "--out", str(out), *QUICK, *SMALL]
        assert run([*command, "--cluster", "local"]) == 0
        assert "blocks of run" in load_checkpoint(out).card.training["series"]
        assert run(["map", *options(tmp_path / "mapped"), "--checkpoint", str(out)]) == 0
    made = json.loads((tmp_path / "mapped" / "run.json").read_text())
    assert made["parts"]["checkpoint"].startswith("student ")
    assert list((tmp_path / "mapped").glob("cells/*/*/class.tif"))


def test_what_may_go_wrong(
    series: Path, tmp_path: Path, users_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "student"
    floats, there = tmp_path / "floats.npy", tmp_path / "there"
    np.save(floats, np.ones((3, 12, 10)))
    there.mkdir()
    given = ["--series", str(series)]
    with connected(users_server):
        for arguments, problem in (
            (["sample", "--out", str(out)], "give either run, a run's folder, or series"),
            (["sample", *given, "--run", str(tmp_path), "--out", str(out)], "of one source"),
            (["sample", *given, "--out", str(there)], "exists already"),
            (["nothing", *given, "--out", str(out)], "Shipped are: real-land, sample"),
            (["sample", *given, "--out", str(out), "--heads", "3"], "cannot be shared by 3 heads"),
            (["sample", *given, "--out", str(out), "--vocabulary", "x"], "neither a shipped"),
            (["sample", "--series", str(floats), "--out", str(out)], "it is float64"),
            (["sample", "--run", str(tmp_path), "--out", str(out)], "there is no run here"),
        ):
            assert run(["distil", *arguments]) == 2
            said = capsys.readouterr().err
            assert said.startswith("Error: ")
            assert problem in said
    assert not out.exists()
