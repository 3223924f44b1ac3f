"""Items as archives really publish them: read, chosen, frozen and read again, whatever they do."""

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Transformer
from shapely.geometry import mapping, shape

from models.encoder.preprocessing import BANDS
from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item import SCL, Item
from pipeline.catalog.item_geometry import footprint_of
from pipeline.catalog.item_snapshot import make_snapshot, read_snapshot
from pipeline.catalog.normalise import normalise, resolve_duplicates
from pipeline.grid.cells import cells_of, tiles_of
from pipeline.grid.mgrs import parse_tile, tile_at, to_lonlat, unwrapped, wrapped
from pipeline.grid.region import read_region
from pipeline.observations.cube import reaching
from pipeline.settings.map import make_search_settings
from tests.catalog_servers import ApiState, api_server, published_in, search_named, write_static
from tests.stac_items import earth_search_item

Published = dict[str, Any]
ZAMBIA = "27.2,-8.1,27.3,-8.0"
NOISE = 1e-12  # degrees; what is left of a projection's arithmetic


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[Published]:
    """Every item in every file of the real catalogues."""
    items: list[Published] = []
    for path in sorted((shared_data / "stac").glob("*.json")):
        document = json.loads(path.read_text())
        items += {
            "FeatureCollection": lambda d: d["features"],
            "Feature": lambda d: [d],
            "Collection": lambda d: [],
        }[document["type"]](document)
    return items


@pytest.fixture
def zambia(real: list[Published]) -> list[Published]:
    """Thirteen items of one tile, to be changed at will."""
    return [copy.deepcopy(i) for i in real if i["properties"]["s2:mgrs_tile"] == "35MNM"]


def found(catalog: str, region: str, year: int) -> list[Item]:
    """The items that a run is made of: searched, frozen, thawed."""
    given = {"region": region, "year": year, "catalog": {"url": catalog, "max_cloud_cover": 100}}
    of_catalog = search_named(read_region(region), make_search_settings(given))
    assert not of_catalog.refused
    return read_snapshot(
        make_snapshot(published_in(of_catalog), describe_catalog(catalog)), "items"
    )


def test_all_real_items_say_what_their_file_names_say(real: list[Published]) -> None:
    """ESA's file names hold tile, moment, band and resolution: told by another way than ours."""
    assert len(real) == 14
    for item in resolve_duplicates(map(normalise, real)):
        assert set(item.assets) == {*BANDS, SCL}
        for band, asset in item.assets.items():
            name = re.search(r"/T(\w{5})_(\d{8}T\d{6})_(\w{3})_(\d\d)m\.tif$", asset.href)
            assert name is not None
            assert parse_tile(name[1]).name == item.tile
            assert name[2] == f"{item.datetime:%Y%m%dT%H%M%S}"
            assert (name[3], float(name[4])) == (band, asset.resolution)
            assert asset.epsg == item.epsg
            assert (asset.transform.c, asset.transform.f) == parse_tile(item.tile).grid_origin
            assert asset.shape[0] == asset.shape[1] == 109_800 / asset.resolution
            assert asset.offset == 0  # of baseline 02.12
        assert item.footprint is not None
        left, bottom, right, top = item.assets["B02"].bounds
        metres = Transformer.from_crs(4326, item.epsg, always_xy=True)
        x, y = metres.transform(*shapely.get_coordinates(item.footprint).T)
        assert left - 60 <= min(x) <= max(x) <= right + 60
        assert bottom - 60 <= min(y) <= max(y) <= top + 60


@contextmanager
def serving(kind: str, items: list[Published], folder: Path) -> Iterator[str]:
    """The address of a catalogue of the items."""
    if kind == "static":
        yield str(write_static(folder, {"sentinel-2-l2a": items}))
    else:
        with api_server(ApiState(items, page=100)) as address:
            yield address


@pytest.mark.parametrize("kind", ["static", "api"])
def test_all_real_items_from_a_catalogue_to_a_run(
    kind: str, real: list[Published], tmp_path: Path
) -> None:
    expected = {item.id: item for item in map(normalise, real)}
    with serving(kind, real, tmp_path) as url:
        items = [*found(url, ZAMBIA, 2020), *found(url, "-148,60.8,-147.9,60.9", 2019)]
    assert {item.id for item in items} == set(expected)
    for item in items:
        known = expected[item.id]
        assert {k: a.transform for k, a in item.assets.items()} == {
            k: a.transform for k, a in known.assets.items()
        }
        assert (item.acquisition, item.footprint) == (known.acquisition, known.footprint)
        if kind == "api":
            assert item == known


