"""STAC APIs that misbehave: gone, endless, broken off, terse."""

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from pipeline.catalog.json_client import Documents
from pipeline.catalog.search import period_of
from pipeline.catalog.stac_api import StacApi
from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.grid.region import Region, read_region
from pipeline.settings.map import MapSettings
from tests.catalog_servers import (
    ApiState,
    api_server,
    collection,
    published_in,
    search_named,
    serving,
)
from tests.stac_items import earth_search_item

REGION = "4.6,50.8,4.7,50.9"
Answers = Callable[["Handler"], tuple[int, Any]]


class Handler(BaseHTTPRequestHandler):
    """Answers what the test says: a status, and a document or text."""

    answers: Answers
    sent: dict[str, Any]

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.sent = json.loads(self.rfile.read(length) or b"{}")
        status, document = type(self).answers(self)
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # who asked has left, or is to be left
            super().handle()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    @property
    def base(self) -> str:
        return f"http://{self.headers['Host']}"


def answering(answers: Answers) -> type[Handler]:
    return type("Answering", (Handler,), {"answers": staticmethod(answers)})


def _landing(handler: Handler, *conforms: str, **fields: Any) -> dict[str, Any]:
    links = [
        {"rel": "data", "href": f"{handler.base}/collections"},
        {"rel": "search", "href": f"{handler.base}/search", "method": "POST",
         "type": "application/geo+json"},
    ]  # fmt: skip
    page = {"type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "-"}
    stated = [f"https://api.stacspec.org/v1.0.0/{name}" for name in conforms]
    return {**page, "links": links, "conformsTo": stated, **fields}


def _page(*features: dict[str, Any], after: str = "", **body: Any) -> dict[str, Any]:
    links = [{"rel": "next", "href": after, "method": "POST", "body": body}] if after else []
    return {"type": "FeatureCollection", "features": list(features), "links": links}


@pytest.fixture
def region() -> Region:
    return read_region(REGION)


def _settings(url: str, **catalog: Any) -> MapSettings:
    given = {"region": REGION, "year": 2021, "out": "out", "classes": "a, b"}
    return MapSettings.model_validate({**given, "catalog": {"url": url, **catalog}})


def test_an_api_that_is_gone_when_its_items_are_requested(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.raster.retry._FIRST_PAUSE", 0.0)
    with api_server(ApiState([])) as address:
        pass
    api = StacApi(address.replace("//", "//me:hush@"), "sentinel-2-l2a", 95.0)
    with pytest.raises(
        CatalogUnavailable, match=f"{address} .*no connection to its server"
    ) as gone:
        list(api.items(region, period_of(_settings(address))))
    error: BaseException | None = gone.value
    while error is not None:
        assert "hush" not in str(error)
        error = error.__cause__ or error.__context__


def test_an_api_that_stalls_in_its_search_is_left(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.raster.retry._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("pipeline.catalog.json_client.RESPONSE_TIMEOUT", 0.2)
    enough = threading.Event()

    def answers(handler: Handler) -> tuple[int, Any]:
        if handler.path == "/search":
            enough.wait(20)
        return 200, _landing(handler, "core", "item-search")

    with serving(answering(answers)) as address:
        try:
            with pytest.raises(CatalogUnavailable, match="did not answer in time"):
                search_named(region, _settings(address))
        finally:
            enough.set()


@pytest.mark.parametrize("circle", [1, 3])
def test_pages_that_never_end_are_an_error(region: Region, circle: int) -> None:
    items = [earth_search_item("31UFS", f"2021-01-{day:02d}") for day in (1, 11, 21)]

    def answers(handler: Handler) -> tuple[int, Any]:
        if handler.path != "/search":
            return 200, _landing(handler, "core", "item-search")
        number = handler.sent.get("token", 0)
        after = (number + 1) % circle
        return 200, _page(items[number], after=f"{handler.base}/search", token=after)

    with (
        serving(answering(answers)) as address,
        pytest.raises(CatalogError, match=f"{address}: its search gives the same page again"),
    ):
        search_named(region, _settings(address))


def test_collections_that_never_end_are_an_error(region: Region) -> None:
    def answers(handler: Handler) -> tuple[int, Any]:
        if handler.path == "/":
            return 200, _landing(handler, "core", "collections", "item-search")
        after = {"rel": "next", "href": f"{handler.base}/collections"}
        return 200, {"collections": [collection()], "links": [after]}

    with (
        serving(answering(answers)) as address,
        pytest.raises(CatalogError, match="no such collection, but sentinel-2-l2a"),
    ):
        search_named(region, _settings(address, collection="landsat"))


def test_a_response_that_breaks_off_is_requested_again(region: Region) -> None:
    broken: list[str] = []
    item = earth_search_item()

    def answers(handler: Handler) -> tuple[int, Any]:
        document = _landing(handler, "core", "item-search")
        if handler.path == "/search":
            document = _page(item)
        if broken.count(handler.path) < 2:
            broken.append(handler.path)
            handler.send_response(200)
            handler.send_header("Content-Length", "10000")
            handler.end_headers()
            handler.wfile.write(b'{"type":')
            raise ConnectionAbortedError
        return 200, document

    with serving(answering(answers)) as address:
        found = search_named(region, _settings(address))
        assert [found["id"] for found in published_in(found)] == [item["id"]]
        assert sorted(set(broken)) == ["/", "/search"]
        broken.clear()
        assert Documents().read_json(address)["id"] == "api"
        assert len(broken) == 2


@pytest.mark.parametrize("missing", ["conformsTo", "description", "stac_version", "id", "type"])
def test_a_landing_page_that_says_little_is_enough(region: Region, missing: str) -> None:
    def answers(handler: Handler) -> tuple[int, Any]:
        if handler.path == "/search":
            return 200, _page(earth_search_item())
        page = _landing(handler, "core", "item-search")
        del page[missing]
        return 200, page

    with serving(answering(answers)) as address:
        assert len(published_in(search_named(region, _settings(address)))) == 1


@pytest.mark.parametrize("elsewhere", [False, True])
def test_secrets_go_to_the_catalogue_s_own_server_only(
    region: Region, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    monkeypatch.setenv("WHO", "me")
    monkeypatch.setenv("WORD", "h&sh")
    asked: list[tuple[str, str, bool]] = []

    def answers(handler: Handler) -> tuple[int, Any]:
        authorized = handler.headers.get("Authorization") == "Basic bWU6aCZzaA=="
        asked.append((handler.headers["Host"].split(":")[0], handler.path, authorized))
        if handler.path.startswith("/search"):
            return 200, _page(earth_search_item())
        if handler.path.startswith("/collections"):
            return 200, {"collections": [collection()], "links": []}
        page = _landing(handler, "core", "collections", "item-search")
        if elsewhere:
            page["links"][1]["href"] = page["links"][1]["href"].replace("127.0.0.1", "localhost")
        return 200, page

    with serving(answering(answers)) as address:
        url = address.replace("//", "//${WHO}:${WORD}@") + "/?key=${WORD}"
        assert len(published_in(search_named(region, _settings(url)))) == 1
    there = [ask for ask in asked if ask[0] == "127.0.0.1"]
    assert {ask[1] for ask in there} >= {"/?key=h%26sh", "/collections?key=h%26sh"}
    assert all(ask[2] for ask in there)
    searches = {ask for ask in asked if ask[1].startswith("/search")}
    other = ("localhost", "/search", False)
    assert searches == {other if elsewhere else ("127.0.0.1", "/search?key=h%26sh", True)}


@pytest.mark.parametrize(
    "answer",
    [b"<html>", [], {"features": 3}, {"features": [3]}, {"features": [{}], "links": [{}]}],
)
def test_responses_that_are_not_those_of_a_stac_api(region: Region, answer: Any) -> None:
    def answers(handler: Handler) -> tuple[int, Any]:
        if handler.path == "/search":
            return 200, answer
        return 200, _landing(handler, "core", "item-search")

    with serving(answering(answers)) as address, pytest.raises(CatalogError):
        search_named(region, _settings(address))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("86400", 60), ("Fri, 31 Dec 2999 23:59:59 GMT", 60), ("soon", 0)],
)
def test_a_server_may_say_how_long_to_wait_within_reason(
    monkeypatch: pytest.MonkeyPatch, header: str, seconds: float
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("pipeline.raster.retry._FIRST_PAUSE", 0.0)
    monkeypatch.setattr("pipeline.raster.retry.time.sleep", pauses.append)
    asked: list[str] = []

    def answers(handler: Handler) -> tuple[int, Any]:
        asked.append(handler.path)
        if len(asked) == 4:
            return 200, {"id": "api"}
        handler.send_response(429)
        handler.send_header("Retry-After", header)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        raise ConnectionAbortedError

    with serving(answering(answers)) as address:
        assert Documents().read_json(address)["id"] == "api"
    assert pauses == [seconds] * 3
