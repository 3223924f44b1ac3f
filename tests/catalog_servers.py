"""Catalogues on real servers for tests: a folder over HTTP, and a small STAC API with paging."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import shapely
from pystac.utils import str_to_datetime
from shapely.geometry import shape

from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item_snapshot import read_snapshot_stac
from pipeline.catalog.search import SearchResult, search
from pipeline.grid.region import Region
from pipeline.settings.map import SearchSettings


def search_named(region: Region, settings: SearchSettings) -> SearchResult:
    """Search the catalogue of the settings."""
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    return search(region, settings, catalog)


def published_in(found: SearchResult) -> list[dict[str, Any]]:
    """The STAC items of a search, as its snapshot keeps them."""
    return list(read_snapshot_stac(found.items.content, "items"))


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server on a free port; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def folder_server(folder: Path) -> Iterator[str]:
    """Serve a folder's files over HTTP; yield the address."""
    with serving(partial(_Quiet, directory=str(folder))) as address:
        yield address


class ApiState:
    """The items of a STAC API, its behaviour, and the searches that it received.

    Attributes:
        items: All items.
        page: Items per page.
        extension: A conformance class beside the usual ones.
        narrows: Whether a search filters; otherwise each search returns all items.
        failures: The number of next requests that fail.
        status: The status code of a failure.
        asked: The bodies of the searches.
    """

    def __init__(
        self,
        items: list[dict[str, Any]],
        *,
        page: int = 2,
        extension: str = "",
        narrows: bool = True,
    ) -> None:
        self.items, self.page, self.extension, self.narrows = items, page, extension, narrows
        self.failures = 0
        self.status = 503
        self.asked: list[dict[str, Any]] = []


@contextmanager
def api_server(state: ApiState) -> Iterator[str]:
    """Run a STAC API with landing page, collections, and search by POST with pages."""
    with serving(partial(_Api, state)) as address:
        yield address


class _Api(BaseHTTPRequestHandler):
    def __init__(self, state: ApiState, *args: Any) -> None:
        self.state = state
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, document: Any, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fails(self) -> bool:
        if self.state.failures > 0:
            self.state.failures -= 1
            self._answer({"code": "busy"}, self.state.status)
            return True
        return False

    def do_GET(self) -> None:
        if self._fails():
            return
        base = f"http://{self.headers['Host']}"
        if self.path.rstrip("/") == "":
            conforms = ["core", "collections", "item-search", *filter(None, [self.state.extension])]
            self._answer(
                {
                    "type": "Catalog", "id": "api", "stac_version": "1.0.0", "description": "test",
                    "conformsTo": [
                        name if "://" in name else f"https://api.stacspec.org/v1.0.0/{name}"
                        for name in conforms
                    ],
                    "links": [
                        {"rel": "self", "href": base},
                        {"rel": "root", "href": base},
                        {"rel": "data", "href": f"{base}/collections"},
                        {"rel": "search", "href": f"{base}/search", "method": "POST",
                         "type": "application/geo+json"},
                    ],
                }
            )  # fmt: skip
        elif self.path.startswith("/collections"):
            self._answer({"collections": [collection()], "links": []})
        else:
            self._answer({}, 404)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._fails():
            return
        self.state.asked.append(asked)
        start, end = (str_to_datetime(t) for t in asked.get("datetime", _EVER).split("/"))
        ground = shape(asked["intersects"])
        found = [
            item
            for item in self.state.items
            if not self.state.narrows
            or (
                item["collection"] in asked["collections"]
                and start <= str_to_datetime(item["properties"]["datetime"]) <= end
                and shapely.intersects(ground, shape(item["geometry"]))
                and ("filter" not in asked or _holds(asked["filter"], item["properties"]))
            )
        ]
        first = int(asked.get("token", 0))
        last = first + self.state.page
        links = []
        if last < len(found):
            address = f"http://{self.headers['Host']}/search"
            body = {**asked, "token": str(last)}
            links = [{"rel": "next", "href": address, "method": "POST", "body": body}]
        self._answer({"type": "FeatureCollection", "features": found[first:last], "links": links})


def _holds(expression: dict[str, Any], properties: dict[str, Any]) -> bool:
    """Evaluate a CQL2 filter on an item; a comparison with a missing property is not true."""
    args = expression["args"]
    if expression["op"] == "or":
        return any(_holds(inner, properties) for inner in args)
    value = properties.get(args[0]["property"])
    if expression["op"] == "isNull":
        return value is None
    assert expression["op"] == "<="
    return value is not None and bool(value <= args[1])


_EVER = "1900-01-01T00:00:00Z/2200-01-01T00:00:00Z"


def collection(name: str = "sentinel-2-l2a") -> dict[str, Any]:
    """Make the JSON of a STAC collection."""
    return {
        "type": "Collection", "id": name, "stac_version": "1.0.0", "description": "test",
        "license": "proprietary", "links": [],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2015-06-27T00:00:00Z", None]]},
        },
    }  # fmt: skip


def write_static(folder: Path, collections: dict[str, list[dict[str, Any]]]) -> Path:
    """Write a static catalogue: catalog → collections → one catalogue per year → items.

    Hrefs of assets are made relative ("./blue.tif" beside the item).
    """
    for name, items in collections.items():
        years = sorted({item["properties"]["datetime"][:4] for item in items})
        document = collection(name)
        document["links"] = [
            {"rel": "root", "href": "../catalog.json"},
            *({"rel": "child", "href": f"./{year}/catalog.json"} for year in years),
        ]
        _write(folder / name / "collection.json", document)
        for year in years:
            mine = [i for i in items if i["properties"]["datetime"].startswith(year)]
            links = [{"rel": "item", "href": f"{item['id']}/{item['id']}.json"} for item in mine]
            _write(folder / name / year / "catalog.json", _catalog(year, links))
            for item in mine:
                assets = {k: {**a, "href": f"./{k}.tif"} for k, a in item["assets"].items()}
                place = folder / name / year / item["id"] / f"{item['id']}.json"
                _write(place, {**item, "assets": assets, "links": []})
    links = [{"rel": "child", "href": f"./{name}/collection.json"} for name in collections]
    _write(folder / "catalog.json", _catalog("root", links))
    return folder


def _catalog(name: str, links: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "type": "Catalog", "id": name, "stac_version": "1.0.0", "description": "test",
        "links": links,
    }  # fmt: skip


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
