import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.io import DatasetReader

from pipeline.grid.cells import cells_of, tiles_of
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.layout import cell_key
from pipeline.product.layers import CLASS, CONFIDENCE
from pipeline.product.map_crs import map_crs
from pipeline.product.mosaic import write_mosaics
from tests.pipeline.made_run import ONE_ZONE, TWO_ZONES, MadeRun, cell_rasters, classes_at, make_run


def _made(root: str, region: str) -> MadeRun:
    made = make_run(root, region)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    return made


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return _made(str(tmp_path_factory.mktemp("one") / "run"), ONE_ZONE)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return _made(str(tmp_path_factory.mktemp("two") / "run"), TWO_ZONES)


def _lonlat(raster: DatasetReader) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = np.meshgrid(np.arange(raster.width) + 0.5, np.arange(raster.height) + 0.5)
    x = raster.transform.c + raster.transform.a * columns
    y = raster.transform.f + raster.transform.e * rows
    lon, lat = Transformer.from_crs(raster.crs, 4326, always_xy=True).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def _inside(region: str, lon: np.ndarray, lat: np.ndarray, margin: float) -> np.ndarray:
    west, south, east, north = map(float, region.split(","))
    inside: np.ndarray = (lon > west + margin) & (lon < east - margin)
    return inside & (lat > south + margin) & (lat < north - margin)


@pytest.mark.parametrize(("key", "which", "nodata"), [("class", 0, 0), ("confidence", 1, 255)])
def test_one_zone_is_its_cells_pixel_for_pixel(
    one: MadeRun, key: str, which: int, nodata: int
) -> None:
    assert len(one.cells) == 6
    with rasterio.open(one.store.path(f"{key}.vrt")) as mosaic:
        assert mosaic.crs.to_epsg() == 32631
        assert mosaic.nodata == nodata
        expected = np.full(mosaic.shape, nodata, np.uint8)
        for cell in one.cells:
            row = round((mosaic.bounds.top - cell.bounds[3]) / 10)
            column = round((cell.bounds[0] - mosaic.bounds.left) / 10)
            array = cell_rasters(cell, ONE_ZONE)[which]
            part = expected[row : row + cell.height, column : column + cell.width]
            np.copyto(part, array, where=array != nodata)
        np.testing.assert_array_equal(mosaic.read(1), expected)
    assert not list(one.store.keys("mosaic"))


def test_colours_and_attribution_come_with_the_mosaic(one: MadeRun, two: MadeRun) -> None:
    for made in (one, two):
        with rasterio.open(made.store.path(CLASS.mosaic_file)) as mosaic:
            table = mosaic.colormap(1)
            for entry in made.vocabulary.classes:
                assert "#{:02x}{:02x}{:02x}".format(*table[entry.value][:3]) == entry.colour
            assert mosaic.tags()["TIFFTAG_COPYRIGHT"] == made.run.attribution
        text = made.store.read(CLASS.mosaic_file).decode()
        assert "<Category>Lake &amp; pond</Category>" in text


def test_two_zones_are_one_layer_without_a_seam(two: MadeRun) -> None:
    assert {cell.epsg for cell in two.cells} == {32631, 32632}
    with rasterio.open(two.store.path(CLASS.mosaic_file)) as mosaic:
        assert mosaic.crs == rasterio.CRS.from_wkt(map_crs(two.items).to_wkt())
        classes = mosaic.read(1)
        lon, lat = _lonlat(mosaic)
    inside = _inside(TWO_ZONES, lon, lat, 1e-4)
    assert inside.sum() > 200_000
    assert (classes[inside] > 0).all(), "every place has a class, at the zones' border too"
    outside = ~_inside(TWO_ZONES, lon, lat, -1e-4)
    assert (classes[outside] == 0).all()
    # A pixel shows the place at its centre, to within the pixels of both grids.
    near = [
        classes_at(lon + dx * 1.4e-4, lat + dy * 0.9e-4)[inside]
        for dx in (-1, 0, 1)
        for dy in (-1, 0, 1)
    ]
    assert (np.stack(near) == classes[inside]).any(axis=0).all()
    assert (near[4] == classes[inside]).mean() > 0.98


