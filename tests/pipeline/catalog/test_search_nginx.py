"""A static catalogue on a real web server: what is asked for, and how often."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.grid.region import read_region
from pipeline.settings.map import MapSettings
from tests.catalog_servers import published_in, search_named, write_static
from tests.nginx import Nginx, nginx
from tests.stac_items import earth_search_item

REGION = "4.6,50.8,4.7,50.9"
DATES = [f"2021-{month:02d}-{day:02d}" for month in range(1, 13) for day in (1, 11, 21)]
OTHERS = [earth_search_item(date="2020-06-01"), earth_search_item("32ULB", "2021-06-01")]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    items = [*(earth_search_item(date=date) for date in DATES), *OTHERS]
    return write_static(tmp_path / "an archive", {"sentinel-2-l2a": items})


@pytest.fixture
def server(archive: Path) -> Iterator[Nginx]:
    with nginx(archive.parent) as server:
        yield server


def _found(url: str, **catalog: Any) -> list[dict[str, Any]]:
    given = {"region": REGION, "year": 2021, "out": "out", "classes": "a, b"}
    settings = MapSettings.model_validate({**given, "catalog": {"url": url, **catalog}})
    found = search_named(read_region(REGION), settings)
    assert not found.refused
    return published_in(found)


def _dates(items: list[dict[str, Any]]) -> list[str]:
    return [item["properties"]["datetime"][:10] for item in items]


def test_every_document_is_requested_once_over_few_connections(
    server: Nginx, archive: Path
) -> None:
    found = _found(f"{server.address}/an%20archive/catalog.json")
    assert _dates(found) == DATES
    name = found[0]["id"]
    place = f"{server.address}/an%20archive/sentinel-2-l2a/2021/{name}"
    assert found[0]["assets"]["blue"]["href"] == f"{place}/blue.tif"
    requests = server.requests()
    assert {(request.method, request.status) for request in requests} == {("GET", 200)}
    documents = {f"/{path.relative_to(archive.parent)}" for path in archive.rglob("*.json")}
    assert sorted(request.path for request in requests) == sorted(documents)
    assert len({request.connection for request in requests}) <= 16


def test_a_missing_document_is_an_error(server: Nginx, archive: Path) -> None:
    gone = next(archive.rglob("S2A_*.json"))
    gone.unlink()
    with pytest.raises(CatalogError, match=rf"{gone.name}: there is no such document"):
        _found(f"{server.address}/an%20archive/catalog.json")


def test_a_forbidden_document_is_an_error(server: Nginx, archive: Path) -> None:
    place = archive / "catalog.json"
    root = json.loads(place.read_text())
    root["links"].append({"rel": "child", "href": "./"})  # nginx shows no folders: 403
    place.write_text(json.dumps(root))
    with pytest.raises(CatalogUnavailable, match=r"an%20archive/ .*answered HTTP 403"):
        _found(f"{server.address}/an%20archive/catalog.json")


def test_a_folder_that_is_not_listed(server: Nginx) -> None:
    assert _dates(_found(f"{server.address}/an%20archive")) == DATES
    assert _dates(_found(f"{server.address}/an%20archive/")) == DATES
