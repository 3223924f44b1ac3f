"""The publication of a run at a real STAC API with the Transaction extension."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import odc.stac
import pystac
import pytest
import rasterio
import requests

from pipeline.catalog.transactions import TransactionApi, open_transaction_api
from pipeline.errors import CatalogError, OutputError, OutputUnwritable
from pipeline.io.store import Store
from pipeline.mapping.publish_api import (
    api_item,
    files_address,
    own_collection,
    publish_at_api,
)
from pipeline.product.committed_cells import mapped_items
from pipeline.product.ledger import write_collection
from tests.catalog_servers import ApiState, api_server, folder_server
from tests.hostile_server import hostile_server, plain_answer
from tests.pgstac import PgStac, pgstac
from tests.pipeline.made_run import ONE_ZONE, MadeRun, make_run

__all__ = ["pgstac"]

BASE = "https://maps.example.org/run/"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = make_run(str(tmp_path_factory.mktemp("made") / "run"), ONE_ZONE)
    write_collection(made.store, made.run, made.items, made.vocabulary)
    return made


@pytest.fixture
def api(pgstac: PgStac) -> Iterator[PgStac]:
    """The API as it is at first; its collections of other tests stay."""
    pgstac.door.forget()
    yield pgstac
    pgstac.door.forget()


def _publish(made: MadeRun, api: TransactionApi, name: str, base: str = BASE, **more: Any) -> int:
    items = mapped_items(made.store, made.run)
    own = own_collection(api, made.run, name)
    return publish_at_api(made.store, items, api, own, base, **more)


def _items(api: PgStac, name: str) -> dict[str, dict[str, Any]]:
    found = requests.get(f"{api.address}/collections/{name}/items?limit=100", timeout=30).json()
    return {item["id"]: item for item in found["features"]}


def test_a_map_is_found_and_opened(made: MadeRun, api: PgStac) -> None:
    with folder_server(Path(made.store.root)) as base:
        opened = open_transaction_api(api.address)
        assert _publish(made, opened, "opened", f"{base}/", title="A map") == 0
        collection = pystac.Collection.from_file(f"{api.address}/collections/opened")
        assert collection.title == "A map"
        assert collection.get_single_link("license") is not None
        assert collection.assets["thumbnail"].href == f"{base}/preview.png"
        west, south, _, _ = made.items[-1]["bbox"]
        box = [west + 0.001, south + 0.001, west + 0.002, south + 0.002]
        body = {"collections": ["opened"], "bbox": box}
        found = requests.post(f"{api.address}/search", json=body, timeout=30).json()["features"]
        assert [item["id"] for item in found] == [made.items[-1]["id"]]
        item = pystac.Item.from_dict(found[0])
        loaded = odc.stac.load([item], bands=["class"], chunks={})["class"].isel(time=0).values
        own = f"cells/{item.properties['timesen:tile']}/{item.id}/class.tif"
        with rasterio.open(made.store.path(own)) as raster:
            np.testing.assert_array_equal(loaded, raster.read(1))
        assert loaded.any()
    assert {path for _, path in api.door.writes} == {
        "/collections",
        "/collections/opened/bulk_items",
    }


def test_items_one_by_one_where_it_takes_no_more(made: MadeRun, api: PgStac) -> None:
    _publish(made, open_transaction_api(api.address), "bulk")
    api.door.absent = ("/bulk_items",)
    opened = open_transaction_api(api.address)
    _publish(made, opened, "single")
    assert not opened.bulk
    assert len(_items(api, "single")) == len(made.cells)
    own_links = ("collection", "parent", "root", "self")
    renders = requests.get(f"{api.address}/collections/bulk", timeout=30).json()["renders"]
    assert set(renders) == {"class", "confidence", "clear-months", "true-colour"}
    for name, item in _items(api, "bulk").items():
        other = _items(api, "single")[name]
        for links in (item["links"], other["links"]):
            assert {link["rel"] for link in links} >= set(own_links)
        assert item["assets"] == other["assets"]
        assert item["properties"] == other["properties"]
        folder = f"{BASE}cells/{item['properties']['timesen:tile']}/{name}"
        assert item["assets"]["class"]["href"] == f"{folder}/class.tif"
        assert item["properties"]["renders"] == renders


def test_links_and_renders_of_an_item_are_its_own() -> None:
    model = {"rel": "derived_from", "href": "../../../model.json"}
    item = {
        "id": "31UFR-16-14",
        "stac_extensions": [],
        "properties": {},
        "assets": {"class": {"href": "./class.tif"}},
        "links": [{"rel": "root", "href": "../../../collection.json"}, model],
    }
    renders = {name: {"assets": [name]} for name in ("class", "true-colour")}
    sent = api_item(item, "maps", "s3://bucket/a/", "31UFR", renders)
    assert sent["links"] == [{"rel": "derived_from", "href": "s3://bucket/a/model.json"}]
    assert set(sent["properties"]["renders"]) == {"class"}
    assert sent["assets"]["class"]["href"] == "s3://bucket/a/cells/31UFR/31UFR-16-14/class.tif"
    without = api_item(item, "maps", "s3://bucket/a/", "31UFR", {})
    assert "renders" not in without["properties"]
    assert without["stac_extensions"] == []


@pytest.mark.parametrize("bulk", [True, False], ids=["in bulk", "one by one"])
def test_it_can_be_repeated(made: MadeRun, api: PgStac, bulk: bool) -> None:
    name = f"repeated-{bulk}"
    api.door.absent = () if bulk else ("/bulk_items",)
    _publish(made, open_transaction_api(api.address), name, "https://old.example.org/")
    lost, *_ = _items(api, name)
    href = f"{api.address}/collections/{name}/items/"
    assert requests.delete(f"{href}{lost}", timeout=30).ok
    other = {**_items(api, name).popitem()[1], "id": "of-before"}
    other["properties"]["datetime"] = None  # which the API leaves out
    assert requests.post(href.rstrip("/"), json=other, timeout=30).ok
    _publish(made, open_transaction_api(api.address), name, title="New")
    found = _items(api, name)
    assert set(found) == {*(item["id"] for item in made.items), "of-before"}
    assert all(
        item["assets"]["class"]["href"].startswith(BASE)
        for key, item in found.items()
        if key != "of-before"
    )
    assert requests.get(f"{api.address}/collections/{name}", timeout=30).json()["title"] == "New"
    assert _publish(made, open_transaction_api(api.address), name, prune=True) == 1
    assert "of-before" not in _items(api, name)


def test_a_collection_of_others_stays(made: MadeRun, api: PgStac) -> None:
    api.load("of-others", [])
    with pytest.raises(CatalogError, match=r"no run of timesen\. Give another id with --id"):
        _publish(made, open_transaction_api(api.address), "of-others")
    assert api.door.writes == []


def test_keys_come_from_the_environment_and_are_not_shown(
    made: MadeRun,
    api: PgStac,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    api.door.token = "Bearer hunter2"
    with pytest.raises(CatalogError, match=r"does not let you write .*HTTP 401.*\$\{STAC_TOKEN\}"):
        _publish(made, open_transaction_api(api.address), "guarded")
    monkeypatch.setenv("STAC_TOKEN", "wrong-word")
    header = ["Authorization: Bearer ${STAC_TOKEN}"]
    with pytest.raises(CatalogError, match="not allowed with …") as caught:
        _publish(made, open_transaction_api(api.address, header), "guarded")
    assert "wrong-word" not in f"{caught.value}{caught.value.__cause__}{caplog.text}"
    monkeypatch.setenv("STAC_TOKEN", "hunter2")
    _publish(made, open_transaction_api(api.address, header), "guarded")
    assert len(_items(api, "guarded")) == len(made.cells)
    assert "hunter2" not in caplog.text


def test_a_busy_server_is_asked_again(made: MadeRun, api: PgStac) -> None:
    api.door.busy_writes = 2
    _publish(made, open_transaction_api(api.address), "busy")
    assert len(_items(api, "busy")) == len(made.cells)
    assert [path for _, path in api.door.writes[:3]] == ["/collections"] * 3


def test_an_api_that_takes_nothing() -> None:
    with api_server(ApiState([])) as address:
        with pytest.raises(CatalogError, match="it has no Transaction extension"):
            open_transaction_api(address)
        with pytest.raises(CatalogError, match="not those of a STAC API"):
            open_transaction_api(f"{address}/collections/none")


@pytest.mark.parametrize(
    ("address", "headers", "says"),
    [
        ("https://me:hunter2@127.0.0.1", (), r"write \$\{NAME\}"),
        ("s3://bucket/run", (), "--to takes a folder"),
        ("https://${NOT_SET_ANYWHERE}:x@127.0.0.1", (), "may hold a secret"),
        ("https://${NOT_SET_ANYWHERE}@127.0.0.1", (), "environment has no NOT_SET_ANYWHERE"),
        ("https://127.0.0.1", ("Authorization: Bearer hunter2",), "list of processes"),
        ("https://127.0.0.1", ("hunter2",), "it is no header"),
        ("https://127.0.0.1", ("X-Key: ${NOT_SET_ANYWHERE}",), "environment has no NOT_SET"),
    ],
)
def test_addresses_and_headers_that_are_none(
    address: str, headers: tuple[str, ...], says: str
) -> None:
    with pytest.raises(CatalogError, match=says) as caught:
        open_transaction_api(address, headers)
    assert "hunter2" not in str(caught.value)


def test_an_own_header_does_not_follow_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hunter2")
    with hostile_server(lambda head, say: plain_answer(say, b"{}")) as other:

        def answer(head: str, say: Any) -> None:
            plain_answer(say, b"", "307 Temporary Redirect", f"Location: {other.address}/x")

        with (
            hostile_server(answer) as server,
            pytest.raises(CatalogError, match="not those of a STAC API"),
        ):
            open_transaction_api(server.address, ["X-Api-Key: ${MY_KEY}"])
        assert "x-api-key: hunter2" in server.heads[0].lower()
        assert "hunter2" not in other.heads[0]


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(OutputUnwritable, match="start again later"):
        open_transaction_api("http://127.0.0.1:9")


def test_the_address_of_the_files(tmp_path: Path) -> None:
    folder = Store(str(tmp_path))
    assert files_address(None, Store("s3://maps/a")) == "s3://maps/a/"
    assert files_address("https://maps.example.org/a", folder) == "https://maps.example.org/a/"
    with pytest.raises(OutputError, match="cannot open files of this machine"):
        files_address(None, folder)
    for href in ("https://me:hunter2@x.org", "https://x.org?key=hunter2", "/srv/maps", "https://"):
        with pytest.raises(OutputError) as caught:
            files_address(href, folder)
        assert "hunter2" not in str(caught.value)
