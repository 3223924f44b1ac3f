import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from pyproj import Geod

from models.encoder.timesenclip import TimeSenClipArchitecture
from models.encoder.vocabulary_calibration import ReliabilityBin, VocabularyCalibration
from pipeline.costs.prices import Prices
from pipeline.costs.resources import Resources
from pipeline.io.store import Store
from pipeline.layout import PREVIEW, REPORT
from pipeline.product.cell_report import area_scale, class_hectares
from pipeline.product.cost_report import PlannedCost
from pipeline.product.ledger import record_failure
from pipeline.product.mosaic import write_mosaics
from pipeline.product.preview import write_preview
from pipeline.product.report import report_html, summarise, write_report
from pipeline.product.report_markdown import summary_markdown
from pipeline.product.report_pictures import make_pictures
from tests.made_card import made_card
from tests.pipeline.made_run import FAULT, ONE_ZONE, MadeRun, cell_rasters, make_run

CARD = made_card(
    TimeSenClipArchitecture(), name="sample", description="Trained on <made> landscapes."
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = make_run(
        str(tmp_path_factory.mktemp("made") / "run"), reading={"substitute": {"B8A": "B08"}}
    )
    record_failure(
        made.store, replace(made.cells[0], row=99), ValueError("<script>alert(1)</script> | a")
    )
    return made


class _Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.links = "", [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def test_areas_are_those_on_the_ellipsoid(made: MadeRun) -> None:
    west, south, east, north = map(float, ONE_ZONE.split(","))
    lons = [west + (east - west) * i / 200 for i in range(201)]
    ring = [(lon, south) for lon in lons] + [(lon, north) for lon in reversed(lons)]
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*zip(*ring, strict=True))
    assert sum(class_hectares(made.items).values()) == pytest.approx(area / 1e4, rel=2e-4)


def test_area_scale_is_utms() -> None:
    assert area_scale("EPSG:32631", 500000, 5500000) == pytest.approx(0.9996**2, abs=1e-7)
    assert area_scale("EPSG:32631", 833000, 10000) == pytest.approx(1.0019, abs=2e-4)


def test_report_says_what_was_done_and_what_failed(made: MadeRun) -> None:
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    write_preview(made.store, made.run, made.vocabulary, class_hectares(made.items))
    summary = summarise(made.store, made.run, made.items, made.vocabulary, CARD, planned=9)
    write_report(made.store, summary)
    page = _Page(made.store.read(REPORT).decode())
    text = " ".join(page.text.split())
    for expected in (
        "6 / 9 cells done",
        "1 of 9 cells failed, 2 left",
        "For demonstration only. The checkpoint “sample”",
        "Trained on <made> landscapes.",
        "Lake & pond",
        "<script>alert(1)</script> | a",
        "https://host/B08.tif cut",
        "B8A is absent from the source; B08 stands for it",
        "encode 120.0",
        made.run.attribution,
        made.run.fingerprint,
        made.store.path("class.vrt"),
        "timesen 0.1.0" if made.run.versions["timesen"] == "0.1.0" else "timesen",
    ):
        assert expected in text, expected
    assert "script" not in page.tags
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)


def test_report_says_how_far_its_classes_can_be_trusted(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE, top_k=2)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    warnings = ("tiles 31UFR have <months> without any acquisition (December)\x1b[2J",)
    summary = summarise(made.store, made.run, made.items, made.vocabulary, CARD, 6, warnings)
    classes, confidence = (
        np.concatenate([cell_rasters(cell, ONE_ZONE)[which].ravel() for cell in made.cells])
        for which in (0, 1)
    )
    own = {value: confidence[classes == value] for value in range(1, 6)}
    for area in summary.areas:
        assert area.confidence == pytest.approx(own[area.value].mean(), abs=0.01)
        assert area.little == pytest.approx(100 * (own[area.value] < 50).mean())
        following = made.vocabulary.classes[area.value % 5].name
        assert area.runner_up == (following, 100.0)
    assert summary.little_confidence == pytest.approx(100 * (confidence[classes > 0] < 50).mean())
    pictures = make_pictures(made.store, made.items)
    page = _Page(report_html(summary, None, made.store, pictures))
    text = " ".join(page.text.split())
    for expected in (
        "The plan of this run warned: tiles 31UFR have <months> without any acquisition",
        "confidence below 50 % most frequent runner-up",
        "wheat field (100 %)",
        f"{summary.little_confidence:.1f} % of pixels below 50 %",
        "The year in true colour",
        "Clear months",
    ):
        assert expected in text, expected
    assert "not counted" not in text
    assert "\x1b" not in text
    assert page.tags.count("img") == 2
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert "have &lt;months&gt; without" in summary_markdown(summary)


def test_report_says_what_the_run_took_beside_its_plan(made: MadeRun) -> None:
    prices = Prices(
        title="<b>ours</b>",
        date=date(2026, 1, 2),
        currency="EUR",
        source="made up",
        core_hour=3600.0,
        written_gb=1e6,
    )
    plan = PlannedCost(Resources(core_seconds=100.0, bytes_read=2e9), prices, square_km=2.0)
    summary = summarise(
        *(made.store, made.run, made.items, made.vocabulary, CARD, 9), planned_cost=plan
    )
    assert summary.cost is not None
    spent = sum(summary.seconds.values())
    written = sum(a["file:size"] for i in made.items for a in i["assets"].values())
    assert summary.cost.taken.core_seconds == pytest.approx(spent)
    assert summary.cost.taken.bytes_written == written > 0
    rows = {row.name: row for row in summary.cost.rows}
    assert rows["cost"] == ("cost", "100 EUR", f"{spent + written / 1e3:,.0f} EUR")
    assert rows["cost per km²"].planned == "50 EUR"
    assert rows["GB read"].planned == "2"
    text = " ".join(_Page(report_html(summary, None, made.store)).text.split())
    assert "taken by 6 of 9 cells" in text
    assert "<b>ours</b>, 2026-01-02" in text
    assert "planned were 100 EUR (&lt;b&gt;ours&lt;/b&gt;, 2026-01-02)" in summary_markdown(summary)


