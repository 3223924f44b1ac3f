import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog.description import describe_catalog
from pipeline.catalog.json_client import resolved
from pipeline.catalog.search import open_catalog, period_of
from pipeline.errors import CatalogError, CatalogUnavailable, RegionError
from pipeline.grid.region import Region, read_region
from pipeline.settings.map import MapSettings
from tests.catalog_servers import (
    ApiState,
    api_server,
    collection,
    folder_server,
    published_in,
    search_named,
    write_static,
)
from tests.stac_items import earth_search_item

REGION = "4.6,50.8,4.7,50.9"
MONTHS = [f"2021-{month:02d}-{day}" for month in range(1, 13) for day in ("01", "28")]


def _settings(url: str, **fields: Any) -> MapSettings:
    catalog = {"url": url, **fields.pop("catalog", {})}
    given = {"region": REGION, "year": 2021, "out": "out", "classes": "a, b", **fields}
    return MapSettings.model_validate({**given, "catalog": catalog})


def _items() -> list[dict[str, Any]]:
    return [
        *(earth_search_item("31UFS", date) for date in MONTHS),
        earth_search_item("31UFS", "2020-12-31"),
        earth_search_item("31UFS", "2022-01-01"),
        earth_search_item("31UFS", "2021-06-15", **{"eo:cloud_cover": 99.0}),
        earth_search_item("32ULB", "2021-06-16"),
    ]


@pytest.fixture
def region() -> Region:
    return read_region(REGION)


@pytest.fixture
def static(tmp_path: Path) -> Path:
    return write_static(tmp_path / "archive", {"sentinel-2-l2a": _items()})


@pytest.fixture
def api() -> Iterator[tuple[str, ApiState]]:
    state = ApiState(_items(), extension="item-search#query")
    with api_server(state) as address:
        yield address, state


def _search(region: Region, settings: MapSettings) -> list[dict[str, Any]]:
    found = search_named(region, settings)
    assert not found.refused
    return published_in(found)


def _dates(found: list[dict[str, Any]]) -> list[str]:
    return [item["properties"]["datetime"][:10] for item in found]


def test_a_static_catalogue_in_a_folder(static: Path, region: Region) -> None:
    found = _search(region, _settings(str(static)))
    assert _dates(found) == MONTHS
    href = found[0]["assets"]["blue"]["href"]
    assert href == str(static / "sentinel-2-l2a" / "2021" / found[0]["id"] / "blue.tif")
    assert _search(region, _settings(str(static / "catalog.json"))) == found
    assert _search(region, _settings((static / "catalog.json").as_uri())) == found
    assert _search(region, _settings(str(static / "sentinel-2-l2a"))) == found


def test_a_static_catalogue_on_a_server(static: Path, region: Region) -> None:
    with folder_server(static) as address:
        found = _search(region, _settings(f"{address}/catalog.json"))
        assert _dates(found) == MONTHS
        name = found[0]["id"]
        blue = f"{address}/sentinel-2-l2a/2021/{name}/blue.tif"
        assert found[0]["assets"]["blue"]["href"] == blue
        assert _dates(_search(region, _settings(address))) == MONTHS
        with pytest.raises(CatalogError, match="there is no such document"):
            _search(region, _settings(f"{address}/other.json"))


def test_an_api_is_searched_month_by_month_and_page_by_page(
    api: tuple[str, ApiState], region: Region
) -> None:
    address, state = api
    state.items.append(earth_search_item("31UFS", "2021-01-15"))
    found = _search(region, _settings(address))
    assert _dates(found) == sorted([*MONTHS, "2021-01-15"])
    assert len({asked["datetime"] for asked in state.asked}) == 12
    assert len(state.asked) == 14  # January and June have a second page


@pytest.mark.parametrize("extension", ["QUERY", "FILTER", ""])
def test_clouds_are_left_out_whether_the_api_can_or_not(region: Region, extension: str) -> None:
    urls = {
        "QUERY": "https://api.stacspec.org/v1.0.0/item-search#query",
        "FILTER": "https://api.stacspec.org/v1.0.0/item-search#filter",
        "": "",
    }
    unstated = earth_search_item("31UFS", "2021-06-20", **{"eo:cloud_cover": None})
    state = ApiState([*_items(), unstated], extension=urls[extension])
    with api_server(state) as address:
        found = _dates(_search(region, _settings(address)))
    assert found == sorted([*MONTHS, "2021-06-20"])
    assert {"filter" in asked for asked in state.asked} == {extension == "FILTER"}
    assert not any("query" in asked for asked in state.asked)  # it would lose the unstated


