import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from affine import Affine
from shapely.geometry import box, mapping

from models.encoder.preprocessing import BANDS
from pipeline.catalog.item import SCL
from pipeline.catalog.item_geometry import footprint_of
from pipeline.catalog.normalise import normalise, require_bands, resolve_duplicates
from pipeline.errors import CatalogError
from tests.stac_items import cdse_item, earth_search_item

ALL = {*BANDS, SCL}
DATATAKE = "GS2A_20210601T103021_031041_N{}"


def _planetary(shared_data: Path) -> list[dict[str, Any]]:
    text = (shared_data / "stac" / "planetary-computer-s2-35MNM.json").read_text()
    return list(json.loads(text)["features"])


def test_planetary_computer(shared_data: Path) -> None:
    published = _planetary(shared_data)
    items = [normalise(item) for item in published]
    assert len(items) == 13
    for item in items:
        assert (item.tile, item.epsg, item.baseline) == ("35MNM", 32735, "02.12")
        assert set(item.assets) == ALL
        assert {asset.offset for asset in item.assets.values()} == {0}
        assert item.assets["B02"].transform == Affine(10, 0, 499980, 0, -10, 9200020)
        assert item.assets["B8A"].shape == item.assets[SCL].shape == (5490, 5490)
        assert item.assets["B8A"].bounds == item.assets["B02"].bounds
        assert item.acquisition[:9] in ("s2a-R078-", "s2b-R078-")
    assert items[-1].footprint is not None
    assert len({item.acquisition for item in items}) == 13
    assert items[0].datetime.tzinfo is UTC
    assert resolve_duplicates(items) == sorted(items, key=lambda item: item.datetime)


def test_planetary_computer_with_the_raster_extension(shared_data: Path) -> None:
    (path,) = (shared_data / "stac").glob("*_raster_ext.json")
    item = normalise(json.loads(path.read_text()))
    assert (item.tile, item.epsg) == ("06VVN", 32606)
    assert item.acquisition == "s2b-R043-20190629"
    assert item.datastrip == "20190629T212530"
    assert item.assets["B05"].offset == 0
    assert item.assets["B05"].transform == Affine(20, 0, 399960, 0, -20, 6800040)


def test_a_planetary_computer_item_of_today_has_an_offset_that_it_does_not_state(
    shared_data: Path,
) -> None:
    item = copy.deepcopy(_planetary(shared_data)[0])
    item["properties"]["s2:processing_baseline"] = "05.09"
    assets = normalise(item).assets
    assert {assets[band].offset for band in BANDS} == {-1000}
    assert assets[SCL].offset == 0


def test_relative_orbit_is_found_from_the_absolute_one(shared_data: Path) -> None:
    for published in _planetary(shared_data):
        expected = normalise(published).acquisition
        bare = copy.deepcopy(published)
        del bare["properties"]["sat:relative_orbit"]
        bare["properties"].pop("s2:product_uri", None)
        bare["id"] = "S2_35MNM"
        assert normalise(bare).acquisition == expected


def test_earth_search() -> None:
    item = normalise(earth_search_item("06VVN", "2019-06-29"))
    assert item.tile == "06VVN"
    assert set(item.assets) == ALL
    assert all(asset.href.endswith(".tif") for asset in item.assets.values())
    assert item.assets["B8A"].href.endswith("nir08.tif")
    assert item.assets["B08"].size == 10_980_000
    assert item.cloud_cover == 12.5
    assert item.datetime == datetime(2019, 6, 29, 10, 35, 57, tzinfo=UTC)


def test_cdse() -> None:
    item = normalise(cdse_item())
    assert set(item.assets) == ALL
    assert item.assets["B02"].href.endswith("B02_10m.jp2")
    assert item.assets["B05"].href.endswith("B05_20m.jp2")
    assert item.assets["B05"].transform == Affine(20, 0, 600000, 0, -20, 5700000)
    assert item.acquisition == "s2b-R008-20230601"
    assert (item.baseline, item.assets["B05"].offset, item.assets[SCL].offset) == (
        "05.09",
        -1000,
        0,
    )


