"""The script of the documentation's pictures, on a small archive."""

from pathlib import Path

import pytest
from PIL import Image

from pipeline.sample.archive import SampleArchive
from tests.pages.commands import ROOT
from tests.pages.pictures import FOLDER, take_pictures


@pytest.mark.slow
def test_all_pictures_are_taken(sample_archive: SampleArchive, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    take_pictures(sample_archive, tmp_path, out)
    assert {file.name for file in out.iterdir()} == {file.name for file in FOLDER.iterdir()}
    for file in out.iterdir():
        with Image.open(file) as taken, Image.open(FOLDER / file.name) as shown:
            assert taken.size == shown.size
            assert len(taken.convert("RGB").getcolors(1_000_000)) > 30, file.name


def test_every_picture_is_shown() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs").glob("*.md"))
    for file in FOLDER.iterdir():
        assert f"](pictures/{file.name})" in pages, file.name