def with_projection_2(item: Published) -> Published:
    """The item as STAC 1.1 and version 2 of the projection extension write it."""
    item = copy.deepcopy(item)
    item["stac_version"] = "1.1.0"
    item["properties"]["proj:code"] = f"EPSG:{item['properties'].pop('proj:epsg')}"
    for asset in item["assets"].values():
        asset["bands"] = asset.pop("raster:bands", [{}])
        if "proj:transform" in asset:
            asset["proj:transform"] = [*asset["proj:transform"], 0, 0, 1]
    return item


def with_code_on_assets(item: Published) -> Published:
    """The same, but each asset has its own code, and the item none."""
    item = with_projection_2(item)
    code = item["properties"].pop("proj:code")
    for asset in item["assets"].values():
        asset["proj:code"] = code
    return item


def without_projection(item: Published) -> Published:
    """The item without CRS, transform and shape; assets keep the box."""
    item = copy.deepcopy(item)
    del item["properties"]["proj:epsg"]
    for asset in item["assets"].values():
        for key in ("proj:transform", "proj:shape"):
            asset.pop(key, None)
    return item


@pytest.mark.parametrize("way", [with_projection_2, with_code_on_assets, without_projection])
def test_a_grid_in_every_version_of_the_projection_extension(
    way: Callable[[Published], Published], real: list[Published]
) -> None:
    changed = [way(item) for item in real]
    expected = resolve_duplicates(map(normalise, real))
    assert resolve_duplicates(map(normalise, changed)) == expected
    assert (
        read_snapshot(make_snapshot(changed, describe_catalog("planetary-computer")), "items")
        == expected
    )
    mixed = [(way(i) if n % 2 else i) for n, i in enumerate(real)]
    assert (
        read_snapshot(make_snapshot(mixed, describe_catalog("planetary-computer")), "items")
        == expected
    )


def reprocessed(item: Published, baseline: str = "05.00", made: str = "20230415T090001") -> Any:
    """The product that ESA made later of the same granule, named as ESA names it."""
    item = copy.deepcopy(item)
    properties = item["properties"]
    old, date = f"_N{properties['s2:processing_baseline'].replace('.', '')}_", item["id"][-15:]
    number = f"_N{baseline.replace('.', '')}_"
    moment = f"{made[:4]}-{made[4:6]}-{made[6:11]}:{made[11:13]}:{made[13:]}Z"
    text = json.dumps(item).replace(date, made).replace(old, number)
    item = json.loads(text)
    item["properties"].update({"s2:processing_baseline": baseline, "s2:generation_time": moment})
    return item


def test_of_reprocessed_products_the_newest_baseline_is_read_once(
    zambia: list[Published], tmp_path: Path
) -> None:
    newest = [reprocessed(item) for item in zambia[::2]]
    between = [reprocessed(item, "02.14", "20250101T000000") for item in zambia[:4]]
    published = [*newest, *zambia, *between]
    random.Random(1).shuffle(published)
    items = found(str(write_static(tmp_path, {"sentinel-2-l2a": published})), ZAMBIA, 2020)
    assert len(items) == 13
    by_name = {item.id: item for item in items}
    for item in newest:  # by baseline, though one of 02.14 was made later
        asset = by_name.pop(item["id"]).assets["B02"]
        assert asset.offset == -1000
    assert {item.baseline for item in by_name.values()} == {"02.12", "02.14"}
    assert {a.offset for item in by_name.values() for a in item.assets.values()} == {0}


def test_a_listed_offset_goes_before_the_baselines(
    zambia: list[Published],
) -> None:
    new = reprocessed(zambia[0])
    lists_none = copy.deepcopy(new)
    for key, asset in lists_none["assets"].items():
        listed = 0 if key in BANDS else -0.1
        asset["raster:bands"] = [{"scale": 0.0001, "offset": listed}]
    applied = copy.deepcopy(new)
    applied["properties"]["earthsearch:boa_offset_applied"] = True
    for item, offset in ((new, -1000), (lists_none, 0), (applied, 0)):
        (frozen,) = read_snapshot(
            make_snapshot([item], describe_catalog("planetary-computer")), "items"
        )
        assert {frozen.assets[band].offset for band in BANDS} == {offset}
        assert frozen.assets[SCL].offset == 0


