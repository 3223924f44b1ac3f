"""The search against a real STAC API: stac-fastapi over pgstac over PostgreSQL."""

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import mapping

from pipeline.catalog.normalise import normalise
from pipeline.catalog.search import period_of
from pipeline.catalog.stac_api import StacApi
from pipeline.errors import CatalogError, CatalogUnavailable, RegionError
from pipeline.grid.mgrs import tile_at
from pipeline.grid.region import Region, read_region
from pipeline.settings.map import MapSettings
from tests.catalog_servers import published_in, search_named
from tests.pgstac import PgStac, pgstac
from tests.stac_items import earth_search_item

__all__ = ["pgstac"]

MADE, MANY, REAL = "sentinel-2-l2a", "many", "planetary-computer"
REGION = "4.6,50.8,4.7,50.9"
DATES = [f"2021-{month:02d}-{day}" for month in range(1, 13) for day in ("04", "28")]
A_DAY = 15  # items of each day of June in MANY: 450, more than two pages
EAST, WEST = tile_at(6.05, 50.45).name, tile_at(5.95, 50.45).name  # of two UTM zones
FIJI = (tile_at(179.95, -16.9).name, tile_at(-179.95, -16.9).name)


def _at(moment: str, sequence: int, **properties: Any) -> dict[str, Any]:
    return earth_search_item(date=moment[:10], sequence=sequence, datetime=moment, **properties)


def _small(date: str, sequence: int) -> dict[str, Any]:
    """An item of few bytes."""
    item = earth_search_item(date=date, sequence=sequence)
    assets = {key: asset for key, asset in item["assets"].items() if not key.endswith("jp2")}
    return {**item, "geometry": mapping(shapely.box(*item["bbox"])), "assets": assets}


BOUNDARIES = [
    _at("2021-01-01T00:00:00Z", 1),
    _at("2021-03-01T00:00:00Z", 2),
    _at("2021-03-31T23:59:59.999999Z", 3),
    _at("2021-12-31T23:59:59.999Z", 4),
]
OUTSIDE = [_at("2022-01-01T00:00:00Z", 5), _at("2020-12-31T23:59:59.999Z", 6)]
CLOUDY = _at("2021-06-15T10:00:00Z", 7, **{"eo:cloud_cover": 80.0})
UNSTATED = _at("2021-06-16T10:00:00Z", 8)
del UNSTATED["properties"]["eo:cloud_cover"]
ELSEWHERE = [earth_search_item(tile) for tile in (EAST, WEST, *FIJI)]
OF_REGION = {
    item["id"]
    for item in (*(earth_search_item(date=date) for date in DATES), *BOUNDARIES, CLOUDY, UNSTATED)
}


@pytest.fixture(scope="module")
def made(pgstac: PgStac) -> PgStac:
    items = [earth_search_item(date=date) for date in DATES]
    pgstac.load(MADE, [*items, *BOUNDARIES, *OUTSIDE, CLOUDY, UNSTATED, *ELSEWHERE])
    return pgstac


@pytest.fixture
def api(made: PgStac, monkeypatch: pytest.MonkeyPatch) -> Iterator[PgStac]:
    """The API with MADE; what a test says to its door is forgotten after it."""
    monkeypatch.setattr("pipeline.raster.retry._FIRST_PAUSE", 0.0)
    made.door.forget()
    yield made
    made.door.forget()


def _settings(api: PgStac, year: int = 2021, **catalog: Any) -> MapSettings:
    given = {"region": REGION, "year": year, "out": "out", "classes": "a, b"}
    return MapSettings.model_validate({**given, "catalog": {"url": api.address, **catalog}})


def _found(api: PgStac, region: Region | str = REGION, **fields: Any) -> list[dict[str, Any]]:
    """What a search gives, each item once, sorted, none refused."""
    where = region if isinstance(region, Region) else read_region(region)
    found = search_named(where, _settings(api, **fields))
    assert not found.refused
    names = [item["id"] for item in published_in(found)]
    assert len(names) == len(set(names))
    return published_in(found)


def _names(items: list[dict[str, Any]]) -> set[str]:
    return {item["id"] for item in items}