@pytest.mark.parametrize(
    ("fields", "listed", "offset"),
    [
        ({"s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": True}, -0.1, 0),
        ({"s2:processing_baseline": "05.00", "earthsearch:boa_offset_applied": False}, -0.1, -1000),
        ({"s2:processing_baseline": "04.00"}, None, -1000),
        ({"s2:processing_baseline": "N0400"}, None, -1000),
        ({"s2:processing_baseline": 5.1}, None, -1000),
        ({"s2:processing_baseline": 3.0}, None, 0),
        ({"s2:processing_baseline": "05.00"}, 0, 0),
        ({"s2:processing_baseline": "03.01"}, -0.1, 0),
        ({"s2:processing_baseline": "03.01"}, None, 0),
        ({}, -0.1, -1000),
        ({}, 0, 0),
        ({"s2:generation_time": "2022-01-25T00:00:00Z"}, None, -1000),
        ({"s2:generation_time": "2022-01-24T23:59:59Z"}, None, 0),
        ({"s2:processing_baseline": "99.99"}, -0.1, -1000),
        ({"s2:processing_baseline": "99.99"}, 0, 0),
        ({"processing:version": "N9999", "s2:datatake_id": DATATAKE.format("05.00")}, None, -1000),
        ({"processing:version": "N9999", "s2:datatake_id": DATATAKE.format("05.00")}, 0, 0),
        ({"s2:processing_baseline": "99.99", "s2:datatake_id": DATATAKE.format("03.00")}, None, 0),
        ({"s2:processing_baseline": "99.99", "s2:datatake_id": DATATAKE.format("99.99"),
          "earthsearch:boa_offset_applied": True}, None, 0),
        ({"s2:product_uri": "S2A_MSIL2A_20170601T103021_N0500_R108_T31UFS_20230901T000000.SAFE"},
         None, -1000),
    ],
)  # fmt: skip
def test_the_offset_is_never_forgotten_and_never_taken_off_twice(
    fields: dict[str, Any], listed: float | None, offset: int
) -> None:
    item = earth_search_item()
    for key in ("s2:processing_baseline", "s2:generation_time", "s2:datatake_id"):
        del item["properties"][key]
    del item["properties"]["earthsearch:boa_offset_applied"]
    item["properties"].update(fields)
    for asset in item["assets"].values():
        asset.pop("raster:bands", None)
        if listed is not None:
            asset["raster:bands"] = [{"scale": 0.0001, "offset": listed}]
    assets = normalise(item).assets
    assert {assets[band].offset for band in BANDS} == {offset}
    assert assets[SCL].offset == 0


@pytest.mark.parametrize(
    ("stated", "baseline"),
    [("05.09", "05.09"), (5.1, "05.10"), ("5.1", "05.10"), (5.09, "05.09"), (4.0, "04.00"),
     ("N0510", "05.10"), ("unknown", "03.00")],
)  # fmt: skip
def test_the_baseline_however_it_is_written(stated: Any, baseline: str) -> None:
    item = earth_search_item()  # its datatake names 03.00
    item["properties"]["s2:processing_baseline"] = stated
    assert normalise(item).baseline == baseline


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("properties", "s2:generation_time"), "unknown"),
        (("properties", "eo:cloud_cover"), "n/a"),
        (("properties", "eo:cloud_cover"), float("nan")),
        (("properties", "proj:code"), "EPSG:abc"),
        (("properties", "sat:relative_orbit"), "eight"),
        (("properties", "datetime"), "June"),
        (("geometry",), {"type": "Polygon", "coordinates": [[[4, 50], [5, 51]]]}),
        (("geometry",), {"type": "Square", "coordinates": []}),
        (("geometry",), "here"),
        (("assets", "blue", "proj:transform"), ["a", 0, 0, 0, -10, 0]),
        (("assets", "blue", "proj:shape"), [3]),
        (("assets", "blue", "raster:bands"), [{"offset": "none"}]),
        (("assets", "blue", "file:size"), "big"),
        (("assets",), None),
        (("id",), None),
    ],
)
def test_a_malformed_field_is_an_error_of_its_item(where: tuple[str, ...], value: Any) -> None:
    item = earth_search_item(baseline="05.00")
    place = item
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    name = f"item {item['id']}" if item["id"] else "an item without id"
    with pytest.raises(CatalogError, match=rf"{name}: "):
        normalise(item)


