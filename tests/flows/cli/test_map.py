"""What `timesen map` says at its end."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import run
from pipeline.grid.region import read_region
from pipeline.sample.archive import SampleArchive


def test_rasters_that_were_left_out_are_said_at_the_end(
    sample_archive: SampleArchive,
    options: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    for square in ("KA", "KV"):  # north and south of the middle, in the eastern zone
        scenes = sorted((archive / "sentinel-2-l2a" / "32" / "U" / square).rglob("SCL.tif"))
        for raster in scenes[:3]:
            raster.write_bytes(raster.read_bytes()[:100])
    middle = read_region(sample_archive.region).geometry.centroid
    near = f"{middle.x + 0.003},{middle.y + 0.003},{middle.x + 0.0035},{middle.y + 0.0035}"
    given = options(tmp_path / "run", archive=archive)
    small = [near if part == sample_archive.region else part for part in given]
    assert run(["map", *small]) == 0
    said = r"(\d) of (\d{3}) rasters could not be read and were left out, most often because"
    found = re.search(f"warning: {said}", " ".join(capsys.readouterr().out.split()))
    assert found is not None
    assert 1 <= int(found[1]) <= 3  # those of the three that reach into the cell
    assert run(["status", str(tmp_path / "run")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{found[1]} rasters could not be read and were left out, most often because" in shown
