"""Habits of STAC APIs that reports of users tell of: pages, methods, sizes, collections, words."""

import json
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from shapely.geometry import mapping, shape

from pipeline.catalog.search import SearchResult
from pipeline.errors import CatalogError, CatalogUnavailable
from pipeline.grid.region import Region, read_region
from pipeline.settings.map import MapSettings
from tests.catalog_servers import collection, published_in, search_named, serving
from tests.pipeline.catalog.test_stac_api import Handler, answering
from tests.stac_items import earth_search_item

REGION = "4.6,50.8,4.7,50.9"
ITEMS = [earth_search_item("31UFS", f"2021-05-{day:02d}") for day in range(1, 17)]
NAMES = [item["id"] for item in ITEMS]
Page = tuple[int, Any]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.raster.retry._FIRST_PAUSE", 0.0)


@pytest.fixture
def region() -> Region:
    return read_region(REGION)


def _search(region: Region, url: str, **catalog: Any) -> SearchResult:
    given = {"region": REGION, "year": 2021, "out": "out", "classes": "a, b"}
    settings = MapSettings.model_validate({**given, "catalog": {"url": url, **catalog}})
    return search_named(region, settings)


def _names(found: SearchResult) -> list[str]:
    return [item["id"] for item in published_in(found)]


def _landing(handler: Handler, *methods: str, conforms: tuple[str, ...] = ()) -> dict[str, Any]:
    links = [
        {"rel": "search", "href": f"{handler.base}/search", **({"method": m} if m else {})}
        for m in methods or ("POST",)
    ]
    classes = [f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", *conforms)]
    return {"type": "Catalog", "id": "api", "links": links, "conformsTo": classes}


def _api(
    page: Callable[[Handler, dict[str, Any]], Page], *methods: str
) -> Callable[[Handler], tuple[int, Any]]:
    """An API whose searches in May `page` answers; of other months it has nothing."""

    def answers(handler: Handler) -> tuple[int, Any]:
        if not handler.path.startswith("/search"):
            return 200, _landing(handler, *methods)
        query = {key: values[0] for key, values in parse_qs(urlsplit(handler.path).query).items()}
        asked = {**query, **handler.sent}
        if not asked.get("datetime", "2021-05").startswith("2021-05"):
            return 200, {"type": "FeatureCollection", "features": []}
        return page(handler, asked)

    return answers


def _page(items: list[Any], handler: Handler | None = None, **more: Any) -> dict[str, Any]:
    """A page of items; with a handler and a `token` also its link to the next one."""
    document = {"type": "FeatureCollection", "features": items, "links": []}
    if handler is not None and "token" in more:
        body = {"token": more.pop("token")}
        document["links"] = [
            {"rel": "next", "href": "/search", "method": "POST", "body": body, "merge": True}
        ]
    return {**document, **more}


@pytest.mark.parametrize("empty", [1, 5, 40])
def test_empty_pages_with_a_next_are_passed(region: Region, empty: int) -> None:
    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        number = asked.get("token", 0)
        items = {0: ITEMS[:8], empty + 1: ITEMS[8:]}.get(number, [])
        more = {} if number == empty + 1 else {"token": number + 1}
        return 200, _page(items, handler, numberMatched=16, **more)

    with serving(answering(_api(page))) as address:
        assert _names(_search(region, address)) == NAMES


def test_empty_pages_without_end_are_an_error(region: Region) -> None:
    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        return 200, _page([], handler, token=asked.get("token", 0) + 1)

    with (
        serving(answering(_api(page))) as address,
        pytest.raises(CatalogError, match="again and again"),
    ):
        _search(region, address)


@pytest.mark.parametrize(
    "count",
    [{"numberMatched": 16}, {"context": {"matched": 16}}, {"search:metadata": {"matched": 16}}],
)
def test_fewer_items_than_there_are_is_an_error_or_said(
    region: Region, count: dict[str, Any]
) -> None:
    with serving(answering(_api(lambda handler, asked: (200, _page(ITEMS[:9], **count))))) as url:
        with pytest.raises(CatalogUnavailable, match=rf"{url} gave 9 of the 16 items .* 2021-05"):
            _search(region, url)
        found = _search(region, url, accept_incomplete=True)
    assert _names(found) == NAMES[:9]
    assert len(found.shortfalls) == 1
    assert "9 of the 16 items" in found.shortfalls[0]


@pytest.mark.parametrize("count", [16, 3, None, "many", True])
def test_as_many_items_as_there_are_or_more_are_enough(region: Region, count: Any) -> None:
    with serving(answering(_api(lambda *_: (200, _page(ITEMS, numberMatched=count))))) as url:
        found = _search(region, url)
    assert _names(found) == NAMES
    assert found.shortfalls == ()


def test_pages_of_items_seen_before_are_no_end(region: Region) -> None:
    pages = [ITEMS[:6], ITEMS[:6], ITEMS[4:10], ITEMS[2:8], ITEMS[10:]]

    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        number = asked.get("token", 0)
        more = {"token": number + 1} if number + 1 < len(pages) else {}
        return 200, _page(pages[number], handler, numberMatched=16, **more)

    with serving(answering(_api(page))) as address:
        assert _names(_search(region, address)) == NAMES


def test_a_last_page_that_leads_to_itself_is_no_error_if_all_items_were_there(
    region: Region,
) -> None:
    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        return 200, _page(ITEMS, handler, token=7, numberMatched=16)

    with serving(answering(_api(page))) as address:
        assert _names(_search(region, address)) == NAMES


def test_the_same_token_behind_another_link_has_no_end(region: Region) -> None:
    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        return 200, _page(ITEMS, handler, token=7) | {
            "links": [{"rel": "next", "href": f"/search?token=7&now={len(handlers)}"}]
        }

    handlers: list[Handler] = []

    def counted(handler: Handler, asked: dict[str, Any]) -> Page:
        handlers.append(handler)
        return page(handler, asked)

    with (
        serving(answering(_api(counted))) as address,
        pytest.raises(CatalogError, match="again and again"),
    ):
        _search(region, address)
    assert len(handlers) < 5


def test_a_key_that_is_called_token_is_none_of_a_page(region: Region) -> None:
    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        first = int(asked.get("first", 0))
        links = [{"rel": "next", "href": f"/search?token=key&first={first + 4}"}]
        return 200, _page(ITEMS[first : first + 4]) | {"links": links if first < 12 else []}

    with serving(answering(_api(page))) as address:
        assert _names(_search(region, address)) == NAMES


@pytest.mark.parametrize("advertised", [("GET",), ("",), ("get",), ("POST",), ("POST", "GET")])
@pytest.mark.parametrize("refusal", [403, 404, 405, 501])
def test_a_search_by_get_where_post_is_not_advertised_or_refused(
    region: Region, advertised: tuple[str, ...], refusal: int
) -> None:
    asked_by: list[str] = []

    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        asked_by.append(handler.command)
        if handler.command == "POST":
            return refusal, {"description": "use GET"}
        assert asked["collections"] == "sentinel-2-l2a"
        assert shape(json.loads(asked["intersects"])).contains(region.geometry)
        assert "filter" not in asked
        first = int(asked.get("offset", 0))
        last = first + 6
        document = _page(ITEMS[first:last], numberMatched=16)
        if last < 16:
            query = urlsplit(handler.path).query.partition("&offset")[0]
            document["links"] = [{"rel": "next", "href": f"/search?{query}&offset={last}"}]
        return 200, document

    with (
        warnings.catch_warnings(),
        serving(answering(_api(page, *advertised))) as address,
    ):
        warnings.simplefilter("error")
        assert _names(_search(region, address)) == NAMES
    if "POST" not in advertised:
        assert set(asked_by) == {"GET"}


def test_a_post_where_a_get_is_refused(region: Region) -> None:
    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        return (200, _page(ITEMS)) if handler.command == "POST" else (405, b"")

    with serving(answering(_api(page, ""))) as address:
        assert _names(_search(region, address)) == NAMES


def test_a_large_region_is_asked_for_by_get_as_one_that_fits_an_address(region: Region) -> None:
    paths: list[str] = []

    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        paths.append(handler.path)
        return 200, _page(ITEMS)

    dots = [region.geometry.centroid.buffer(0.3 + n / 100).exterior for n in range(30)]
    islands = Region(
        shape(mapping(dots[0])).buffer(0.001).union(dots[20].buffer(0.001)), "two rings"
    )
    with serving(answering(_api(page, "GET"))) as address:
        assert _names(_search(islands, address)) == NAMES
    assert max(map(len, paths)) < 4000


@pytest.mark.parametrize("status", [400, 413, 422, 500, 502, 504])
@pytest.mark.parametrize("most", [100, 7, 1])
def test_a_page_that_is_refused_is_halved(region: Region, status: int, most: int) -> None:
    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        if asked["limit"] > most:
            return status, {"description": f"limit must be at most {most}"}
        first = int(asked.get("token", 0))
        last = first + asked["limit"]
        more = {"token": last} if last < 16 else {}
        return 200, _page(ITEMS[first:last], handler, numberMatched=16, **more)

    with serving(answering(_api(page))) as address:
        assert _names(_search(region, address)) == NAMES


def test_a_later_page_that_is_too_large_begins_the_search_anew(region: Region) -> None:
    """By numbers of pages: to go on with half a page from page 2 on would skip items."""
    monthly = [earth_search_item("31UFS", "2021-05-01", sequence=n) for n in range(250)]

    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        number, size = asked.get("page", 0), asked["limit"]
        if number == 1 and size == 200:
            return 502, b"<title>Bad gateway</title>"
        document = _page(monthly[number * size : (number + 1) * size])
        if (number + 1) * size < len(monthly):
            body = {**asked, "page": number + 1}
            document["links"] = [{"rel": "next", "href": "/search", "method": "POST", "body": body}]
        return 200, document

    with serving(answering(_api(page))) as address:
        found = _search(region, address)
    assert sorted(_names(found)) == sorted(item["id"] for item in monthly)


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_the_reason_of_a_refusal_is_quoted_without_secrets(
    region: Region, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("WHO", "me")
    monkeypatch.setenv("WORD", "hush&now")

    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        sent = (handler.headers["Authorization"], "hush&now", handler.path)
        return status, {"description": f"sentinel-9 is unknown here; you sent {sent}"}

    with serving(answering(_api(page))) as address:
        url = address.replace("//", "//${WHO}:${WORD}@") + "/?key=${WORD}"
        with pytest.raises(CatalogUnavailable) as refused:
            _search(region, url)
    said = str(refused.value)
    assert f"answered HTTP {status}" in said
    assert "sentinel-9 is unknown here" in said
    assert "hush" not in said
    assert "bWU6" not in said  # of me:… in base 64
    assert "does not answer" not in said
    assert "check the network" not in said.lower()
    assert refused.value.__cause__ is None


def test_a_server_that_names_a_pause_is_not_asked_for_less(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.raster.retry.time.sleep", lambda seconds: None)
    limits: set[int] = set()

    def page(handler: Handler, asked: dict[str, Any]) -> Page:
        limits.add(asked["limit"])
        body = b'{"title": "busy"}'
        handler.send_response(503)
        handler.send_header("Retry-After", "1")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        raise ConnectionAbortedError

    with (
        serving(answering(_api(page))) as address,
        pytest.raises(CatalogUnavailable, match=r'HTTP 503 \("busy"\)'),
    ):
        _search(region, address)
    assert limits == {200}


MALFORMED: list[Any] = [
    collection("broken") | {"extent": {"spatial": {"bbox": [None]}, "temporal": {}}},
    {"id": "poor"}, {"type": "Collection"}, {"id": None}, {"id": 5}, "text", None, [],
]  # fmt: skip


@pytest.mark.parametrize("by_id", [200, 404, 500])
def test_malformed_collections_break_nothing(region: Region, by_id: int) -> None:
    ours = {"id": "sentinel-2-l2a", "extent": None}

    def answers(handler: Handler) -> tuple[int, Any]:
        if handler.path == "/collections/sentinel-2-l2a":
            return by_id, ours
        if handler.path.startswith("/collections/"):
            return 404, {}
        if handler.path == "/collections":
            return 200, {"collections": [*MALFORMED, ours]}
        if handler.path == "/search":
            return 200, _page(ITEMS)
        return 200, _landing(handler, conforms=("collections", "item-search"))

    with serving(answering(answers)) as address:
        assert _names(_search(region, address)) == NAMES
        with pytest.raises(CatalogError, match="no such collection, but broken, poor, sentinel"):
            _search(region, address, collection="landsat")


@pytest.mark.parametrize("answer", [(500, {}), (200, {}), (200, {"collections": None}), (200, [])])
def test_a_listing_that_fails_is_not_needed(region: Region, answer: Page) -> None:
    def answers(handler: Handler) -> tuple[int, Any]:
        if handler.path.startswith("/collections"):
            return answer
        if handler.path == "/search":
            return 200, _page(ITEMS)
        return 200, _landing(handler, conforms=("collections", "item-search"))

    with serving(answering(answers)) as address:
        assert _names(_search(region, address)) == NAMES


NONSENSE: list[Any] = [
    3, None, {}, {"type": "Feature"}, {**ITEMS[0], "id": "a", "properties": None},
    {**ITEMS[0], "id": "b", "type": "Catalog"},
    {**ITEMS[0], "id": "c", "links": [3, {"rel": "self", "href": "http://["}], "geometry": 3},
]  # fmt: skip


def test_items_of_nonsense_are_refused_alone(region: Region) -> None:
    with serving(answering(_api(lambda *_: (200, _page([*NONSENSE, *ITEMS]))))) as address:
        found = _search(region, address)
    assert _names(found) == NAMES
    assert len(found.refused) == len(NONSENSE)
    said = " ".join(map(str, found.refused))
    assert all(f"item {name}" in said for name in "abc")
