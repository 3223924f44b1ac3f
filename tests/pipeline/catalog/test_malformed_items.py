"""A malformed item is left out alone, counted and named, in whatever catalogue it is."""

import copy
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from pipeline.catalog.search import NothingFound, SearchResult
from pipeline.errors import CatalogError
from pipeline.grid.region import Region, read_region
from pipeline.settings.map import MapSettings
from tests.catalog_servers import ApiState, api_server, published_in, search_named, write_static
from tests.stac_items import earth_search_item

REGION = "4.6,50.8,4.7,50.9"
GOOD = earth_search_item("31UFS", "2021-06-01")
FORGED = "S2A\x1b[2J\nError: all is well"


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


RING = [[[4.0, 50.0], [6.0, 50.0], [6.0, 51.5], [4.0, 50.0]]]
# The place in an item, and what stands there.
BAD: dict[str, tuple[str, Any]] = {
    "an escape sequence and a line break in the id": ("id", FORGED),
    "the order of letters turned in the id": ("id", "S2A_\u202eTIF"),
    "half of a surrogate pair in the id": ("id", "S2A_\ud800"),
    "an id that is a number": ("id", 17),
    "an id that is a list": ("id", ["a"]),
    "an id of a million characters": ("id", "x" * 10**6),
    "no id": ("id", None),
    "extensions": ("stac_extensions", 5),
    "an extension": ("stac_extensions", [5]),
    "half of a surrogate pair in an extension": ("stac_extensions", ["\ud800"]),
    "links": ("links", 5),
    "collection": ("collection", 7),
    "version": ("stac_version", ["1.0.0"]),
    "assets as a list": ("assets", [1]),
    "properties as a list": ("properties", [1]),
    "datetime": ("properties/datetime", {"a": 1}),
    "a datetime of long ago": ("properties/datetime", "0000-00-00T00:00:00Z"),
    "cloud cover as a list": ("properties/eo:cloud_cover", [1]),
    "cloud cover beyond all numbers": ("properties/eo:cloud_cover", 10**400),
    "cloud cover that is no number": ("properties/eo:cloud_cover", math.nan),
    "platform": ("properties/platform", {"a": 1}),
    "a control character in the platform": ("properties/platform", "sentinel-2a\x1b[2J"),
    "orbit": ("properties/sat:relative_orbit", 1e300),
    "generation time": ("properties/s2:generation_time", 5),
    "EPSG code that is unknown": ("assets/blue/proj:epsg", 1999),
    "EPSG code beyond all": ("assets/blue/proj:epsg", 1e300),
    "shape beyond memory": ("assets/blue/proj:shape", [1e300, 1e300]),
    "shape without end": ("assets/blue/proj:shape", [math.inf, 5]),
    "shape of nothing": ("assets/blue/proj:shape", [0, 0]),
    "shape of one number": ("assets/blue/proj:shape", [5]),
    "shape as an object": ("assets/blue/proj:shape", {"a": 5}),
    "transform of no numbers": ("assets/blue/proj:transform", [math.nan] * 6),
    "transform of tiny pixels": ("assets/blue/proj:transform", [1e-300, 0, 0, 0, -1e-300, 0]),
    "transform far away": ("assets/blue/proj:transform", [10, 0, 1e300, 0, -10, 0]),
    "transform too short": ("assets/blue/proj:transform", [10]),
    "size": ("assets/blue/file:size", 10**400),
    "a size below 0": ("assets/blue/file:size", -5),
    "raster:bands as an object": ("assets/blue/raster:bands", {"offset": -0.1}),
    "raster:bands as a number": ("assets/blue/raster:bands", 5),
    "bands of numbers": ("assets/blue/bands", [5]),
    "bands as a number": ("assets/blue/bands", 5),
    "an offset beyond all": ("assets/blue/raster:bands", [{"offset": 1e300, "scale": 1}]),
    "href as a number": ("assets/blue/href", 5),
    "href as a list": ("assets/blue/href", ["a"]),
    "a line break in an href": ("assets/blue/href", "https://example.com/a\r\nX-Evil: 1"),
    "a zero in an href": ("assets/blue/href", "a\x00b.tif"),
    "an href that is no address": ("assets/blue/href", "http://["),
    "geometry as a number": ("geometry", 5),
    "geometry of an unknown kind": ("geometry", {"type": "Sphere", "coordinates": RING}),
    "coordinates as a number": ("geometry", {"type": "Polygon", "coordinates": 5}),
    "coordinates that are no numbers": (
        "geometry",
        {"type": "Polygon", "coordinates": [[[math.nan, 50.0], *RING[0][1:]]]},
    ),
    "coordinates beyond the world": (
        "geometry",
        {"type": "Polygon", "coordinates": [[[4.0, 1e308], *RING[0][1:3], [4.0, 1e308]]]},
    ),
    "a polygon of two points": ("geometry", {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}),
    "coordinates nested deep": ("geometry", {"type": "Polygon", "coordinates": _deep(500)}),
}  # fmt: skip


