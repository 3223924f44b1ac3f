"""`timesen status`, and what must answer at once: without what takes seconds to import."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import REPOSITORY, Shell

RUN = 'region = "31UFS"\nyear = 2021\nclasses = "a, b"\nout = "out"\n'
SETTINGS = {
    "malformed.toml": "region = ",
    "unknown.toml": f'{RUN}regoin = "31UFS"\n',
    "catalog.toml": f'{RUN}[catalog]\nurl = "{{folder}}/nowhere"\n',
    "region.toml": RUN.replace("31UFS", "nowhere.gpkg"),
    "checkpoint.toml": f'{RUN}checkpoint = "real-lnd"\n',
    "vocabulary.toml": RUN.replace('classes = "a, b"', 'vocabulary = "lucas-crop"'),
}
QUICK = [
    (["--help"], 0, "Training and evaluation:"),
    (["map", "--help"], 0, "keep-embeddings"),
    (["query", "--help"], 0, "--like"),
    (["demo", "--help"], 0, "--real"),
    (["dataset", "series", "--help"], 0, "--label"),
    (["status", "."], 2, "no run here"),
    (["map", "--regoin", "31UFS"], 2, "Unknown option"),
    (["plan", "malformed.toml"], 2, "not valid TOML"),
    (["map", "unknown.toml"], 2, "did you mean region?"),
    (["map", "catalog.toml"], 2, "no such catalogue"),
    (["map-regions", "unknown.toml"], 2, "it has no region"),
    (["map", "region.toml"], 2, "no such file"),
    (["map", "checkpoint.toml"], 2, "did you mean real-land?"),
    (["map", "vocabulary.toml"], 2, "did you mean lucas-crops?"),
    (["classify", "nowhere", "--classes", "a, b", "--out", "out"], 2, "no run here"),
    (["query", "nowhere", "vineyard"], 2, "no run here"),
    (["dataset", "series", "points.gpkg", "--out", "out"], 2, "no such file"),
    (["dataset", "pack", "nowhere", "--ground", "nowhere", "--out", "out"], 2, "no series.json"),
    (["evaluate", "nowhere", "--points", "a.csv", "--label", "b"], 2, "no run here"),
    (["distil", "real-lnd", "--run", "a", "--out", "out"], 2, "did you mean real-land?"),
    (["checkpoint", "show", "nowhere"], 2, "neither a checkpoint's folder"),
    (["vocabulary", "check", "lucas-crop"], 2, "did you mean lucas-crops?"),
    (["vocabulary", "embed", "cropland", "--checkpoint", "real-lnd"], 2, "did you mean real-land?"),
    (["bench", "encoder", "--checkpoint", "nowhere"], 2, "neither a checkpoint's folder"),
]
HEAVY = ("torch", "prefect", "distributed", "dask", "sklearn", "numba", "stackstac")


@pytest.mark.parametrize(("arguments", "code", "said"), QUICK, ids=[" ".join(q[0]) for q in QUICK])
def test_answers_at_once_import_nothing_heavy(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    for name, text in SETTINGS.items():
        (tmp_path / name).write_text(text.replace("{folder}", str(tmp_path)))
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "flows.cli", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ran.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if "import time:" in line}
    told = [line for line in lines if "import time:" not in line]
    assert "cyclopts" in imported
    assert imported.isdisjoint(HEAVY)
    assert ran.returncode == code
    assert said in "\n".join([ran.stdout, *told])
    assert code == 0 or len(told) == 1
    assert not (tmp_path / "out").exists()


def test_watching_ends_when_no_cell_is_left(
    shell: Shell, planned: Path, whole_run: Path, tmp_path: Path
) -> None:
    watched = shell.timesen("status", str(planned), "--watch")
    assert watched.stdout is not None
    first = watched.stdout.readline()
    assert (found := re.fullmatch(r"0 of (\d+) cells done, 0 failed, \1 left\n", first))
    one, *others = sorted((whole_run / "cells").glob("*/*"))
    assert len(others) + 1 == int(found[1])
    for cell in (one, *others):
        shutil.copytree(cell, tmp_path / "run" / "cells" / cell.parent.name / cell.name)
    said, errors = watched.communicate(timeout=60)
    assert (watched.returncode, errors) == (0, "")
    assert f"{found[1]} of {found[1]} cells done, 0 failed, 0 left" in said


def test_watching_for_programs_is_a_line_each_time_and_ends_by_ctrl_c(
    shell: Shell, planned: Path
) -> None:
    watched = shell.timesen("status", str(planned), "--watch", "--json")
    assert watched.stdout is not None
    assert json.loads(watched.stdout.readline())["done"] == 0
    watched.send_signal(signal.SIGINT)
    assert watched.communicate(timeout=60) == ("", "")
    assert watched.returncode == 130