def test_the_last_second_of_a_month_is_of_it(api: tuple[str, ApiState], region: Region) -> None:
    address, state = api
    for moment in ("2021-01-31T23:59:59.500Z", "2021-12-31T23:59:59.999Z", "2022-01-01T00:00:00Z"):
        late = earth_search_item("31UFS", moment[:10], sequence=7)
        late["properties"]["datetime"] = moment
        state.items.append(late)
    state.items.append(earth_search_item("31UFS", "2021-03-01", sequence=8))
    state.items[-1]["properties"]["datetime"] = "2021-03-01T00:00:00Z"  # in two of the searches
    found = [item["id"] for item in _search(region, _settings(address))]
    assert len(found) == len(set(found)) == len(MONTHS) + 3
    assert [name for name in found if name.endswith("_7_L2A")] == [
        "S2A_31UFS_20210131_7_L2A", "S2A_31UFS_20211231_7_L2A",
    ]  # fmt: skip


MALFORMED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "its generation time is 'unknown'": lambda item: item["properties"].update(
        {"s2:generation_time": "unknown"}
    ),
    "its eo:cloud_cover is 'n/a'": lambda item: item["properties"].update(
        {"eo:cloud_cover": "n/a"}
    ),
    "its CRS is 'EPSG:abc'": lambda item: item["properties"].update({"proj:code": "EPSG:abc"}),
    "its geometry is none": lambda item: item["geometry"].update(coordinates=[[[4, 50], [5, 51]]]),
    "its bbox holds 2 numbers": lambda item: item.update(geometry=None, bbox=[4, 50]),
    "its datetime is 'June'": lambda item: item["properties"].update(datetime="June"),
    "its raster offset is 'none'": lambda item: (
        item["properties"].update({"s2:processing_baseline": "05.00"}),
        item["assets"]["blue"]["raster:bands"][0].update(offset="none"),
    ),
    "its proj:transform is 5, not 6 numbers": lambda item: item["assets"]["blue"].update(
        {"proj:transform": 5}
    ),
    "it has no id": lambda item: item.update(id=None),
    "it is malformed": lambda item: item["assets"]["blue"].update({"proj:shape": [3]}),
}


@pytest.mark.parametrize("problem", MALFORMED)
@pytest.mark.parametrize("kind", ["static", "api"])
def test_a_malformed_item_is_left_out_and_said(
    kind: str, problem: str, tmp_path: Path, region: Region
) -> None:
    broken = earth_search_item("31UFS", "2021-06-15", sequence=4)
    MALFORMED[problem](broken)
    with _serving(kind, [broken, *_items()], tmp_path / "both") as url:
        found = search_named(region, _settings(url))
        assert _dates(published_in(found)) == MONTHS
        assert len(found.refused) == 1
        assert problem in str(found.refused[0])
    with (
        _serving(kind, [broken], tmp_path / "alone") as url,
        pytest.raises(CatalogError, match=rf"none of its items .* can be used \(1\).*{problem}"),
    ):
        _search(region, _settings(url))


