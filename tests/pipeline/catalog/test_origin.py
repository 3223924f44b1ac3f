"""Catalogues of the web that lead to this machine or its network, and catalogues without end."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item_snapshot import make_snapshot
from pipeline.catalog.origin import access_of, origin_of, rules_of
from pipeline.catalog.search import SearchResult
from pipeline.errors import CatalogError, CatalogUnavailable, SettingsError
from pipeline.grid.region import read_region
from pipeline.settings.map import make_search_settings
from pipeline.settings.sections import NetworkSettings
from tests.catalog_servers import (
    ApiState,
    api_server,
    folder_server,
    published_in,
    search_named,
    write_static,
)
from tests.hostile_server import HostileServer, Say, hostile_server, plain_answer
from tests.stac_items import earth_search_item

REGION = "4.6,50.8,4.7,50.9"
ITEMS = [earth_search_item("31UFS", f"2021-0{month}-01") for month in range(1, 7)]


def found(url: str, **network: Any) -> SearchResult:
    raw = {"region": REGION, "year": 2021, "catalog": {"url": url}, "network": network}
    return search_named(read_region(REGION), make_search_settings(raw))


def with_asset(href: str) -> list[dict[str, Any]]:
    """Items of which the first has its blue band at an address."""
    first = ITEMS[0]
    assets = {**first["assets"], "blue": {**first["assets"]["blue"], "href": href}}
    return [{**first, "assets": assets}, *ITEMS[1:]]


FORBIDDEN = [
    "file:///etc/passwd", "/vsicurl/http://127.0.0.1/x.tif", "/vsizip//tmp/x.zip/x.tif",
    "ftp://example.com/x.tif", "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/x.tif",
    "http://[fd00::1]/x.tif", "s3://x@2852039166#/x.tif",
]  # fmt: skip


@pytest.mark.parametrize("href", FORBIDDEN)
def test_an_item_of_the_web_whose_raster_is_not_on_the_web_is_left_out(href: str) -> None:
    with api_server(ApiState(with_asset(href))) as address:
        result = found(address)
    assert len(published_in(result)) == len(ITEMS) - 1
    (refused,) = result.refused
    assert refused.given == f"item {ITEMS[0]['id']}"
    assert "its asset blue is at " in refused.problem


def test_absolute_paths_of_the_web_are_paths_of_its_server() -> None:
    with api_server(ApiState(with_asset("/etc/passwd"))) as address:
        blue = published_in(found(address))[0]["assets"]["blue"]["href"]
    assert blue == f"{address}/etc/passwd" or blue.startswith("https://")


def test_a_link_of_an_item_to_itself_does_not_make_it_one_of_this_machine() -> None:
    item = {**with_asset("./passwd")[0], "links": [{"rel": "self", "href": "file:///etc/x.json"}]}
    with api_server(ApiState([item])) as address:
        (item,) = published_in(found(address))
    assert item["assets"]["blue"]["href"] == f"{address}/passwd"


def test_allowed_hosts_are_led_to() -> None:
    with api_server(ApiState(with_asset("http://10.0.0.1/x.tif"))) as address:
        assert not found(address, allowed_hosts=["10.0.0.0/8"]).refused
        # A catalogue of this machine's own loopback may lead to all of it.
    with api_server(ApiState(with_asset("http://localhost:1/x.tif"))) as address:
        assert not found(address).refused


def test_a_catalogue_in_a_folder_may_lead_to_files_and_to_any_server(tmp_path: Path) -> None:
    folder = write_static(tmp_path, {"sentinel-2-l2a": ITEMS})
    for number, href in enumerate(["file:///etc/x.tif", "http://10.0.0.1/x.tif", "/data/x.tif"]):
        place = sorted(folder.rglob("S2A_*.json"))[number]
        item = json.loads(place.read_text())
        item["assets"]["blue"]["href"] = href
        place.write_text(json.dumps(item))
    result = found(str(folder))
    assert not result.refused
    assert {"/etc/x.tif", "http://10.0.0.1/x.tif", "/data/x.tif"} <= {
        item["assets"]["blue"]["href"] for item in published_in(result)
    }


@pytest.mark.parametrize("href", ["file:///dev/zero", "file:///etc/passwd", "/vsicurl/http://x/y"])
@pytest.mark.parametrize("relation", ["child", "item"])
def test_a_catalogue_of_the_web_with_a_link_to_a_file(
    tmp_path: Path, href: str, relation: str
) -> None:
    """It was read, /dev/zero without end."""
    folder = write_static(tmp_path, {"sentinel-2-l2a": ITEMS})
    root = json.loads((folder / "catalog.json").read_text())
    root["links"].append({"rel": relation, "href": href})
    (folder / "catalog.json").write_text(json.dumps(root))
    with (
        folder_server(folder) as address,
        pytest.raises(CatalogError, match=r"may lead to http.* and s3:// addresses only"),
    ):
        found(f"{address}/catalog.json")


def test_a_catalogue_of_the_web_with_a_link_to_the_network(tmp_path: Path) -> None:
    folder = write_static(tmp_path, {"sentinel-2-l2a": ITEMS})
    root = json.loads((folder / "catalog.json").read_text())
    root["links"].append({"rel": "child", "href": "http://10.255.255.1/catalog.json"})
    (folder / "catalog.json").write_text(json.dumps(root))
    with (
        folder_server(folder) as address,
        pytest.raises(CatalogUnavailable, match=r"allowed_hosts under \[network\]"),
    ):
        found(f"{address}/catalog.json")


def test_a_folder_that_leads_to_the_web_does_not_let_the_web_lead_to_files(tmp_path: Path) -> None:
    item = {**ITEMS[0], "assets": {**ITEMS[0]["assets"]}, "links": []}
    item["assets"]["blue"] = {**item["assets"]["blue"], "href": "file:///etc/passwd"}
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "item.json").write_text(json.dumps(item))
    with folder_server(tmp_path / "web") as address:
        root = {
            "type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x",
            "links": [{"rel": "item", "href": f"{address}/item.json"}],
        }  # fmt: skip
        (tmp_path / "catalog.json").write_text(json.dumps(root))
        with pytest.raises(CatalogError, match=r"its asset blue is at file:///etc/passwd"):
            found(str(tmp_path))


@pytest.mark.parametrize("name", ["item", "catalog.json", "items.json", "own.toml", "x.parquet"])
def test_pipes_are_no_catalogues(tmp_path: Path, name: str) -> None:
    """They were waited for without end."""
    url = tmp_path / name
    if name == "item":
        (tmp_path / "catalog.json").write_text(
            json.dumps({"type": "Catalog", "id": "x", "links": [{"rel": "item", "href": "pipe"}]})
        )
        url, name = tmp_path, "pipe"
    os.mkfifo(tmp_path / name)
    with pytest.raises(CatalogError, match=r"a pipe or a device, not a file|no such catalogue"):
        found(str(url))


def test_a_table_of_items_keeps_the_origin_of_its_items(tmp_path: Path) -> None:
    table = tmp_path / "items.parquet"
    with api_server(ApiState(ITEMS)) as address:
        described = describe_catalog(address)
        table.write_bytes(make_snapshot(published_in(found(address)), described))
    rules = rules_of(described, NetworkSettings())
    assert rules.of_web
    again = describe_catalog(str(table))
    assert origin_of(again) == origin_of(described)
    assert access_of(again, NetworkSettings()).rules == rules
    assert rules.problem("file:///etc/passwd")
    table.write_bytes(make_snapshot(published_in(found(str(table))), again))
    assert rules_of(describe_catalog(str(table)), NetworkSettings()) == rules
    table.write_bytes(
        make_snapshot(published_in(found(str(table))), describe_catalog(str(tmp_path)))
    )
    assert not rules_of(describe_catalog(str(table)), NetworkSettings()).of_web


@pytest.mark.parametrize("name", ["https://example.com", "10.0.0.0/99", "a b", "-x"])
def test_allowed_hosts_that_are_none(name: str) -> None:
    raw = {"region": REGION, "year": 2021, "network": {"allowed_hosts": [name]}}
    with pytest.raises(SettingsError, match="neither a host nor a network"):
        make_search_settings(raw)


def json_server(document: Callable[[str, str], Any]) -> AbstractContextManager[HostileServer]:
    """A server whose answers depend on the path; `document` gets the server's address, too."""

    def answer(head: str, say: Say) -> None:
        host = head.lower().partition("host: ")[2].partition("\r")[0]
        body = document(f"http://{host}", head.split(" ", 2)[1])
        plain_answer(say, json.dumps(body).encode())

    return hostile_server(answer)