def test_what_earlier_versions_did_not_count_is_told(made: MadeRun) -> None:
    items = made.items
    for item in items:
        del item["properties"]["timesen:runners_up"]  # as of a run without ranks
    for item in items[1:]:
        del item["properties"]["timesen:confidence"]
    summary = summarise(made.store, made.run, items, made.vocabulary, CARD, 9)
    text = " ".join(_Page(report_html(summary, None, made.store)).text.split())
    assert "counted in 1 of 6 cells; an earlier version made the others" in text
    assert "Which class comes second is not counted" in text
    assert "runner-up" not in text
    del items[0]["properties"]["timesen:confidence"]
    summary = summarise(made.store, made.run, items, made.vocabulary, CARD, 9)
    assert summary.little_confidence is None
    text = " ".join(_Page(report_html(summary, None, made.store)).text.split())
    assert "It is not counted by class: an earlier version made these cells" in text
    assert "| not counted | not counted |" in summary_markdown(summary)


def test_only_words_that_fit_no_column_are_broken(made: MadeRun) -> None:
    summary = summarise(made.store, made.run, made.items, made.vocabulary, CARD, planned=9)
    page = report_html(summary, None, made.store)
    assert "<td>catalog.max_cloud_cover</td>" in page
    assert f'<td><span class="long">{FAULT.asset}</span></td>' in page
    style = page[page.index("<style>") : page.index("</style>")]
    (breaking,) = re.findall(r"([^{}/]*){[^{}]*overflow-wrap: anywhere", style)
    assert breaking.strip() == "code, .long"


def test_report_of_an_empty_run_can_be_made(made: MadeRun) -> None:
    summary = summarise(made.store, made.run, [], made.vocabulary, CARD, planned=9)
    assert summary.mean_confidence is None
    text = " ".join(_Page(report_html(summary, None, made.store)).text.split())
    assert "0 / 9 cells done" in text
    assert "0 of 9 cells done" in summary_markdown(summary)


def test_no_warning_for_a_whole_map_of_a_real_checkpoint(made: MadeRun, tmp_path: Path) -> None:
    whole = make_run(str(tmp_path / "run"), "5.30,49.75,5.31,49.755")
    card = CARD.model_copy(update={"demonstration": False})
    summary = summarise(
        whole.store, whole.run, whole.items, whole.vocabulary, card, len(whole.cells)
    )
    assert summary.left == 0
    page = report_html(summary, None, whole.store)
    assert 'class="warning"' not in page
    assert not whole.store.exists(PREVIEW)


def test_markdown_keeps_its_table(made: MadeRun) -> None:
    summary = summarise(made.store, made.run, made.items, made.vocabulary, CARD, planned=9)
    text = summary_markdown(summary)
    assert "6 of 9 cells done, 1 failed, 2 left; 6 rasters left out" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\| a" in text
    assert "Lake &amp; pond" in text
    assert sum(area.share for area in summary.areas) == pytest.approx(100)


def test_what_the_confidence_means_is_said_in_words(made: MadeRun) -> None:
    calibration = VocabularyCalibration(
        vocabulary=made.vocabulary.identity,
        steps=12,
        logit_scale=8.0,
        points=1234,
        data="training set abc, part validation",
        ece_before=0.12,
        ece_after=0.031,
        reliability=(
            ReliabilityBin(confidence=0.8, accuracy=0.2, points=3),  # too few to tell of
            ReliabilityBin(confidence=0.77, accuracy=0.75, points=410),
            ReliabilityBin(confidence=0.95, accuracy=0.97, points=821),
        ),
    )
    expected = (
        "Of 410 held-out points with a confidence near 77 %, 75 % were right. Confidence and share "
        "of right points differ by 3.1 percentage points on average (calibrated on 1,234 points of "
        "the training set abc, part validation)."
    )
    without = "The confidence is not calibrated for these classes: use it to compare pixels"
    edited = calibration.model_copy(update={"vocabulary": "words 0000000000000000"})
    for calibrations, said, not_said in (
        ((calibration,), expected, without),
        ((), without, "held-out"),
        ((edited,), without, "held-out"),
    ):
        card = CARD.model_copy(update={"calibrations": calibrations})
        summary = summarise(made.store, made.run, made.items, made.vocabulary, card, planned=9)
        page = " ".join(_Page(report_html(summary, None, made.store)).text.split())
        for text in (page, summary_markdown(summary)):
            assert said in text
            assert not_said not in text


def test_no_control_character_reaches_a_report(made: MadeRun, tmp_path: Path) -> None:
    forged = "S2A\x1b[2J\nError: all is well\x9b31m\u202eevil"
    summary = summarise(made.store, made.run, made.items, made.vocabulary, CARD, planned=9)
    card = CARD.model_copy(update={"description": forged, "licence": forged})
    failure = replace(summary.failures[0], error=forged)
    summary = replace(summary, card=card, failures=(failure,))
    page = report_html(summary, None, made.store)
    assert "evil" in page
    for text in (page, summary_markdown(summary)):
        assert all(c.isprintable() or c in "\n\t\xa0\xad" for c in text)
    store = Store(str(tmp_path))
    record_failure(store, made.cells[0], ValueError(forged))
    (record,) = (store.read(key) for key in store.keys("failures"))
    assert b"evil" in record
    assert b"\x9b" not in record