def test_a_bbox_of_two_numbers_is_an_error_of_its_item() -> None:
    item = {**earth_search_item(), "geometry": None, "bbox": [4, 50]}
    with pytest.raises(CatalogError, match=r"S2A_31UFS_.*its bbox holds 2 numbers"):
        footprint_of(item)


def test_an_offset_that_cannot_be_known_is_an_error() -> None:
    item = earth_search_item()
    for key in ("s2:processing_baseline", "s2:generation_time", "s2:datatake_id"):
        del item["properties"][key]
    for asset in item["assets"].values():
        asset.pop("raster:bands", None)
    with pytest.raises(CatalogError, match="S2A_31UFS_20210601_0_L2A: it states neither baseline"):
        normalise(item)


@pytest.mark.parametrize("datatake", ["", DATATAKE.format("99.99"), DATATAKE.format("99.0")])
@pytest.mark.parametrize("made", [None, "2020-01-01T00:00:00Z", "2023-01-01T00:00:00Z"])
def test_an_offset_of_a_product_of_another_chain_is_not_guessed(
    datatake: str, made: str | None
) -> None:
    item = earth_search_item(baseline="99.99")
    item["properties"].update({"s2:datatake_id": datatake, "s2:generation_time": made})
    for asset in item["assets"].values():
        asset.pop("raster:bands", None)
    with pytest.raises(CatalogError, match=r"0_L2A: its baseline 99\.\d\d is not one of ESA's"):
        normalise(item)


def test_a_product_of_another_chain_is_not_the_newest() -> None:
    ours = earth_search_item(baseline="05.00")
    foreign = earth_search_item(baseline="99.99", sequence=1, made="T230000")
    items = [normalise(item) for item in (ours, foreign)]
    assert items[1].baseline == "99.99"
    assert [item.id for item in resolve_duplicates(items)] == [ours["id"]]
    assert [item.id for item in resolve_duplicates(items[1:])] == [foreign["id"]]


def test_the_grid_from_any_of_the_projection_fields() -> None:
    expected = normalise(earth_search_item()).assets
    bare = earth_search_item()
    by_box = earth_search_item()
    by_item = earth_search_item()
    by_item["properties"]["proj:shape"] = [10980, 10980]
    by_item["properties"]["proj:transform"] = [10, 0, 600000, 0, -10, 5700000]
    for item in (bare, by_box, by_item):
        for asset in item["assets"].values():
            for key in ("proj:shape", "proj:transform", "gsd"):
                asset.pop(key, None)
    for asset in by_box["assets"].values():
        asset["proj:bbox"] = [600000, 5590200, 709800, 5700000]
    for item in (bare, by_box, by_item):
        found = normalise(item).assets
        for band in ALL:
            assert found[band].transform == expected[band].transform
            assert found[band].shape == expected[band].shape
    bare["properties"]["proj:epsg"] = 3035
    with pytest.raises(CatalogError, match="states neither proj:transform"):
        normalise(bare)


def test_the_tile_from_any_of_its_fields() -> None:
    item = earth_search_item()
    del item["properties"]["grid:code"]
    assert normalise(item).tile == "31UFS"  # from the id
    item["id"] = "granule 1"
    with pytest.raises(CatalogError, match="granule 1: it names no MGRS tile"):
        normalise(item)
    item["properties"].update(
        {"mgrs:utm_zone": 31, "mgrs:latitude_band": "U", "mgrs:grid_square": "FS"}
    )
    assert normalise(item).tile == "31UFS"
    item["properties"]["s2:mgrs_tile"] = "6VVN"
    assert normalise(item).tile == "06VVN"


def test_footprints() -> None:
    assert footprint_of({"geometry": None}) is None
    assert footprint_of({"geometry": None, "bbox": [1, 2, 3, 4]}).equals(box(1, 2, 3, 4))
    assert footprint_of({"bbox": [1, 2, 0, 3, 4, 9]}).equals(box(1, 2, 3, 4))
    # Crossing the antimeridian, as bbox and as a polygon drawn the long way round the world.
    halves = box(179, -17, 180, -16).union(box(-180, -17, -179, -16))
    assert footprint_of({"bbox": [179, -17, -179, -16]}).equals(halves)
    drawn = {"type": "Polygon", "coordinates": [
        [[179, -17], [-179, -17], [-179, -16], [179, -16], [179, -17]]]}  # fmt: skip
    assert footprint_of({"geometry": drawn}).equals(halves)


