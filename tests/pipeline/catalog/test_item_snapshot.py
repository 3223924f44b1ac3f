import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import geopandas
import pyarrow.parquet as pq
import pystac
import pytest
from shapely.geometry import box, mapping
from stac_geoparquet.arrow import parse_stac_items_to_arrow, stac_table_to_items, to_parquet

from pipeline.catalog import stac_table
from pipeline.catalog.by_content import shared_by_content
from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item import Item
from pipeline.catalog.item_snapshot import make_snapshot, read_snapshot, read_snapshot_stac
from pipeline.catalog.normalise import normalise, resolve_duplicates
from pipeline.catalog.reduced_item import reduced_item
from pipeline.errors import CatalogError, OutputError
from tests.stac_items import cdse_item, earth_search_item

ANY_CATALOG = CatalogDescription(url="https://example.com")


def _round_trip(published: list[dict[str, Any]]) -> list[Item]:
    items = read_snapshot(make_snapshot(published, ANY_CATALOG), "items.parquet")
    assert items == resolve_duplicates(normalise(item) for item in published)
    return items


def test_items_of_all_catalogues_come_back_the_same() -> None:
    _round_trip(
        [
            earth_search_item("31UFS", "2021-06-01"),
            earth_search_item("31UFS", "2021-06-06", baseline="05.00", applied=True),
            earth_search_item("32ULB", "2021-06-06", baseline="05.00"),
            earth_search_item("06VVN", "2021-07-06"),
            cdse_item("31UFS"),
        ],
    )


def test_real_items_come_back_the_same(shared_data: Path) -> None:
    text = (shared_data / "stac" / "planetary-computer-s2-35MNM.json").read_text()
    (other,) = (shared_data / "stac").glob("*_raster_ext.json")
    _round_trip([*json.loads(text)["features"], json.loads(other.read_text())])


def test_items_without_geometry_bbox_or_cloud_cover() -> None:
    nowhere, boxed, sparse = (earth_search_item(date=f"2021-06-0{n}") for n in (1, 2, 3))
    nowhere["geometry"] = nowhere["bbox"] = None
    boxed["geometry"] = None
    del sparse["bbox"], sparse["properties"]["eo:cloud_cover"], sparse["assets"]["nir08"]
    del sparse["assets"]["nir08-jp2"], sparse["links"], sparse["stac_extensions"]
    items = _round_trip([nowhere, boxed, sparse])
    assert items[0].footprint is None
    assert items[1].footprint is not None
    assert items[2].cloud_cover is None
    assert "B8A" not in items[2].assets
    _round_trip([nowhere])