def halves(item: Published) -> tuple[Published, Published]:
    """The granule as two, of two datastrips that ended and began in the middle of the tile."""
    west, south, east, north = shape(item["geometry"]).bounds
    middle = (south + north) / 2
    parts = []
    for name, low, high, began in (("A", middle - 0.01, north, 0), ("B", south, middle, 25)):
        part = copy.deepcopy(item)
        strip = part["properties"]["s2:datastrip_id"]
        start = re.search(r"_S(\d{8}T\d{4})(\d\d)_N", strip)
        assert start is not None
        later = f"_S{start[1]}{(int(start[2]) + began) % 60:02d}_N"
        part["properties"]["s2:datastrip_id"] = strip.replace(start[0], later)
        ground = shape(item["geometry"]).intersection(shapely.box(west, low, east, high))
        part["geometry"], part["id"] = mapping(ground), f"{item['id']}_{name}"
        parts.append(part)
    return parts[0], parts[1]


def test_split_granules_of_one_overpass_are_both_read(
    zambia: list[Published], tmp_path: Path
) -> None:
    upper, lower = halves(zambia[0])
    published = [upper, lower, *zambia[1:]]
    items = found(str(write_static(tmp_path, {"sentinel-2-l2a": published})), "35MNM", 2020)
    of_day = [item for item in items if item.id.startswith(zambia[0]["id"])]
    assert {item.id for item in of_day} == {upper["id"], lower["id"]}
    assert len({item.acquisition for item in of_day}) == 1
    assert len(items) == 14
    whole = reprocessed(zambia[0])  # newer, and of both halves' ground
    left = resolve_duplicates(map(normalise, [upper, lower, whole]))
    assert [item.id for item in left] == [whole["id"]]


def test_cells_outside_the_corner_that_was_seen_do_not_read_it(
    zambia: list[Published],
) -> None:
    corner = zambia[0]
    west, _, _, north = shape(corner["geometry"]).bounds
    ground = shapely.Polygon([(west, north), (west + 0.2, north), (west, north - 0.3)])
    corner["geometry"] = mapping(ground)
    items = [normalise(corner), *map(normalise, zambia[1:])]
    read_region_of_tile = read_region("35MNM")
    (tile,) = (t for t in tiles_of(read_region_of_tile) if t.name == "35MNM")
    with_corner = 0
    for cell in cells_of(tile, read_region_of_tile, 2048):
        reached = reaching(items, cell)
        assert reached[-12:] == items[1:]
        with_corner += len(reached) == 13
        if cell.column_offset > 4 * 1024 or cell.row_offset > 6 * 1024:
            assert items[0] not in reached
    assert 1 <= with_corner <= 6


def noisy(item: Published, rng: random.Random) -> Published:
    """The item, its corners moved by far less than a millimetre, its ring not quite closed."""
    item = copy.deepcopy(item)
    (ring,) = item["geometry"]["coordinates"]
    moved = [[degrees + rng.uniform(-NOISE, NOISE) for degrees in corner] for corner in ring]
    item["geometry"]["coordinates"] = [moved]
    item["bbox"] = [edge + rng.uniform(-NOISE, NOISE) for edge in item["bbox"]]
    return item


def test_noise_in_the_twelfth_digit_changes_nothing(real: list[Published]) -> None:
    rng = random.Random(7)
    for item in real:
        plain, moved = normalise(item), normalise(noisy(item, rng))
        assert plain.footprint is not None
        assert moved.footprint is not None
        assert shapely.hausdorff_distance(plain.footprint, moved.footprint) < 2e-9
        assert moved.footprint.is_valid
        assert replace(plain, footprint=None) == replace(moved, footprint=None)
    again = [noisy(reprocessed(item), rng) for item in real]
    both = copy.deepcopy([*real, *again])
    for item in both:
        del item["properties"]["s2:datastrip_id"]  # footprints must tell what is the same
    kept = resolve_duplicates(map(normalise, both))
    assert {item.id for item in kept} == {item["id"] for item in again}
    assert (
        read_snapshot(make_snapshot(both, describe_catalog("planetary-computer")), "items") == kept
    )


def test_noise_at_the_antimeridian_does_not_pass_it() -> None:
    for edge, inside in ((180.0, 179.0), (-180.0, -179.0)):
        for noise in (-3e-14, 0.0, 3e-14):
            ring = [[inside, -17], [edge + noise, -17], [edge - noise, -16], [inside, -16]]
            drawn = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
            ground = footprint_of({"geometry": drawn})
            assert ground is not None
            west, east = sorted((edge, inside))
            assert ground.equals(shapely.box(west, -17, east, -16))


