"""What `timesen map` shows on a terminal, and says at its end."""

import io
import os
import pty
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.cli.main import run
from pipeline.grid.region import read_region
from pipeline.sample.archive import SampleArchive

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Shown:
    """A run, and what it wrote to a terminal, without colours and movements of the cursor."""

    out: Path
    text: str


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory,
    sample_archive: SampleArchive,
    options: Callable[..., list[str]],
) -> Shown:
    """A map of a small region on a terminal; three rasters of its archive are cut off."""
    folder = tmp_path_factory.mktemp("terminal")
    archive = folder / "archive"
    shutil.copytree(sample_archive.folder, archive)
    for square in ("KA", "KV"):  # north and south of the middle, in the eastern zone
        scenes = sorted((archive / "sentinel-2-l2a" / "32" / "U" / square).rglob("SCL.tif"))
        for raster in scenes[:3]:
            raster.write_bytes(raster.read_bytes()[:100])
    middle = read_region(sample_archive.region).geometry.centroid
    near = f"{middle.x + 0.002},{middle.y + 0.002},{middle.x + 0.006},{middle.y + 0.0055}"
    # One thread and every pixel's embedding: work enough for the bar to be drawn again and again.
    given = [*options(folder / "run", archive=archive), "--threads", "1", "--keep-embeddings"]
    small = [near if part == sample_archive.region else part for part in given]
    master, slave = pty.openpty()
    written = io.BytesIO()

    def read() -> None:
        try:
            while piece := os.read(master, 65536):
                written.write(piece)
        except OSError:  # how Linux ends a terminal
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(slave, "w") as terminal:
        patch.setattr("sys.stdout", terminal)
        patch.setenv("TERM", "xterm-256color")
        patch.setenv("COLUMNS", "200")
        assert run(["map", *small]) == 0
    reader.join(20)
    os.close(master)
    return Shown(folder / "run", _CONTROL.sub("", written.getvalue().decode()))


def test_the_bar_moves_within_a_cell_and_never_back(shown: Shown) -> None:
    percents = [int(found) for found in re.findall(r"(\d+) %  *[\d:]+ +mapping", shown.text)]
    assert percents == sorted(percents)
    assert any(0 < percent < 100 for percent in percents), percents  # of the one cell
    assert re.search(r"mapping: 0 of 1 cells, about \d+ s left", shown.text)
    after = re.findall(r"(\d+) %  *[\d:]+ +publishing", shown.text)
    assert after
    assert set(after) == {"100"}


def test_the_last_lines_say_what_is_missing_and_where_to_look(shown: Shown) -> None:
    lines = [line.strip() for line in shown.text.splitlines() if line.strip()]
    words = [line.split()[0] for line in lines if not line.startswith("GDAL")]
    end = words.index("Map", words.index("warning:"))
    assert words[end:] == ["Map", "QGIS", "Preview", "Report", "Log", "Status"], lines[-12:]
    assert words[end - 1] == "warning:"
    assert lines[-1] == f"Status   timesen status {shown.out}"


def test_rasters_that_were_left_out_are_said_at_the_end(
    shown: Shown, capsys: pytest.CaptureFixture[str]
) -> None:
    said = r"(\d) of (\d{3}) rasters could not be read and were left out, most often because"
    found = re.search(f"warning: {said}", " ".join(shown.text.split()))
    assert found is not None
    assert 1 <= int(found[1]) <= 3  # those of the three that reach into the cell
    assert run(["status", str(shown.out)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"{found[1]} rasters could not be read and were left out, most often because" in told