def test_confidence_of_two_zones_keeps_its_nodata(two: MadeRun) -> None:
    with rasterio.open(two.store.path(CONFIDENCE.mosaic_file)) as mosaic:
        confidence = mosaic.read(1)
        lon, lat = _lonlat(mosaic)
        assert mosaic.nodata == 255
    inside = _inside(TWO_ZONES, lon, lat, 1e-4)
    assert (confidence[inside] <= 100).all()
    assert (confidence[~_inside(TWO_ZONES, lon, lat, -1e-4)] == 255).all()
    expected = 60 + 30 * np.sin(lon * 800)
    assert np.abs(confidence[inside] - expected[inside]).max() < 6


def test_reads_overviews(tmp_path: Path) -> None:
    made = _made(str(tmp_path / "run"), "5.30,49.70,5.45,49.80")
    with rasterio.open(made.store.path(CLASS.mosaic_file)) as mosaic:
        assert mosaic.overviews(1) == [2, 4]
        coarse = mosaic.read(1, out_shape=(mosaic.height // 4, mosaic.width // 4))
        fine = mosaic.read(1)[2::4, 2::4][: coarse.shape[0], : coarse.shape[1]]
    assert (coarse[: fine.shape[0], : fine.shape[1]] == fine).mean() > 0.9


def test_the_folder_can_be_moved(two: MadeRun, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(two.store.root, moved)
    with (
        rasterio.open(moved / CLASS.mosaic_file) as there,
        rasterio.open(two.store.path(CLASS.mosaic_file)) as here,
    ):
        np.testing.assert_array_equal(there.read(1), here.read(1))
    for key in list(two.store.keys()):
        if key.endswith(".vrt"):
            assert two.store.root not in two.store.read(key).decode()


def test_no_raster_is_opened_to_write_a_mosaic(two: MadeRun, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write_mosaics(store, two.run, two.items, two.vocabulary)
    for key in list(store.keys()):
        assert store.read(key) == two.store.read(key)
    with rasterio.open(store.path(CLASS.mosaic_file)) as mosaic:
        assert mosaic.count == 1


def test_opens_on_object_storage(s3: str) -> None:
    made = _made(f"{s3}/two", TWO_ZONES)
    with (
        rasterio.Env(**made.store.gdal_options()),
        rasterio.open(made.store.gdal_path(CLASS.mosaic_file)) as mosaic,
    ):
        lon, lat = _lonlat(mosaic)
        classes = mosaic.read(1)
    assert (classes[_inside(TWO_ZONES, lon, lat, 2e-4)] > 0).all()


def test_a_missing_mosaic_is_no_surprise(tmp_path: Path, one: MadeRun) -> None:
    store = Store(str(tmp_path))
    write_mosaics(store, one.run, [], one.vocabulary)
    assert list(store.keys()) == []


def test_a_mosaic_in_a_named_crs_replaces_the_one_before(tmp_path: Path) -> None:
    made = _made(str(tmp_path / "run"), TWO_ZONES)
    before = set(made.store.keys("mosaic"))
    for code in ("EPSG:4326", "EPSG:32631", "EPSG:2154"):
        write_mosaics(made.store, made.run, made.items, made.vocabulary, code)
        with rasterio.open(made.store.path(CLASS.mosaic_file)) as mosaic:
            assert mosaic.crs.to_string() == code
            lon, lat = _lonlat(mosaic)
            classes = mosaic.read(1)
        inside = _inside(TWO_ZONES, lon, lat, 2e-4)
        assert (classes[inside] > 0).all()
        assert (classes[inside] == classes_at(lon, lat)[inside]).mean() > 0.97
    west = [item for item in made.items if item["properties"]["proj:code"] == "EPSG:32631"]
    write_mosaics(made.store, made.run, west, made.vocabulary)
    assert before
    assert not list(made.store.keys("mosaic")), "nothing is left of the zone that went"


def test_ranks_are_bands_of_their_mosaic(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), TWO_ZONES, top_k=2)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    with (
        rasterio.open(made.store.path("top_classes.vrt")) as ranks,
        rasterio.open(made.store.path("top_confidences.vrt")) as confidences,
        rasterio.open(made.store.path(CLASS.mosaic_file)) as mosaic,
    ):
        first, second = ranks.read()
        np.testing.assert_array_equal(first, mosaic.read(1))
        np.testing.assert_array_equal(second, np.where(first, first % 5 + 1, 0))
        assert ranks.descriptions == ("Nearest classes, rank 1", "Nearest classes, rank 2")
        assert confidences.count == 3
        assert confidences.nodata == 255


def test_cells_of_early_versions_lack_newer_layers(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    items = made.items
    for item in items[:2]:
        del item["assets"]["clear-months"]
    write_mosaics(made.store, made.run, items, made.vocabulary)
    with (
        rasterio.open(made.store.path("clear_months.vrt")) as months,
        rasterio.open(made.store.path(CLASS.mosaic_file)) as classes,
    ):
        assert set(np.unique(months.read(1))) == {1, 255}
        assert months.read(1).size < classes.read(1).size
    old = Store(str(tmp_path / "old"))
    for item in items:
        for later in ("clear-months", "true-colour"):
            item["assets"].pop(later, None)
    write_mosaics(old, made.run, items, made.vocabulary)
    assert {key for key in old.keys("") if key.endswith(".vrt")} == {"class.vrt", "confidence.vrt"}


def _items(*regions: str) -> list[dict[str, Any]]:
    """Items of a cell at the corner of each region, with what the rule looks at."""
    from pipeline.grid.footprint import footprint

    items = []
    for spec in regions:
        region = read_region(spec)
        tile = tiles_of(region)[0]
        cell = cells_of(tile, region)[0]
        bbox = footprint(cell.bounds, cell.epsg)[1]
        items.append({"bbox": bbox, "properties": {"proj:code": f"EPSG:{cell.epsg}"}})
    return items


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        (["5.3,49.7,5.31,49.71", "3.3,49.7,3.31,49.71"], "EPSG:32631"),
        (["5.9,49.7,5.91,49.71", "6.1,49.7,6.11,49.71"], "EPSG:3035"),
        (["-5,40,-4.99,40.01", "22,60,22.01,60.01"], "EPSG:3035"),
        (["-70,-20,-69.99,-19.99", "-50,0.01,-49.99,0.02"], "EPSG:6933"),
        (["179.9,-17,179.91,-16.99", "-179.9,-17,-179.89,-16.99"], "EPSG:8859"),
        (["-120,40,-119.99,40.01", "100,40,100.01,40.01"], "EPSG:8859"),
        (["-120,40,-119.99,40.01", "10,40,10.01,40.01"], "EPSG:6933"),
        (["-120,60,-119.99,60.01", "-100,40,-99.99,40.01"], "EPSG:6931"),
        (["-72.1,-52,-72.09,-51.99", "-71.9,-52,-71.89,-51.99"], "EPSG:6932"),
    ],
)
def test_crs_by_rule(regions: list[str], expected: str) -> None:
    crs = map_crs(_items(*regions))
    epsg = crs.to_epsg()
    assert (f"EPSG:{epsg}" if epsg else crs.name) == expected


def test_both_hemispheres_are_one_layer(tmp_path: Path) -> None:
    made = _made(str(tmp_path / "run"), "20.00,-0.02,20.03,0.02")
    assert {cell.epsg for cell in made.cells} == {32634, 32734}
    with rasterio.open(made.store.path(CLASS.mosaic_file)) as mosaic:
        lon, lat = _lonlat(mosaic)
        assert (mosaic.read(1)[_inside("20.00,-0.02,20.03,0.02", lon, lat, 2e-4)] > 0).all()


def test_items_name_their_rasters(one: MadeRun) -> None:
    item = json.loads(json.dumps(one.items[0]))
    key = cell_key(item["properties"]["timesen:tile"], item["id"], CLASS.file)
    assert one.store.exists(key)