def test_real_items_come_back_as_they_were_published(pgstac: PgStac, shared_data: Path) -> None:
    text = (shared_data / "stac" / "planetary-computer-s2-35MNM.json").read_text()
    (path,) = (shared_data / "stac").glob("*_raster_ext.json")
    document = json.loads((shared_data / "stac" / "sentinel-2-l2a.collection.json").read_text())
    published = [*json.loads(text)["features"], json.loads(path.read_text())]
    pgstac.load(REAL, published, document)

    zambia = _found(pgstac, "27.2,-8.1,27.3,-8.0", year=2020, collection=REAL)
    alaska = _found(pgstac, "-148,60.8,-147.9,60.9", year=2019, collection=REAL)
    assert (len(zambia), len(alaska)) == (13, 1)
    expected = {item["id"]: normalise(item) for item in published}
    assert {item["id"]: normalise(item) for item in (*zambia, *alaska)} == expected

    clear = _found(pgstac, "27.2,-8.1,27.3,-8.0", year=2020, collection=REAL, max_cloud_cover=20)
    assert _names(zambia) - _names(clear) == {
        "S2A_MSIL2A_20200711T080611_R078_T35MNM_20201101T145944",
        "S2A_MSIL2A_20200701T080611_R078_T35MNM_20200824T191001",
    }


def test_each_item_of_the_months_once_and_none_of_other_times(api: PgStac) -> None:
    found = _found(api)
    assert _names(found) == OF_REGION
    moments = [normalise(item).datetime for item in found]
    assert moments == sorted(moments)
    assert len(api.door.arrived) == 12  # searches, a month each


def test_a_month_of_many_items_comes_in_pages(api: PgStac) -> None:
    days = [f"2021-06-{day:02d}" for day in range(1, 31)]
    items = [_small(day, n) for day in days for n in range(A_DAY)]
    api.load(MANY, items)
    assert _names(_found(api, collection=MANY)) == _names(items)
    assert len(api.door.arrived) == 12 + 2


def test_the_server_leaves_out_cloudy_items_and_keeps_unstated_ones(api: PgStac) -> None:
    period = period_of(_settings(api))
    asked = StacApi(api.address, MADE, 50.0).items(read_region(REGION), period)
    answered = {item["id"] for item in asked}
    assert CLOUDY["id"] not in answered
    assert UNSTATED["id"] in answered
    assert _names(_found(api, max_cloud_cover=50)) == OF_REGION - {CLOUDY["id"]}
    assert _names(_found(api, max_cloud_cover=5)) == {UNSTATED["id"]}


def test_a_region_of_very_many_vertices(api: PgStac) -> None:
    turns = [2 * math.pi * n / 20_000 for n in range(20_000)]
    star = [
        (4.65 + r * math.cos(turn), 50.85 + r * math.sin(turn))
        for n, turn in enumerate(turns)
        if (r := 0.05 + 0.01 * (n % 2))
    ]
    region = Region(shapely.make_valid(shapely.Polygon(star)), "star")
    assert _names(_found(api, region)) == OF_REGION


def test_a_region_of_two_utm_zones(api: PgStac) -> None:
    assert EAST[:2] != WEST[:2]
    found = _found(api, "5.9,50.4,6.1,50.5")
    assert {normalise(item).tile for item in found} == {EAST, WEST}


def test_a_region_across_the_antimeridian(api: PgStac) -> None:
    found = _found(api, "179.9,-17,-179.9,-16.8")
    assert {normalise(item).tile for item in found} == set(FIJI)


def test_absent_collections_and_years_are_errors(api: PgStac) -> None:
    with pytest.raises(CatalogError, match=r"'landsat': .* no such collection, but .*sentinel-2"):
        _found(api, collection="landsat")
    with pytest.raises(CatalogError, match=r"2017-01 to 2017-12.* it has some of 2020, 2021, 2022"):
        _found(api, year=2017)
    with pytest.raises(RegionError, match=r"no item of .* reaches into the region"):
        _found(api, "20,20,21,21")


def test_few_searches_at_once(api: PgStac) -> None:
    _found(api)
    assert 1 < api.door.most_at_once <= 4


def test_a_server_that_asks_to_wait_is_waited_for(api: PgStac) -> None:
    api.door.busy, api.door.retry_after = 2, 1
    assert _names(_found(api)) == OF_REGION
    assert len(api.door.arrived) == 12 + 2
    refused, last = api.door.arrived[1], api.door.arrived[-1]
    assert last >= refused + 1.0


def test_a_database_that_stops_between_the_pages(
    api: PgStac, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("WHO", "me")
    monkeypatch.setenv("WORD", "hush")
    url = api.address.replace("//", "//${WHO}:${WORD}@") + "/?key=${WORD}"
    api.door.before = lambda number: api.cluster.stop() if number == 3 else None
    try:
        with pytest.raises(CatalogUnavailable, match="cannot be read") as stopped:
            _found(api, url=url)
    finally:
        api.cluster.start()
    assert "hush" not in str(stopped.value)
    assert "/search" in caplog.text  # what was asked is logged, but not with which key
    assert "hush" not in caplog.text
    assert "bWU6aHVzaA" not in caplog.text
    assert len(api.door.arrived) >= 3
    api.door.forget()
    assert _names(_found(api, url=url)) == OF_REGION