def test_reprocessed_products_the_newest_wins() -> None:
    old = earth_search_item(baseline="03.00")
    again = earth_search_item(baseline="03.00", sequence=1, made="T200000")
    new = earth_search_item(baseline="05.00", sequence=2)
    items = [normalise(item) for item in (old, again, new)]
    assert len({item.acquisition for item in items}) == 1
    assert [i.id for i in resolve_duplicates(items)] == [new["id"]]
    assert [i.id for i in resolve_duplicates(items[:2])] == [again["id"]]
    assert resolve_duplicates(reversed(items)) == resolve_duplicates(items)


def test_split_granules_are_both_kept() -> None:
    first = earth_search_item(sequence=0, datastrip="103021")
    second = earth_search_item(sequence=1, datastrip="103544")
    kept = resolve_duplicates([normalise(first), normalise(second)])
    assert [item.id for item in kept] == [first["id"], second["id"]]
    assert len({item.acquisition for item in kept}) == 1


def test_a_newer_product_replaces_only_the_half_that_it_covers() -> None:
    west, east = box(4.4, 50.4, 5.2, 51.4), box(5.1, 50.4, 6.0, 51.4)

    def granule(sequence: int, baseline: str, datastrip: str, ground: Any) -> Any:
        item = earth_search_item(sequence=sequence, baseline=baseline, datastrip=datastrip)
        item["geometry"] = mapping(ground)
        return normalise(item)

    old_west = granule(0, "03.00", "103021", west)
    old_east = granule(1, "03.00", "103544", east)
    new_west = granule(2, "05.00", "103022", west)  # cut anew, a second later
    kept = resolve_duplicates([old_west, old_east, new_west])
    assert {item.id for item in kept} == {old_east.id, new_west.id}
    whole = granule(3, "05.10", "103020", west.union(east))
    assert [i.id for i in resolve_duplicates([old_west, old_east, new_west, whole])] == [whole.id]


def test_duplicates_of_real_items(shared_data: Path) -> None:
    published = _planetary(shared_data)
    newer = copy.deepcopy(published[3])
    newer["id"] = newer["id"][:-15] + "20230415T090001"
    newer["properties"].update(
        {"s2:processing_baseline": "05.00", "s2:generation_time": "2023-04-15T09:00:01.000Z"}
    )
    kept = resolve_duplicates([normalise(item) for item in (*published, newer)])
    assert len(kept) == 13
    assert newer["id"] in {item.id for item in kept}
    assert published[3]["id"] not in {item.id for item in kept}


def test_two_overpasses_of_one_day_are_two_acquisitions() -> None:
    first = earth_search_item("33XVG", "2021-06-01")
    second = earth_search_item("33XVG", "2021-06-01", sequence=1, datastrip="121021")
    second["properties"]["s2:datatake_id"] = "GS2A_20210601T121021_031042_N03.00"
    items = resolve_duplicates([normalise(first), normalise(second)])
    assert len({item.acquisition for item in items}) == 2


def test_absent_bands() -> None:
    published = earth_search_item()
    for key in ("nir08", "nir08-jp2"):
        del published["assets"][key]
    items = [normalise(published)]
    require_bands(items, [band for band in BANDS if band != "B8A"])
    require_bands(items, BANDS, {"B8A": "B08"})
    require_bands(items, BANDS, optional=("B8A", "B05"))
    with pytest.raises(CatalogError, match="B8A: no item"):
        require_bands(items, BANDS, optional=("B05",))
    with pytest.raises(CatalogError, match="to be replaced by B01"):
        require_bands(items, BANDS, {"B8A": "B01"}, ("B8A",))
    with pytest.raises(CatalogError, match=r'band B8A: no item.*substitute = \{ B8A = "B08" \}'):
        require_bands(items, BANDS)
    with pytest.raises(CatalogError, match="to be replaced by B8A"):
        require_bands(items, ["B8A"], {"B8A": "B8A"})
    del published["assets"]["scl"], published["assets"]["scl-jp2"]
    with pytest.raises(CatalogError, match="scene classification"):
        require_bands([normalise(published)], ["B02"])
