"""The page in a real Chromium, served by the real command: what is seen, clicked and typed."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from scipy.ndimage import minimum_filter

from flows.cli.app import INTERRUPTED
from pipeline.layout import RUN, VOCABULARY_FILE
from pipeline.product.layers import CLASS
from pipeline.viewer.static_site import export_site
from pipeline.viewer.viewed_run import ViewedRun
from tests.pipeline.viewer.chromium import (
    DESKTOP,
    PHONE,
    axe_findings,
    colour_at,
    colour_of,
    go_to,
    launch,
    plain_server,
    settle,
)
from tests.pipeline.viewer.conftest import band_values, place_of
from tests.services import ended

pytestmark = pytest.mark.slow
_ROOT = Path(__file__).resolve().parents[3]
_LAKE, _GRASS = "lake or river", "permanent grassland"


@pytest.fixture(scope="module")
def other(kept_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with all its classes in one colour, to compare with."""
    folder = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(kept_folder, folder)
    vocabulary = json.loads((folder / VOCABULARY_FILE).read_text())
    for entry in vocabulary["classes"]:
        entry["colour"] = "#ff00ff"
    content = json.dumps(vocabulary).encode()
    (folder / VOCABULARY_FILE).write_bytes(content)
    manifest = json.loads((folder / RUN).read_text())
    manifest["files"][VOCABULARY_FILE] = sha256(content).hexdigest()
    (folder / RUN).write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def address(kept_folder: Path, other: Path) -> Iterator[str]:
    """The address that `timesen view` prints; Ctrl-C ends it."""
    command = [sys.executable, "-m", "flows.cli", "view", str(kept_folder), str(other)]
    server = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line.startswith("Map  http://127.0.0.1:"), line
    yield line.split()[1]
    ended(server, signal.SIGINT)
    assert server.returncode == INTERRUPTED


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def places(kept: ViewedRun) -> dict[str, tuple[float, float]]:
    """A place in the midst of each of some classes, by the class's name."""
    names = {entry.value: entry.name for entry in kept.vocabulary.legend}
    found = {}
    for cell in kept.cells:
        classes = band_values(kept, cell, CLASS)[0]
        for value in np.unique(classes[classes > 0]).tolist():
            rows, columns = np.nonzero(minimum_filter(classes == value, 5))
            if len(rows):
                middle = len(rows) // 2
                found[names[value]] = place_of(cell, int(rows[middle]), int(columns[middle]))
    assert {_LAKE, _GRASS} <= found.keys()
    return found


