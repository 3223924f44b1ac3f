"""PROJ data of another installation in the environment: found before anything is planned."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.raster.gdal_env import require_proj_data

REPOSITORY = Path(__file__).resolve().parents[3]


def test_rasterios_own_data_are_sound() -> None:
    require_proj_data()


@pytest.mark.parametrize("name", ["PROJ_DATA", "PROJ_LIB"])
def test_foreign_data_are_refused_by_the_variables_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.toml").write_text('year = 2021\nregion = "31UFS"\nclasses = "forest, lake"\n')
    others = {k: v for k, v in os.environ.items() if not k.startswith("PROJ_")}
    done = subprocess.run(
        (sys.executable, "-m", "flows.cli.main", "plan", str(tmp_path / "run.toml"), "--out", "x"),
        cwd=tmp_path,
        env={**others, name: str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert f"{name}={tmp_path}" in done.stderr
    assert f"Unset {name}" in done.stderr
    assert "Traceback" not in done.stderr
