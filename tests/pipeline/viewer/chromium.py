"""What tests of pages do in Chromium: go to a place, look at its colour, ask axe."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright

from pipeline.viewer.viewed_run import ViewedRun
from tests.services import program

DESKTOP, PHONE = (1280, 800), (390, 844)
_WEBGL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def launch(playwright: Playwright) -> Browser:
    """Start Chromium, with WebGL and without a card."""
    return playwright.chromium.launch(executable_path=program("chromium"), args=_WEBGL)


def go_to(page: Page, place: tuple[float, float], zoom: int = 16) -> None:
    """Bring a place to the middle of the map."""
    page.evaluate(f"location.hash = '#{zoom}/{place[1]}/{place[0]}'")
    settle(page)


def settle(page: Page) -> None:
    """Wait until the map has begun to follow what was done, and has loaded and faded in."""
    page.wait_for_timeout(150)
    page.wait_for_selector("#stage:not([aria-busy])")


def colour_at(page: Page, x: int = DESKTOP[0] // 2, y: int = DESKTOP[1] // 2) -> np.ndarray:
    """The colour of a pixel of the screen; by default the one in the middle."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.array(picture.getpixel((x, y)), int)


def colour_of(run: ViewedRun, name: str) -> np.ndarray:
    """The colour of a class in the legend."""
    (text,) = [entry.colour for entry in run.vocabulary.legend if entry.name == name]
    return np.array(list(bytes.fromhex(text[1:])), int)


def axe_findings(page: Page) -> list[tuple[str, Any]]:
    """What axe finds serious or critical, with the elements."""
    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"] for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@contextmanager
def plain_server(folder: Path) -> Iterator[str]:
    """Python's own server of files, which knows no ranges."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