@pytest.fixture(scope="module")
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page on a desktop; no error of the page or of its policy is let pass."""
    errors: list[str] = []
    opened = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda said: said.type == "error" and errors.append(said.text))
    opened.goto(address)
    opened.wait_for_selector("body[data-ready]")
    yield opened
    assert errors == []


def test_places_have_the_colours_of_their_classes(
    page: Page, kept: ViewedRun, places: dict[str, tuple[float, float]]
) -> None:
    for name in list(places)[:4]:
        go_to(page, places[name])
        assert np.abs(colour_at(page) - colour_of(kept, name)).max() <= 4, name


def test_a_class_is_seen_alone(
    page: Page, kept: ViewedRun, places: dict[str, tuple[float, float]]
) -> None:
    go_to(page, places[_GRASS])
    ground = [233, 236, 231]
    page.get_by_role("button", name=_LAKE).click()
    settle(page)
    assert np.abs(colour_at(page) - ground).max() <= 4
    go_to(page, places[_LAKE])
    assert np.abs(colour_at(page) - colour_of(kept, _LAKE)).max() <= 4
    assert axe_findings(page) == []
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Opacity").fill("0")
    settle(page)
    assert np.abs(colour_at(page) - ground).max() <= 4
    page.get_by_label("True colour of the year beneath").check()
    settle(page)
    assert np.abs(colour_at(page) - ground).max() > 10
    page.get_by_label("True colour of the year beneath").uncheck()
    page.get_by_label("Opacity").fill("100")


def test_a_click_tells_the_class_and_the_year(
    page: Page, places: dict[str, tuple[float, float]]
) -> None:
    go_to(page, places[_GRASS])
    page.mouse.click(DESKTOP[0] // 2, DESKTOP[1] // 2)
    card = page.locator("#pixel")
    card.locator(".chart").first.wait_for()
    assert card.locator("h2").inner_text() == _GRASS
    assert "% confident" in card.inner_text()
    assert card.locator(".bars li").count() == 3
    assert "NDVI by month: Jan" in str(card.locator(".chart").first.get_attribute("aria-label"))
    assert card.locator(".chart .line").count() >= 11  # NDVI and ten bands
    assert card.locator(".items li.used").count() > 5
    assert axe_findings(page) == []
    page.keyboard.press("Escape")
    assert card.is_hidden()


def test_words_make_a_heat_map_and_a_map_and_clicks_change_it(
    page: Page, places: dict[str, tuple[float, float]]
) -> None:
    go_to(page, places[_LAKE])
    page.keyboard.press("/")
    page.keyboard.type("lake or river\n", delay=5)
    page.locator("#heat").wait_for(timeout=60_000)
    settle(page)
    like = colour_at(page)
    go_to(page, places[_GRASS])
    assert like.sum() > colour_at(page).sum() + 200
    page.get_by_label("Ask the map").fill("lake, grassland, town")
    page.keyboard.press("Enter")
    page.locator("#answer-legend li").nth(2).wait_for(timeout=60_000)
    assert page.locator("#answer-legend .name").all_inner_texts() == ["lake", "grassland", "town"]
    settle(page)
    before = colour_at(page)
    page.mouse.click(DESKTOP[0] // 2, DESKTOP[1] // 2)
    page.get_by_label("The class that it is").select_option("town")
    page.locator(".example.right").wait_for()
    page.get_by_role("button", name="Clear the examples").wait_for()
    go_to(page, (places[_GRASS][0] + 3e-5, places[_GRASS][1] + 2e-4))  # beside the marker
    assert np.abs(colour_at(page) - before).max() > 40
    assert axe_findings(page) == []
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the words").click()
    assert download.value.suggested_filename == "words.toml"
    assert "[[classes]]" in Path(download.value.path()).read_text()
    page.get_by_role("button", name="Back to the map").click()
    page.keyboard.press("Escape")


def test_two_runs_are_compared_by_a_border_that_moves(
    page: Page, kept: ViewedRun, places: dict[str, tuple[float, float]]
) -> None:
    go_to(page, places[_LAKE])
    page.get_by_label("Compare with").select_option(index=2)
    border = page.get_by_role("slider", name="Border between the two maps")
    border.wait_for()
    middle, y = DESKTOP[0] // 2, DESKTOP[1] // 2
    border.press("ArrowLeft")
    settle(page)
    pink = [255, 0, 255]
    assert border.get_attribute("aria-valuenow") == "45"
    assert np.abs(colour_at(page) - pink).max() <= 4
    page.mouse.move(DESKTOP[0] * 0.45, 200)
    page.mouse.down()
    page.mouse.move(DESKTOP[0] * 0.6, 210, steps=4)
    page.mouse.up()
    page.wait_for_timeout(300)
    assert np.abs(colour_at(page, middle, y) - colour_of(kept, _LAKE)).max() <= 4
    assert axe_findings(page) == []
    page.get_by_label("Compare with").select_option(index=0)
    assert border.is_hidden()


def test_a_phone_shows_map_legend_and_card(
    browser: Browser, address: str, places: dict[str, tuple[float, float]]
) -> None:
    size = {"width": PHONE[0], "height": PHONE[1]}
    page = browser.new_page(viewport=size, has_touch=True)
    page.goto(f"{address}#18/{places[_GRASS][1]}/{places[_GRASS][0]}")
    page.wait_for_selector("body[data-ready]")
    legend = page.get_by_role("button", name=_LAKE)
    assert legend.is_hidden()
    page.get_by_role("button", name="Legend").tap()
    assert legend.is_visible()
    assert axe_findings(page) == []
    page.touchscreen.tap(PHONE[0] / 2, 780)
    card = page.locator("#pixel")
    card.locator("h2").wait_for()
    assert legend.is_hidden()
    box = card.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE[0]
    assert box["y"] + box["height"] <= PHONE[1]
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    card.locator(".chart").first.wait_for()
    assert axe_findings(page) == []
    page.close()


@pytest.fixture(scope="module")
def site(kept: ViewedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "site"
    export_site(kept, str(folder))
    return folder


@pytest.mark.parametrize("by_ranges", [True, False])
def test_an_exported_site_needs_a_web_server_alone(
    browser: Browser,
    kept: ViewedRun,
    places: dict[str, tuple[float, float]],
    http_server: Callable[[Path], str],
    site: Path,
    by_ranges: bool,
) -> None:
    with plain_server(site) as plain:
        page = browser.new_page(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: said.type == "error" and errors.append(said.text))
        base = http_server(site) if by_ranges else plain
        page.goto(f"{base}/index.html#16/{places[_LAKE][1]}/{places[_LAKE][0]}")
        page.wait_for_selector("body[data-ready]")
        settle(page)
        assert np.abs(colour_at(page) - colour_of(kept, _LAKE)).max() <= 4
        page.mouse.click(DESKTOP[0] // 2, DESKTOP[1] // 2)
        page.locator("#pixel .bars").wait_for()
        assert page.locator("#pixel h2").inner_text() == _LAKE
        page.keyboard.press("Escape")
        page.get_by_role("button", name=_GRASS).click()
        settle(page)
        assert np.abs(colour_at(page) - [233, 236, 231]).max() <= 4
        assert page.locator("#ask").is_hidden()
        assert errors == []
        page.close()


def test_all_goes_by_keyboard(page: Page, places: dict[str, tuple[float, float]]) -> None:
    go_to(page, places[_GRASS])
    page.locator(".maplibregl-canvas").first.focus()
    page.keyboard.press("Enter")
    page.locator("#pixel .chart").first.wait_for()
    assert page.locator("#pixel h2").inner_text() == _GRASS
    page.keyboard.press("Escape")
    page.locator("#ask-words").focus()
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"opacity", "fade", "true-colour", "other"} <= reached