def test_pages_that_are_ever_new() -> None:
    def document(base: str, path: str) -> Any:
        if path == "/":
            links = [{"rel": "search", "href": f"{base}/search?page=0", "method": "GET"}]
            return {"type": "Catalog", "id": "x", "links": links}
        page = int(path.partition("page=")[2].partition("&")[0])
        links = [{"rel": "next", "href": f"{base}/search?page={page + 1}"}]
        item = {**ITEMS[0], "id": f"S2A_31UFS_{page}"}
        return {"type": "FeatureCollection", "features": [item], "links": links}

    with json_server(document) as server:
        with pytest.raises(CatalogError, match=r"more than 20 pages.*raise most_pages under"):
            found(server.address, most_pages=20)
        assert len(server.heads) <= 2 + 12 * 20  # the months are searched side by side
        with pytest.raises(CatalogError, match=r"more than 1 MB together.*raise most_data under"):
            found(server.address, most_data=1)


def tree(breadth: int) -> Callable[[str, str], Any]:
    def document(base: str, path: str) -> Any:
        links = [{"rel": "child", "href": f"{path.rstrip('/')}/{n}"} for n in range(breadth)]
        return {"type": "Catalog", "id": path, "description": "x", "links": links}

    return document


@pytest.mark.parametrize(
    ("breadth", "bounds", "said"),
    [
        (1, {"most_depth": 12}, "more than 12 levels deep.*raise most_depth under"),
        (3, {"most_documents": 100}, "more than 100 documents of it.*raise most_documents under"),
        (10_000, {"most_documents": 100}, "more than 100 documents of it"),
    ],
)
def test_trees_without_end(breadth: int, bounds: dict[str, int], said: str) -> None:
    with json_server(tree(breadth)) as server:
        with pytest.raises(CatalogError, match=said):
            found(f"{server.address}/", **bounds)
        assert len(server.heads) <= 101


def test_items_without_number() -> None:
    links = [{"rel": "item", "href": f"./{n}.json"} for n in range(1000)]
    root = {"type": "Catalog", "id": "x", "links": links}
    with json_server(lambda base, path: root) as server:
        with pytest.raises(CatalogError, match="more than 100 documents of it"):
            found(f"{server.address}/", most_documents=100)
        assert len(server.heads) == 1


def test_a_document_that_is_too_large() -> None:
    root = {"type": "Catalog", "id": "x" * 2_000_000, "links": []}
    with (
        json_server(lambda base, path: root) as server,
        pytest.raises(CatalogUnavailable, match="larger than 1 MB, the largest_document"),
    ):
        found(f"{server.address}/catalog.json", largest_document=1)
