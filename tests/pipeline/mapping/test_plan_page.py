"""The page of a plan: small, whole, and safe."""

from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import pytest
import shapely

from pipeline.costs.prices import Prices
from pipeline.costs.resources import Resources
from pipeline.grid.cells import Cell, tiles_of
from pipeline.grid.region import Region, read_region
from pipeline.mapping.plan import Plan
from pipeline.mapping.plan_geojson import CellPlan, TilePlan
from pipeline.mapping.plan_page import plan_page
from pipeline.mapping.source_reading import SourceReading

PRICES = Prices(
    title="<i>ours</i>", date=date(2026, 1, 2), currency="EUR", source="made up", core_hour=1.0
)


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def _plan(region: Region, gaps: int) -> Plan:
    """The plan of a region, whose first tile has no acquisition in some months."""
    tiles = []
    for number, tile in enumerate(tiles_of(region)):
        missing = gaps if number == 0 else 0
        cell = CellPlan(Cell(tile, 1, 1, 2048, 2048, 2048, 2048), 2048**2, 60)
        acquisitions = (0,) * missing + (5,) * (12 - missing)
        tiles.append(
            TilePlan(tile, (cell,) * 18, 73, acquisitions, 0.0, SourceReading(8.3e10, 8.3e10, 1e11))
        )
    by_tile = tuple(Resources(core_seconds=3600.0 * (k + 1)) for k in range(len(tiles)))
    return Plan(
        tiles=tuple(tiles),
        output_bytes=1e9,
        seconds=(1.0, 2.0),
        encode_rate=1e4,
        worker_memory=1e9,
        by_tile=by_tile,
        prices=PRICES,
        rates="rates of <b>node</b>",
    )


def test_a_continent_is_a_small_page_of_its_own() -> None:
    plan = _plan(read_region("-10,36,30,68"), gaps=3)
    assert len(plan.tiles) > 794
    page = plan_page(plan, "Plan of <script>alert(1)</script>\x1b[2J")
    assert len(page.encode()) < 2e6
    parsed = _Tags(page)
    assert parsed.tags.count("path") == len(plan.tiles)
    assert not {"script", "img", "link", "iframe"} & {*parsed.tags}
    links = {value for name, value in parsed.attributes if name in ("href", "src")}
    assert links == {f"#{tile.tile.name}" for tile in plan.tiles}
    assert "\x1b" not in page
    assert "<i>ours" not in page
    assert "<b>node" not in page
    assert ">2 EUR</td>" in page  # the second tile's, of two core hours
    assert page.count('<td class="no">0</td>') == 3
    assert "no acquisition in Jan, Feb, Mar" in page


def test_tiles_of_both_sides_of_the_antimeridian_lie_side_by_side() -> None:
    plan = _plan(read_region("179.5,-17,-179.5,-16"), gaps=0)
    drawn = plan_page(plan, "Fiji").split('viewBox="0 0 ')[1]
    width, height = map(float, drawn.split('"')[0].split())
    for path in drawn.split(' d="')[1:]:
        numbers = path.split('"')[0].replace("Z", "").replace("M", "L").split("L")
        places = [tuple(map(float, pair.split())) for pair in numbers if pair]
        west, south, east, north = shapely.MultiPoint(places).bounds
        assert 0 <= west <= east <= width
        assert 0 <= south <= north <= height
        assert east - west < width * 0.9


@pytest.mark.parametrize("prices", [None, PRICES])
def test_a_plan_without_prices_has_a_page(prices: Prices | None) -> None:
    plan = replace(_plan(read_region("31UFS"), gaps=12), prices=prices)
    page = plan_page(plan, "x")
    assert ("EUR" in page) is (prices is not None)
    assert 'class="g3"' in page