def _item(place: str, value: Any) -> dict[str, Any]:
    item = copy.deepcopy(earth_search_item("31UFS", "2021-07-01", baseline="05.00"))
    *folders, name = place.split("/")
    inner = item
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    return item


def _search(url: str) -> SearchResult:
    given = {"region": REGION, "year": 2021, "out": "out", "classes": "a, b"}
    settings = MapSettings.model_validate({**given, "catalog": {"url": url}})
    return search_named(_region(), settings)


def _region() -> Region:
    return read_region(REGION)


@contextmanager
def _collection(items: list[Any], folder: Path) -> Iterator[str]:
    file = folder / "items.json"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    yield str(file)


@contextmanager
def _api(items: list[Any], folder: Path) -> Iterator[str]:
    with api_server(ApiState(items, narrows=False, page=10)) as address:
        yield address


@contextmanager
def _static(items: list[Any], folder: Path) -> Iterator[str]:
    names = [f"item-{number}.json" for number in range(len(items))]
    for name, item in zip(names, items, strict=True):
        (folder / name).write_text(json.dumps(item))
    links = [{"rel": "item", "href": name} for name in names]
    catalog = {"type": "Catalog", "id": "root", "stac_version": "1.0.0", "links": links}
    (folder / "catalog.json").write_text(json.dumps(catalog))
    yield str(folder)


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("kind", [_collection, _api, _static])
def test_one_malformed_item(kind: Callable[..., Any], case: str, tmp_path: Path) -> None:
    bad = _item(*BAD[case])
    with kind([GOOD, bad], tmp_path) as url:
        found = _search(url)
    (refused,) = found.refused
    assert [item["id"] for item in published_in(found)] == [GOOD["id"]]
    assert str(refused).isprintable()
    assert len(str(refused)) < 2000
    if case not in ("no id", "an id that is a list"):
        assert refused.given.startswith("item ")


@pytest.mark.parametrize("kind", [_collection, _api])
@pytest.mark.parametrize("item", [5, None, "a", ["a"], {}, {"type": "Feature"}, {"id": {"a": 1}}])
def test_what_is_no_item_at_all(kind: Callable[..., Any], item: Any, tmp_path: Path) -> None:
    with kind([item, GOOD], tmp_path) as url:
        found = _search(url)
    assert len(published_in(found)) == len(found.refused) == 1
    assert "not a STAC item" in str(found.refused[0])


@pytest.mark.parametrize("content", [b"", b"[", b"[" * 100_000, b"\xff", b"5", b'["a"]'])
def test_a_file_that_is_no_item(content: bytes, tmp_path: Path) -> None:
    with _static([GOOD, {}], tmp_path) as url:
        (tmp_path / "item-1.json").write_bytes(content)
        (refused,) = _search(url).refused
    assert "item-1.json" in str(refused)


