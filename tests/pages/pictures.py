"""The pictures of the documentation, taken from a real run of the sample landscape.

`make pictures` writes them into docs/pictures: the viewer in Chromium (with a pixel, with a
heat map, on a phone), the report, and the project in QGIS.
"""

import argparse
import io
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from pipeline.layout import QGIS_PROJECT, REPORT
from pipeline.sample.archive import SampleArchive, write_archive
from tests.pages.commands import ROOT
from tests.pipeline.viewer.chromium import DESKTOP, PHONE, launch, settle
from tests.services import DEBIANS_PYTHON, ended

FOLDER = ROOT / "docs" / "pictures"
_COLOURS = 128  # of a picture's palette: a third of the bytes, and no difference that is seen


def main() -> None:
    """Map the sample landscape, and take all pictures of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=FOLDER, help="the folder for the pictures")
    out = parser.parse_args().to
    with tempfile.TemporaryDirectory() as temporary:
        take_pictures(write_archive(Path(temporary) / "archive"), Path(temporary), out)
    for picture in sorted(out.glob("*.png")):
        print(f"{picture.name}: {picture.stat().st_size / 1000:.0f} kB")


def take_pictures(archive: SampleArchive, folder: Path, out: Path) -> None:
    """Map an archive into a folder, by its own classes, and take the pictures of the run."""
    run = folder / "runs" / "sample"
    arguments = [
        *("map", "--region", archive.region, "--year", str(archive.year)),
        *("--catalog", str(archive.folder), "--vocabulary", "sample-landscape"),
        *("--checkpoint", "sample", "--keep-embeddings", "--top-k", "3", "--out", str(run)),
    ]
    subprocess.run([sys.executable, "-m", "flows.cli", *arguments], cwd=ROOT, check=True)
    out.mkdir(parents=True, exist_ok=True)
    script = Path(__file__).parents[1] / "qgis_layout.py"
    layout = run.parent / "qgis.png"
    subprocess.run([DEBIANS_PYTHON, str(script), str(run / QGIS_PROJECT), str(layout)], check=True)
    _write(out / "qgis.png", layout.read_bytes())
    with _viewer(run) as address, sync_playwright() as playwright:
        chromium = launch(playwright)
        _of_desktop(chromium.new_page(viewport=_size(DESKTOP)), address, out)
        _of_phone(chromium.new_page(viewport=_size(PHONE)), address, out)
        page = chromium.new_page(viewport=_size((1000, 1200)))
        page.goto((run / REPORT).as_uri())
        _write(out / "report.png", page.screenshot())
        chromium.close()


def _of_desktop(page: Page, address: str, out: Path) -> None:
    _open(page, address)
    _click(page, DESKTOP[0] * 0.55, DESKTOP[1] * 0.5)
    _write(out / "view-pixel.png", page.screenshot())
    page.keyboard.press("Escape")
    page.get_by_label("Ask the map").fill("maize field")
    page.keyboard.press("Enter")
    page.locator("#heat").wait_for(timeout=60_000)
    settle(page)
    _write(out / "view-heat.png", page.screenshot())


def _of_phone(page: Page, address: str, out: Path) -> None:
    _open(page, address)
    _click(page, PHONE[0] * 0.5, PHONE[1] * 0.4)
    _write(out / "view-phone.png", page.screenshot())


def _click(page: Page, x: float, y: float) -> None:
    """Click a pixel of the map, and wait for its year."""
    page.mouse.click(x, y)
    page.locator("#pixel .chart").first.wait_for()
    settle(page)


def _open(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    settle(page)


@contextmanager
def _viewer(run: Path) -> Iterator[str]:
    """The address at which `timesen view` shows a run."""
    command = [sys.executable, "-m", "flows.cli", "view", str(run)]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().split()[1]
    finally:
        ended(server, signal.SIGINT)


def _size(sides: tuple[int, int]) -> dict[str, int]:
    return {"width": sides[0], "height": sides[1]}


def _write(file: Path, png: bytes) -> None:
    picture = (
        Image.open(io.BytesIO(png)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    )
    picture.save(file, optimize=True)


if __name__ == "__main__":
    main()
