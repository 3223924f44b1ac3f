import json
from pathlib import Path
from typing import Any

import geopandas
import pystac
import pytest

from pipeline.errors import OutputError
from pipeline.frozen import ITEMS, load_items, read_published, save_items
from pipeline.normalise import normalise, resolve_duplicates
from pipeline.storage import Store
from tests.stac_items import cdse_item, earth_search_item


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "run"))


def _round_trip(store: Store, published: list[dict[str, Any]]) -> None:
    save_items(store, published)
    assert load_items(store) == resolve_duplicates(normalise(item) for item in published)


def test_items_of_all_catalogues_come_back_the_same(store: Store) -> None:
    _round_trip(
        store,
        [
            earth_search_item("31UFS", "2021-06-01"),
            earth_search_item("31UFS", "2021-06-06", baseline="05.00", applied=True),
            earth_search_item("32ULB", "2021-06-06", baseline="05.00"),
            earth_search_item("06VVN", "2021-07-06"),
            cdse_item("31UFS"),
        ],
    )


def test_real_items_come_back_the_same(store: Store, shared_data: Path) -> None:
    text = (shared_data / "stac" / "planetary-computer-s2-35MNM.json").read_text()
    (other,) = (shared_data / "stac").glob("*_raster_ext.json")
    _round_trip(store, [*json.loads(text)["features"], json.loads(other.read_text())])


def test_items_without_geometry_bbox_or_cloud_cover(store: Store) -> None:
    nowhere, boxed, sparse = (earth_search_item(date=f"2021-06-0{n}") for n in (1, 2, 3))
    nowhere["geometry"] = nowhere["bbox"] = None
    boxed["geometry"] = None
    del sparse["bbox"], sparse["properties"]["eo:cloud_cover"], sparse["assets"]["nir08"]
    del sparse["assets"]["nir08-jp2"], sparse["links"], sparse["stac_extensions"]
    _round_trip(store, [nowhere, boxed, sparse])
    items = load_items(store)
    assert items[0].footprint is None
    assert items[1].footprint is not None
    assert items[2].cloud_cover is None
    assert "B8A" not in items[2].assets
    _round_trip(store, [nowhere])


def test_numbers_written_as_whole_or_broken(store: Store) -> None:
    whole, broken = earth_search_item(), earth_search_item(date="2021-06-06")
    broken["properties"]["eo:cloud_cover"] = 12
    broken["properties"]["mgrs:utm_zone"] = "31"
    whole["properties"]["mgrs:utm_zone"] = 31
    for asset in broken["assets"].values():
        if "proj:transform" in asset:
            asset["proj:transform"] = [float(number) for number in asset["proj:transform"]]
    _round_trip(store, [whole, broken])


def test_signatures_and_passwords_are_not_written(store: Store) -> None:
    item = earth_search_item(base="https://me:secret@example.com/cogs")
    for asset in item["assets"].values():
        asset["href"] += "?sv=2021&sig=hidden"
    item["links"][0]["href"] += "?sig=hidden"
    save_items(store, [item])
    written = json.dumps(read_published(store))
    assert "hidden" not in written
    assert "secret" not in written
    assert load_items(store)[0].assets["B02"].href == (
        f"https://example.com/cogs/{item['id']}/blue.tif"
    )


def test_the_file_opens_as_geoparquet_and_holds_stac_items(store: Store) -> None:
    save_items(store, [earth_search_item("31UFS"), earth_search_item("06VVN")])
    frame = geopandas.read_parquet(store.path(ITEMS))
    assert len(frame) == 2
    assert frame.crs == "EPSG:4326" or frame.crs.to_string() == "OGC:CRS84"
    for published in read_published(store):
        pystac.Item.from_dict(published).validate()


def test_absent_and_damaged_files(store: Store) -> None:
    with pytest.raises(OutputError, match="no frozen items"):
        load_items(store)
    save_items(store, [earth_search_item()])
    whole = store.read(ITEMS)
    for part in (b"", b"PAR1", whole[: len(whole) // 2]):
        store.write(ITEMS, part)
        with pytest.raises(OutputError, match="damaged"):
            load_items(store)