UNPLACED: dict[str, Callable[[Published], Any]] = {
    "no bbox": lambda item: item.pop("bbox"),
    "a null geometry": lambda item: item.update(geometry=None),
    "neither": lambda item: item.update(geometry=None, bbox=None),
    "neither, unsaid": lambda item: (item.pop("geometry"), item.pop("bbox")),
    "an empty geometry": lambda item: item["geometry"].update(coordinates=[]),
    "a line": lambda item: item["geometry"].update(coordinates=[[[27, -8], [28, -7], [27, -8]]]),
    "a point": lambda item: item.update(geometry={"type": "Point", "coordinates": [0, 0]}),
    "the whole world": lambda item: item.update(geometry=None, bbox=[-180, -90, 180, 90]),
}


@pytest.mark.parametrize("how", UNPLACED)
def test_items_that_do_not_say_where_they_are_are_still_read(
    how: str, zambia: list[Published], tmp_path: Path
) -> None:
    for item in zambia[::2]:
        UNPLACED[how](item)
    items = found(str(write_static(tmp_path, {"sentinel-2-l2a": zambia})), ZAMBIA, 2020)
    assert {item.id for item in items} == {item["id"] for item in zambia}
    nowhere = [item for item in items if item.footprint is None]
    assert len(nowhere) == (0 if how in ("no bbox", "a null geometry") else 7)
    region = read_region(ZAMBIA)
    for tile in tiles_of(region):
        for cell in cells_of(tile, region, 2048):
            assert reaching(items, cell) == items


def granule(tile: str, sequence: int = 0) -> Published:
    """An item of a whole granule whose footprint has but its four corners, as archives draw it."""
    item = earth_search_item(tile, sequence=sequence)
    where = parse_tile(tile)
    left, top = where.grid_origin
    metres = np.array([[0, 0], [1, 0], [1, -1], [0, -1], [0, 0]]) * 109_800 + [left, top]
    longitude, latitude = to_lonlat(where.epsg).transform(*metres.T)
    corners = np.column_stack([unwrapped(np.array(longitude), where.zone), latitude])
    ground = wrapped(shapely.Polygon(corners))
    return {**item, "geometry": mapping(ground), "bbox": list(ground.bounds)}


PLACES = {
    "the equator": (6.05, 0.3),
    "60° north": (-147.5, 60.5),
    "Svalbard, zone 33": (15.0, 78.5),
    "Svalbard, zone 35": (21.5, 78.5),
    "north Greenland": (-40.0, 82.5),
    "83° north": (-35.0, 83.3),
    "Antarctica": (-65.0, -78.0),
    "east of the antimeridian": (-179.9, -16.9),
    "west of the antimeridian": (179.9, -16.9),
    "the antimeridian in the north": (179.2, 70.9),
    "the border of two zones": (5.999, 50.45),
    "beyond that border": (6.001, 50.45),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_part_of_a_tile_finds_its_items(place: str, tmp_path: Path) -> None:
    """Also the strip that lies in the granule, but outside of its footprint's straight edges."""
    tile = tile_at(*PLACES[place])
    left, top = tile.grid_origin
    url = str(write_static(tmp_path, {"sentinel-2-l2a": [granule(tile.name)]}))
    probed = 0
    for across in (0.06, 0.5, 0.9):
        for down in (0.0005, 0.004, 0.5, 0.9105):
            x, y = left + across * 109_800, top - down * 109_800
            longitude, latitude = to_lonlat(tile.epsg).transform(x, y)
            step = 0.0001
            inside = shapely.box(
                longitude - step, latitude - step, longitude + step, latitude + step
            )
            if not tile.owned.contains(inside):
                continue
            probed += 1
            region = ",".join(f"{edge:.6f}" for edge in inside.bounds)
            (item,) = found(url, region, 2021)
            assert (item.tile, item.epsg) == (tile.name, tile.epsg)
            for cell in cells_of(tile, read_region(region), 2048):
                assert reaching([item], cell) == [item]
    assert probed >= 3


def test_neighbouring_zones_items_are_each_of_their_own_grid(tmp_path: Path) -> None:
    east, west = tile_at(6.05, 50.45), tile_at(5.95, 50.45)
    published = [granule(east.name), granule(west.name, 1)]
    url = str(write_static(tmp_path, {"sentinel-2-l2a": published}))
    items = {item.tile: item for item in found(url, "5.9,50.4,6.1,50.5", 2021)}
    assert {name: item.epsg for name, item in items.items()} == {
        east.name: 32632,
        west.name: 32631,
    }
    for tile in (east, west):
        asset = items[tile.name].assets["B02"]
        assert asset.epsg == tile.epsg
        assert (asset.transform.c, asset.transform.f) == tile.grid_origin