def test_numbers_of_thousands_of_digits(tmp_path: Path) -> None:
    with _collection([GOOD, _item("properties/eo:cloud_cover", "HUGE")], tmp_path) as url:
        text = Path(url).read_text()
        Path(url).write_text(text.replace('"HUGE"', "9" * 5000))
        (refused,) = _search(url).refused
    assert "eo:cloud_cover" in str(refused)


def test_only_malformed_items(tmp_path: Path) -> None:
    items = [_item(*place) for place in BAD.values()]
    with _collection(items, tmp_path) as url, pytest.raises(NothingFound) as refused:
        _search(url)
    assert f"none of its items of the region and year can be used ({len(BAD)})" in str(
        refused.value
    )
    assert str(refused.value).isprintable()


def _table(folder: Path, geometry: bytes | None, name: str) -> str:
    items = [earth_search_item("31UFS", f"2021-0{month}-01") for month in range(1, 5)]
    file = folder / "items.parquet"
    to_parquet(parse_stac_items_to_arrow(items).read_all(), file)
    table = pq.read_table(file)
    columns = {"geometry": geometry, "id": name}
    for column, value in columns.items():
        index = table.schema.get_field_index(column)
        values = table.column(column).to_pylist()
        kind = pa.binary() if column == "geometry" else pa.string()
        field = pa.field(column, kind, metadata=table.schema.field(index).metadata)
        table = table.set_column(index, field, pa.array([value, *values[1:]], kind))
    pq.write_table(table, file)
    return str(file)


@pytest.mark.parametrize("geometry", [b"no geometry", b"", None])
def test_a_row_of_a_table_that_is_no_item(geometry: bytes | None, tmp_path: Path) -> None:
    found = _search(_table(tmp_path, geometry, "a"))
    assert (len(published_in(found)), len(found.refused)) == (3, 1)


def test_a_row_of_a_table_with_a_forged_id(tmp_path: Path) -> None:
    good = parse_stac_items_to_arrow([GOOD]).read_all().column("geometry")[0].as_py()
    found = _search(_table(tmp_path, good, FORGED))
    assert (len(published_in(found)), len(found.refused)) == (3, 1)
    assert str(found.refused[0]).isprintable()


@pytest.mark.parametrize("column", ["bbox", "geometry", "assets"])
def test_a_table_that_is_none_of_items(column: str, tmp_path: Path) -> None:
    file = _table(tmp_path, b"", "a")
    table = pq.read_table(file)
    index = table.schema.get_field_index(column)
    pq.write_table(table.set_column(index, column, pa.array([5] * 4, pa.int64())), file)
    with pytest.raises(CatalogError, match="this is no table of items"):
        _search(file)


@pytest.mark.parametrize(
    "links",
    [
        5,
        [{"rel": "item", "href": 5}],
        [{"rel": "child", "href": ["a"]}],
        [{"rel": "item", "href": "http://["}],
        [{"rel": "item", "href": "a\x00b.json"}],
        [{"rel": "item", "href": "a%00b.json"}],
        [{"rel": "item", "href": "file:///a%00b.json"}],
        [{"rel": "child", "href": "a\x1b[2J.json"}],
        [{"rel": "child", "href": "a\ud800.json"}],
    ],
)
def test_links_of_a_catalogue_that_lead_nowhere(links: Any, tmp_path: Path) -> None:
    catalog = {"type": "Catalog", "id": "root", "stac_version": "1.0.0", "links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    with pytest.raises(CatalogError, match=r"a link in it is no address|not a STAC catalogue"):
        _search(str(tmp_path))


def test_a_static_archive_stays_as_it_is(tmp_path: Path) -> None:
    found = _search(str(write_static(tmp_path, {"sentinel-2-l2a": [GOOD]})))
    assert not found.refused
    assert [item["id"] for item in published_in(found)] == [GOOD["id"]]