@contextmanager
def _serving(kind: str, items: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    """The items as they are, in a folder or by an API that does not look into them."""
    if kind == "static":
        links = []
        for number, item in enumerate(items):
            links.append({"rel": "item", "href": f"{number}.json"})
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.json").write_text(json.dumps(item))
        whole = {**collection(), "links": links}
        (folder / "collection.json").write_text(json.dumps(whole))
        yield str(folder)
    else:
        with api_server(ApiState(items, page=100, narrows=False)) as address:
            yield address


def test_a_request_that_fails_at_first_is_sent_again(
    api: tuple[str, ApiState], region: Region
) -> None:
    address, state = api
    state.failures = 2
    assert _dates(_search(region, _settings(address))) == MONTHS


def test_a_region_of_many_vertices_is_sent_as_a_simpler_one(
    api: tuple[str, ApiState], region: Region
) -> None:
    address, state = api
    round_ = Region(region.geometry.centroid.buffer(0.05, quad_segs=2000), "round")
    assert _dates(_search(round_, _settings(address))) == MONTHS
    assert len(json.dumps(state.asked[0])) < 30_000


def test_twelve_months_from_any_month(static: Path, region: Region) -> None:
    settings = _settings(str(static), first_month=12, year=2020)
    assert [f"{moment:%Y-%m-%d}" for moment in period_of(settings)] == ["2020-12-01", "2021-12-01"]
    assert _dates(_search(region, settings))[:2] == ["2020-12-31", "2021-01-01"]


def test_only_the_named_collection_is_searched(tmp_path: Path, region: Region) -> None:
    other = earth_search_item("31UFS", "2021-05-05")
    both = {"sentinel-2-l2a": _items(), "sentinel-2-c1-l2a": [other]}
    folder = str(write_static(tmp_path, both))
    assert _dates(_search(region, _settings(folder))) == MONTHS
    c1 = _settings(folder, catalog={"collection": "sentinel-2-c1-l2a"})
    assert _dates(_search(region, c1)) == ["2021-05-05"]
    with pytest.raises(CatalogError, match="no such collection, but sentinel-2-c1-l2a, sentinel-"):
        _search(region, _settings(folder, catalog={"collection": "landsat"}))


def test_an_unknown_collection_of_an_api(api: tuple[str, ApiState], region: Region) -> None:
    with pytest.raises(CatalogError, match="no such collection, but sentinel-2-l2a"):
        _search(region, _settings(api[0], catalog={"collection": "landsat"}))


@pytest.mark.parametrize("kind", ["static", "api"])
def test_nothing_found(kind: str, static: Path, api: tuple[str, ApiState], region: Region) -> None:
    url = str(static) if kind == "static" else api[0]
    with pytest.raises(CatalogError, match=r"2017-01 to 2017-12.*some of 2020, 2021, 2022"):
        _search(region, _settings(url, year=2017))
    with pytest.raises(RegionError, match=r"no item of .* reaches into the region"):
        _search(read_region("20,20,21,21"), _settings(url))
    with pytest.raises(CatalogError, match=r"cloud"):
        _search(region, _settings(url, catalog={"max_cloud_cover": 5}))


def test_a_catalogue_that_does_not_answer(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.raster.retry._FIRST_PAUSE", 0.0)
    monkeypatch.setenv("WHO", "me")
    monkeypatch.setenv("WORD", "secret")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CatalogUnavailable, match="no connection to its server") as refused:
        _search(region, _settings(f"http://${{WHO}}:${{WORD}}@127.0.0.1:{port}/v1?sig=${{WORD}}"))
    assert f"http://127.0.0.1:{port}/v1" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "sig" not in str(refused.value)


def test_a_catalogue_that_accepts_and_says_nothing(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.raster.retry._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("pipeline.catalog.json_client.RESPONSE_TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        with pytest.raises(CatalogUnavailable, match="did not answer in time"):
            _search(region, _settings(f"http://127.0.0.1:{silent.getsockname()[1]}"))


@pytest.mark.parametrize("status", [503, 403])
def test_an_api_that_keeps_failing(
    api: tuple[str, ApiState], region: Region, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("pipeline.raster.retry._FIRST_PAUSE", 0.0)
    address, state = api
    catalog = open_catalog(describe_catalog(address))
    state.failures, state.status = 1000, status
    with pytest.raises(CatalogUnavailable, match=str(status)):
        _search(region, _settings(address))
    with pytest.raises(CatalogUnavailable, match=str(status)):
        list(catalog.items(region, period_of(_settings(address))))


def test_things_that_are_no_catalogue_are_errors(tmp_path: Path, region: Region) -> None:
    with pytest.raises(CatalogError, match="no such catalogue"):
        _search(region, _settings(str(tmp_path / "nowhere")))
    with pytest.raises(CatalogError, match=r"neither catalog\.json nor collection\.json"):
        _search(region, _settings(str(tmp_path)))
    for content, problem in (
        ("<html>", "holds no JSON object"),
        ("[1]", "holds no JSON object"),
        ('{"a": 1}', "not a STAC catalogue or collection"),
    ):
        (tmp_path / "catalog.json").write_text(content)
        with pytest.raises(CatalogError, match=problem):
            _search(region, _settings(str(tmp_path)))
        with folder_server(tmp_path) as address, pytest.raises(CatalogError, match=problem):
            _search(region, _settings(f"{address}/catalog.json"))


def test_broken_links_are_errors_and_circles_end(static: Path, region: Region) -> None:
    root = json.loads((static / "catalog.json").read_text())
    root["links"].append({"rel": "child", "href": "./catalog.json"})
    (static / "catalog.json").write_text(json.dumps(root))
    assert _dates(_search(region, _settings(str(static)))) == MONTHS
    next(static.rglob("S2A_*.json")).unlink()
    with pytest.raises(CatalogError, match=r"S2A_.*\.json: there is no such document"):
        _search(region, _settings(str(static)))


@pytest.mark.parametrize(
    ("base", "href", "expected"),
    [
        ("/a/b/item.json", "./x.tif", "/a/b/x.tif"),
        ("/a/b/item.json", "../x%20y.tif", "/a/x y.tif"),
        ("/a/b/item.json", "/c/x.tif", "/c/x.tif"),
        ("/a/b/item.json", "s3://bucket/x.tif", "s3://bucket/x.tif"),
        ("/a/b/item.json", "file:///c/x.tif", "/c/x.tif"),
        ("https://h/a/item.json", "../x.tif", "https://h/x.tif"),
        ("https://h/a/item.json", "/x.tif", "https://h/x.tif"),
    ],
)
def test_hrefs_become_absolute(base: str, href: str, expected: str) -> None:
    assert resolved(base, href) == expected


def test_items_that_cannot_be_used_are_told_apart_from_clouds(
    tmp_path: Path, region: Region
) -> None:
    cloudy = earth_search_item(date="2021-06-01", **{"eo:cloud_cover": 99.0})
    broken = earth_search_item(date="2021-06-11", **{"eo:cloud_cover": 10.0})
    broken["assets"]["blue"]["proj:transform"] = [600000, 10, 0, 5700000, 0, -10]  # GDAL's order
    folder = write_static(tmp_path / "archive", {"sentinel-2-l2a": [cloudy, broken]})
    with pytest.raises(CatalogError, match=r"\(1\).*not north up; 1 others are cloudier"):
        _search(region, _settings(str(folder)))


def _saved(folder: Path, items: list[dict[str, Any]], **fields: Any) -> str:
    path = folder / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items, **fields}))
    return str(path)


def test_items_that_pystac_client_has_saved(tmp_path: Path, region: Region) -> None:
    items = _items()
    items[0]["links"] = []
    items[0]["assets"]["blue"]["href"] = "rasters/blue.tif"
    saved = _search(region, _settings(_saved(tmp_path, items)))
    assert _dates(saved) == MONTHS
    assert saved[0]["assets"]["blue"]["href"] == str(tmp_path / "rasters/blue.tif")
    with pytest.raises(CatalogError, match="without a list of features"):
        _search(region, _settings(_saved(tmp_path, {})))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"numberMatched": 99}, "holds only 28 of the 99 items"),
        ({"context": {"matched": 99}}, "holds only 28 of the 99 items"),
        ({"links": [{"rel": "next", "href": "https://example.com"}]}, "holds only 28 items of"),
    ],
)
def test_one_saved_page_of_several_is_not_taken_for_all(
    tmp_path: Path, region: Region, fields: dict[str, Any], words: str
) -> None:
    path = _saved(tmp_path, _items(), **fields)
    with pytest.raises(CatalogError, match=f"{words}.*accept_incomplete"):
        _search(region, _settings(path))
    found = search_named(region, _settings(path, catalog={"accept_incomplete": True}))
    assert _dates(published_in(found)) == MONTHS
    assert words in found.shortfalls[0]


@pytest.mark.parametrize("folder", ["100%20cloud free", "100 cloud free"])
def test_hrefs_of_folders_with_percent_signs(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "blue.tif").touch()
    href = "100%20cloud free/blue.tif"  # as it is, and as a URL has it
    assert resolved(str(tmp_path / "item.json"), href) == str(tmp_path / folder / "blue.tif")