def test_its_bytes_are_those_of_all_items_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However few are held at once, and whatever fields the first of them lack."""
    items = [earth_search_item(date=f"2021-06-0{n}") for n in range(1, 8)]
    items[4:5] = [cdse_item("31UFS")]
    for item in items[:3]:
        del item["links"], item["assets"]["blue"], item["properties"]["eo:cloud_cover"]
        for asset in item["assets"].values():
            asset.pop("raster:bands", None)
    plain = tmp_path / "plain.parquet"  # the table's library, given all items in one batch
    reduced = [reduced_item(item, ANY_CATALOG) for item in items]
    to_parquet(parse_stac_items_to_arrow(reduced).read_all(), plain)
    table = pq.read_table(plain)
    content = make_snapshot(items, ANY_CATALOG)
    metadata = pq.read_schema(io.BytesIO(content)).metadata
    pq.write_table(table.replace_schema_metadata(metadata), plain)
    assert content == plain.read_bytes()
    monkeypatch.setattr(stac_table, "_WRITTEN", 2)
    assert make_snapshot(items, ANY_CATALOG) == content
    assert read_snapshot(content, "items") == resolve_duplicates(map(normalise, items))


def test_a_table_reads_as_its_library_reads_it(shared_data: Path) -> None:
    text = (shared_data / "stac" / "planetary-computer-s2-35MNM.json").read_text()
    items = [*json.loads(text)["features"], cdse_item("31UFS")]
    content = make_snapshot(items, ANY_CATALOG)
    plain = stac_table_to_items(pq.read_table(io.BytesIO(content)))
    assert list(read_snapshot_stac(content, "items")) == [_stated(item) for item in plain]


def _stated(fields: Any) -> Any:
    if isinstance(fields, dict):
        return {name: _stated(value) for name, value in fields.items() if value is not None}
    return [_stated(value) for value in fields] if isinstance(fields, list) else fields


def test_results_are_shared_by_equal_values_only() -> None:
    seen = []

    @shared_by_content
    def kind(value: Any) -> str:
        seen.append(value)
        return repr(value)

    for value in ([1, "a"], [1, "a"], [1.0, "a"], [True, "a"], {"b": None}, object(), [1, "a"]):
        assert kind(value) == repr(value)
    assert len(seen) == 5


def test_numbers_written_as_whole_or_broken() -> None:
    whole, broken = earth_search_item(), earth_search_item(date="2021-06-06")
    broken["properties"]["eo:cloud_cover"] = 12
    broken["properties"]["mgrs:utm_zone"] = "31"
    whole["properties"]["mgrs:utm_zone"] = 31
    for asset in broken["assets"].values():
        if "proj:transform" in asset:
            asset["proj:transform"] = [float(number) for number in asset["proj:transform"]]
    _round_trip([whole, broken])


def test_malformed_fields_that_are_not_read() -> None:
    item = earth_search_item()
    item["properties"].update({"mgrs:utm_zone": "none", "proj:bbox": ["a"]})
    item["assets"]["blue"].update({"gsd": "10 m", "proj:bbox": "?"})
    _round_trip([item])


TIMES = [
    "2021-06-01T10:46:30.1234567Z", "2021-06-01T10:46:30.123456789Z", "2021-06-01 10:46:30",
    "2021-06-01t10:46:30z", "20210601T104630,5Z", "2021-06-01T12:46:30+0200", "2021-152T10:46Z",
    "2021-06-01", "2021-06-01T24:00:00Z",
]  # fmt: skip


@pytest.mark.parametrize("field", ["datetime", "start_datetime"])
def test_times_are_written_as_they_were_read(field: str) -> None:
    items = [earth_search_item(sequence=number) for number in range(len(TIMES))]
    for item, text in zip(items, TIMES, strict=True):
        del item["properties"]["datetime"]
        item["properties"] |= {"datetime": None, field: text, "s2:generation_time": text}
        item["properties"]["s2:datastrip_id"] = ""
        item["geometry"] = mapping(box(4, 50 + len(text) / 9, 4.01, 50.01 + len(text) / 9))
    _round_trip(items)


def test_times_of_nonsense_that_are_not_read() -> None:
    item = earth_search_item()
    item["properties"] |= {"end_datetime": "2021-06-01T10:46:60.5X", "start_datetime": 5}
    _round_trip([item])


def test_numbers_that_no_table_holds_and_a_word_for_true() -> None:
    item, other = earth_search_item(baseline="05.00"), earth_search_item("32ULB")
    item["properties"] |= {"earthsearch:boa_offset_applied": "false", "mgrs:utm_zone": 1e400}
    item["collection"] = {"id": "sentinel-2-l2a"}
    item["assets"]["scl"] |= {"raster:bands": {"nodata": 0}, "bands": ["x"]}
    items = _round_trip([item, other])
    assert {items[0].assets[band].offset for band in ("B02", "B12")} <= {0, -1000}
    item["assets"]["blue"]["file:size"] = 10**30
    make_snapshot([item, other], ANY_CATALOG)


@pytest.mark.parametrize(
    ("base", "query"),
    [("https://me:secret@example.com/cogs", ""), ("https://example.com/cogs", "?sig=secret")],
)
def test_addresses_with_a_secret_are_refused(base: str, query: str) -> None:
    item = earth_search_item(base=base)
    for asset in item["assets"].values():
        asset["href"] += query
    with pytest.raises(
        CatalogError, match=f"{item['id']}: https://example.com/cogs/.*signature"
    ) as e:
        make_snapshot([item], ANY_CATALOG)
    assert "secret" not in str(e.value)


def test_secrets_in_links_are_not_written() -> None:
    item = earth_search_item()
    item["links"][0]["href"] += "?sig=hidden"
    assert "hidden" not in json.dumps(
        list(read_snapshot_stac(make_snapshot([item], ANY_CATALOG), "items"))
    )


def test_the_file_opens_as_geoparquet_and_holds_stac_items(tmp_path: Path) -> None:
    file = tmp_path / "items.parquet"
    file.write_bytes(
        make_snapshot([earth_search_item("31UFS"), earth_search_item("06VVN")], ANY_CATALOG)
    )
    frame = geopandas.read_parquet(file)
    assert len(frame) == 2
    assert frame.crs == "EPSG:4326" or frame.crs.to_string() == "OGC:CRS84"
    for published in read_snapshot_stac(file.read_bytes(), "items"):
        pystac.Item.from_dict(published).validate()


def test_of_many_items_a_few_are_in_memory_at_a_time() -> None:
    def peak(count: int) -> int:
        items = [earth_search_item(sequence=number) for number in range(count)]
        content = make_snapshot(items, ANY_CATALOG)
        tracemalloc.start()
        try:
            assert next(read_snapshot_stac(content, "items"))["id"] == items[0]["id"]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(1024) < 1.5 * peak(256)


def test_the_same_items_freeze_to_the_same_bytes() -> None:
    assert make_snapshot([earth_search_item()], ANY_CATALOG) == make_snapshot(
        [earth_search_item()], ANY_CATALOG
    )


def test_damaged_files() -> None:
    whole = make_snapshot([earth_search_item()], ANY_CATALOG)
    for part in (b"", b"PAR1", whole[: len(whole) // 2]):
        with pytest.raises(OutputError, match=r"items\.parquet: the items are damaged"):
            read_snapshot(part, "items.parquet")
