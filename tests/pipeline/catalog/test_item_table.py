"""A table of items as the catalogue: what one search found, without any server."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shapely.geometry import box
from stac_geoparquet.arrow import parse_stac_items_to_arrow, to_parquet

from pipeline.catalog.description import TABLE_KEY, describe_catalog
from pipeline.catalog.item import SCL, Item
from pipeline.catalog.item_snapshot import make_snapshot, read_snapshot
from pipeline.catalog.normalise import normalise, resolve_duplicates
from pipeline.errors import CatalogError, RegionError
from pipeline.grid.region import read_region
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run import PreparedRun
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import make_search_settings, make_settings
from tests.catalog_servers import ApiState, api_server, folder_server, published_in, search_named
from tests.stac_items import cdse_item, earth_search_item

REGION = "4.6,50.8,4.7,50.9"
DATES = [f"2021-{month:02d}-04" for month in range(1, 13)]
SECRET = "hushhushhush"


def found(catalog: str, region: str = REGION, year: int = 2021, **fields: Any) -> list[Any]:
    """The items, as published, that a search finds."""
    given = {"region": region, "year": year, "catalog": {"url": catalog, **fields}}
    of_catalog = search_named(read_region(region), make_search_settings(given))
    assert not of_catalog.refused
    return published_in(of_catalog)


def normal(items: list[dict[str, Any]], catalog: str) -> list[Item]:
    return resolve_duplicates(normalise(i, describe_catalog(catalog).conventions) for i in items)


def kept(path: Path) -> dict[str, Any]:
    """The description that a table keeps."""
    return dict(json.loads((pq.read_schema(path).metadata or {})[TABLE_KEY]))


def prepared(archive: SampleArchive, catalog: str, out: Path) -> PreparedRun:
    given = {
        "region": str(archive.region),
        "year": archive.year,
        "classes": "wheat field, lake",
        "catalog": {"url": catalog},
        "out": str(out),
    }
    return prepare_run(make_settings(given))


def test_the_same_run_from_a_table_once_the_server_is_gone(
    sample_archive: SampleArchive, tmp_path: Path
) -> None:
    table = tmp_path / "items.parquet"
    with folder_server(Path(sample_archive.folder)) as address:
        url = f"{address}/catalog.json"
        online = prepared(sample_archive, url, tmp_path / "online")
        region, year = str(sample_archive.region), sample_archive.year
        table.write_bytes(make_snapshot(found(url, region, year), describe_catalog(url)))
    offline = prepared(sample_archive, str(table), tmp_path / "offline")
    assert offline.items == online.items
    assert offline.cells == online.cells
    assert offline.run.access == online.run.access
    again = tmp_path / "again.parquet"
    items = found(str(table), region, year)
    again.write_bytes(make_snapshot(items, describe_catalog(str(table))))
    assert again.read_bytes() == table.read_bytes()
    of_run = str(tmp_path / "online" / "items.parquet")  # that of a run serves as well
    again = normal(found(of_run, region, year), of_run)
    assert {item.id: item for item in again} == {item.id: item for item in online.items}


def test_a_search_in_a_table_asks_for_place_time_and_clouds(tmp_path: Path) -> None:
    published = [
        *(earth_search_item(date=date) for date in DATES),
        earth_search_item(date="2022-01-01"),
        earth_search_item("32ULB", "2021-06-06"),
        earth_search_item(date="2021-06-20", **{"eo:cloud_cover": 99.0}),
    ]
    table = tmp_path / "items.parquet"
    table.write_bytes(make_snapshot(published, describe_catalog("earth-search")))
    items = found(str(table))
    assert [item["properties"]["datetime"][:10] for item in items] == DATES
    assert len(found(str(table), max_cloud_cover=100)) == len(DATES) + 1
    with pytest.raises(CatalogError, match=r"2017-01 to 2017-12.*some of 2021, 2022"):
        found(str(table), year=2017)
    with pytest.raises(RegionError, match=r"no item of .* reaches into the region"):
        found(str(table), "20,20,21,21")


@pytest.mark.parametrize("name", ["cdse", "earth-search", "planetary-computer"])
def test_a_known_catalogues_description_is_kept(name: str, tmp_path: Path) -> None:
    table = tmp_path / "items.parquet"
    described = describe_catalog(name, "sentinel-2-c1-l2a")
    table.write_bytes(make_snapshot([earth_search_item(), cdse_item()], described))
    assert describe_catalog(str(table)) == described.model_copy(update={"url": str(table)})
    assert "url" not in kept(table)
    assert describe_catalog(str(table), "mine").collection == "mine"


def test_a_description_of_ones_own_is_kept_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MY_S3_KEY", "MY_S3_SECRET"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("MY_WORD", SECRET)
    toml = tmp_path / "own.toml"
    item = earth_search_item(baseline="05.00", base="s3://bucket")
    item["assets"]["classes"] = item["assets"].pop("scl")
    with api_server(ApiState([item])) as address:
        place = address.replace("//", "//${MY_WORD}:${MY_WORD}@")
        toml.write_text(
            f'url = "{place}"\noffset = -500\n'
            '[assets]\nSCL = "classes"\nB02 = ["band2", "BLUE"]\n[access]\nkind = "s3"\n'
            'endpoint = "https://s3.example.com"\nkey = "MY_S3_KEY"\nsecret = "MY_S3_SECRET"\n'
            "requests = 7\n"
        )
        online = found(str(toml))
        table = tmp_path / "items.parquet"
        table.write_bytes(make_snapshot(online, describe_catalog(str(toml))))
    assert normal(found(str(table)), str(table)) == normal(online, str(toml))
    (read,) = normal(found(str(table)), str(table))
    assert set(read.assets) == {"B02", SCL}
    assert read.assets["B02"].href.startswith("s3://bucket/")
    assert (read.assets["B02"].offset, read.assets[SCL].offset) == (-500, 0)
    access = describe_catalog(str(table)).access.access()
    assert access == describe_catalog(str(toml)).access.access()
    assert access.requests == 7
    assert access.s3_options()["AWS_SECRET_ACCESS_KEY"] == SECRET
    rows = pq.read_table(table)
    assert SECRET not in json.dumps(kept(table)) + str(rows.to_pylist()) + str(rows.schema)
    assert SECRET.encode() not in table.read_bytes()


def test_signatures_are_left_out_and_made_anew(tmp_path: Path) -> None:
    toml = tmp_path / "signed.toml"
    toml.write_text(
        'url = "items.parquet"\n[access]\nkind = "signed"\n'
        'token_url = "https://sign.example.com/{account}/{container}"\n'
    )
    base = "https://account.blob.core.windows.net/container"
    signed = earth_search_item(base=base)
    for asset in signed["assets"].values():
        asset["href"] += f"?sig={SECRET}" if asset["href"].startswith("https") else ""
    table = tmp_path / "items.parquet"
    to_parquet(parse_stac_items_to_arrow([signed]), table)
    with pytest.raises(CatalogError, match="holds a password or a signature") as refused:
        make_snapshot(found(str(table)), describe_catalog(str(table)))
    assert SECRET not in str(refused.value)
    content = make_snapshot(found(str(toml)), describe_catalog(str(toml)))
    assert SECRET not in str(pq.read_table(io.BytesIO(content)).to_pylist())
    (item,) = read_snapshot(content, "items")
    assert item.assets["B02"].href == f"{base}/{signed['id']}/blue.tif"
    table.write_bytes(content)
    assert describe_catalog(str(table)).access.access().signs(item.assets["B02"].href)


def test_real_items_that_another_tool_has_written(shared_data: Path, tmp_path: Path) -> None:
    text = (shared_data / "stac" / "planetary-computer-s2-35MNM.json").read_text()
    (path,) = (shared_data / "stac").glob("*_raster_ext.json")
    zambia, alaska = json.loads(text)["features"], json.loads(path.read_text())
    table = tmp_path / "all.parquet"
    to_parquet(parse_stac_items_to_arrow([*zambia, alaska]), table)
    assert TABLE_KEY not in (pq.read_schema(table).metadata or {})
    of_zambia = found(str(table), "27.2,-8.1,27.3,-8.0", 2020)
    of_alaska = found(str(table), "-148,60.8,-147.9,60.9", 2019)
    assert (len(of_zambia), len(of_alaska)) == (13, 1)
    for published, items in ((zambia, of_zambia), ([alaska], of_alaska)):
        expected = resolve_duplicates(map(normalise, published))
        assert normal(items, str(table)) == expected
        assert (
            read_snapshot(make_snapshot(items, describe_catalog(str(table))), "items") == expected
        )


def test_hrefs_beside_the_table_or_the_item(tmp_path: Path) -> None:
    (tmp_path / "my archive").mkdir()
    table = tmp_path / "my archive" / "items.parquet"
    beside, linked = earth_search_item(), earth_search_item(date="2021-06-06")
    beside["links"] = []
    linked["links"] = [{"rel": "self", "href": "https://example.com/items/one.json"}]
    for item in (beside, linked):
        item["assets"] = {
            key: {**asset, "href": f"./cogs/{key}.tif"}
            for key, asset in item["assets"].items()
            if not key.endswith("jp2")
        }
    to_parquet(parse_stac_items_to_arrow([beside, linked]), table)
    first, second = normal(found(str(table)), str(table))
    assert first.assets["B02"].href == str(table.parent / "cogs" / "blue.tif")
    assert second.assets["B02"].href == "https://example.com/items/cogs/blue.tif"


def test_a_table_opens_in_geopandas(tmp_path: Path) -> None:
    table = tmp_path / "items.parquet"
    published = [earth_search_item(), cdse_item(), earth_search_item("33XVJ", "2021-06-06")]
    table.write_bytes(make_snapshot(published, describe_catalog("earth-search")))
    frame = geopandas.read_parquet(table)
    assert set(frame["id"]) == {item["id"] for item in published}
    assert frame.crs is not None
    assert frame.crs.to_authority() in (("EPSG", "4326"), ("OGC", "CRS84"))
    assert frame.geometry.is_valid.all()
    west, south, east, north = frame.geometry.total_bounds
    assert 4 < west < east < 20
    assert 50 < south < north < 84


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "a broken page": lambda whole: whole[:4] + b"\xff" * 36 + whole[40:],
    "text": lambda whole: b"id,datetime\n1,2021\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_table(damage: str, tmp_path: Path) -> None:
    whole = make_snapshot([earth_search_item()], describe_catalog("earth-search"))
    table = tmp_path / "items.parquet"
    table.write_bytes(DAMAGES[damage](whole))
    with pytest.raises(CatalogError, match=r"items\.parquet: this is no table of items\. Give"):
        found(str(table))


@pytest.mark.parametrize("description", [b"{", b"[1]", b'{"zoom": 3}', b'{"assets": {"B02": "b"}}'])
def test_a_table_with_a_description_that_is_not_understood(
    description: bytes, tmp_path: Path
) -> None:
    rows = pq.read_table(
        io.BytesIO(make_snapshot([earth_search_item()], describe_catalog("earth-search")))
    )
    table = tmp_path / "items.parquet"
    metadata = {**(rows.schema.metadata or {}), TABLE_KEY: description}
    pq.write_table(rows.replace_schema_metadata(metadata), table)
    with pytest.raises(CatalogError, match=r"is not valid\. Write the table anew"):
        found(str(table))


def test_tables_of_other_things(tmp_path: Path) -> None:
    table = tmp_path / "items.parquet"
    corner = [box(4, 50, 5, 51)]
    others = [
        pa.table({"id": ["a"], "red": np.array([1.0])}),
        pa.table({"id": ["a"], "datetime": ["2021-06-01"], "geometry": ["POINT (4 50)"]}),
    ]
    for other in others:
        pq.write_table(other, table)
        with pytest.raises(CatalogError, match="this is no table of items"):
            found(str(table))
    geopandas.GeoDataFrame({"crop": ["wheat"]}, geometry=corner, crs=4326).to_parquet(table)
    with pytest.raises(CatalogError, match="this is no table of items"):
        found(str(table))


def test_no_table_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"no\.parquet: .*no such file.*`timesen search`"):
        found(str(tmp_path / "no.parquet"))
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(CatalogError, match=r"folder\.parquet: .*is a directory"):
        found(str(tmp_path / "folder.parquet"))
