"""The sample archive is what a public catalogue would publish, and it is the same every time."""

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import requests
import shapely
from pyproj import Transformer
from rasterio.features import geometry_mask
from rasterio.warp import transform_geom

from pipeline.catalog.item import Item
from pipeline.catalog.normalise import normalise, resolve_duplicates
from pipeline.grid.mgrs import parse_tile
from pipeline.sample.archive import SampleArchive, write_archive
from pipeline.sample.classes import CLASS_COUNT, sample_classes
from pipeline.sample.landscape import PLANE
from pipeline.sample.stac import BAND_ASSETS
from pipeline.sample.weather import FOG_MONTH
from tests.stac_validation import validate

CLEAR = (2, 4, 5, 6, 7, 11)


@pytest.fixture(scope="module")
def items(sample_archive: SampleArchive) -> list[tuple[Path, dict[str, Any]]]:
    return [(path, json.loads(path.read_text())) for path in _item_files(sample_archive)]


def _item_files(archive: SampleArchive) -> list[Path]:
    return sorted((archive.folder / "sentinel-2-l2a").glob("*/*/*/*/*/*/*.json"))


def _read(path: Path, item: dict[str, Any], asset: str) -> np.ndarray:
    with rasterio.open(path.parent / item["assets"][asset]["href"]) as raster:
        return raster.read(1)


def _reflectance(path: Path, item: dict[str, Any], asset: str) -> np.ndarray:
    """Reflectance × 10000 as float, NaN where nothing was observed."""
    stored = item["assets"][asset]["raster:bands"][0]
    counted = _read(path, item, asset).astype(float)
    return np.where(counted > 0, (counted * stored["scale"] + stored["offset"]) * 1e4, np.nan)


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


@pytest.mark.slow
def test_same_seed_gives_same_bytes_whatever_was_there_before(tmp_path: Path) -> None:
    write_archive(tmp_path / "a", seed=3, size=300, per_month=1, threads=1)
    write_archive(tmp_path / "b", seed=4, size=400, per_month=1)
    other = dict(_files(tmp_path / "b"))
    archive = write_archive(tmp_path / "b", seed=3, size=300, per_month=1, threads=2)
    first, second = (dict(_files(tmp_path / name)) for name in "ab")
    assert first == second
    assert first["truth/31UGR.tif"] != other["truth/31UGR.tif"]
    assert len(_item_files(archive)) == len(archive.items)


def test_a_half_written_archive_has_no_catalogue(tmp_path: Path) -> None:
    write_archive(tmp_path, seed=3, size=300, per_month=1)
    (tmp_path / "region.geojson").unlink()  # written late: until then, the new one is half done
    writing = subprocess.Popen(
        [sys.executable, "-m", "pipeline.sample", str(tmp_path), "--size", "2000"]
    )
    try:
        while (tmp_path / "catalog.json").exists():
            assert writing.poll() is None
            time.sleep(0.01)
    finally:
        writing.kill()
        writing.wait()
    assert not (tmp_path / "region.geojson").exists()
    assert not (tmp_path / "catalog.json").exists()


def test_absurd_sizes_are_refused(tmp_path: Path) -> None:
    for size in (0, -1, 31_000, float("nan")):
        with pytest.raises(ValueError, match="side"):
            write_archive(tmp_path, size=size)


def test_catalogue_is_valid_and_complete(sample_archive: SampleArchive) -> None:
    catalog = pystac.Catalog.from_file(str(sample_archive.catalog))
    collection = catalog.get_child("sentinel-2-l2a")
    assert collection is not None
    found = sorted(collection.get_items(), key=lambda item: item.id)
    assert [item.id for item in found] == sorted(sample_archive.items)
    for stac in (catalog, collection):
        validate(stac.to_dict())
    for item in found[::7]:
        assert len(validate(item.to_dict())) >= 4
    for item in found:
        assert set(item.assets) == {*BAND_ASSETS, "scl"}
        assert item.get_root() is catalog
        for asset in item.assets.values():
            assert (
                Path(asset.get_absolute_href() or "").stat().st_size
                == (asset.extra_fields["file:size"])
            )


def test_four_tiles_of_two_zones_and_two_rows(sample_archive: SampleArchive) -> None:
    assert sample_archive.tiles == ("31UGQ", "31UGR", "32UKA", "32UKV")


def test_rasters_lie_on_their_tiles_grid(items: list[tuple[Path, dict[str, Any]]]) -> None:
    for path, item in items[::5]:
        tile = parse_tile(item["properties"]["grid:code"].removeprefix("MGRS-"))
        assert item["properties"]["proj:code"] == f"EPSG:{tile.epsg}"
        left, top = tile.grid_origin
        for name, asset in item["assets"].items():
            with rasterio.open(path.parent / asset["href"]) as raster:
                step = 10 if name in ("blue", "green", "red", "nir") else 20
                assert raster.res == (step, step)
                assert raster.crs.to_epsg() == tile.epsg
                assert (raster.bounds.left - left) % 20 == 0
                assert (top - raster.bounds.top) % 20 == 0
                assert left <= raster.bounds.left < raster.bounds.right <= left + 109_800
                assert top >= raster.bounds.top > raster.bounds.bottom >= top - 109_800
                assert list(raster.transform)[:6] == asset["proj:transform"]
                assert list(raster.shape) == asset["proj:shape"]
                assert raster.dtypes[0] == asset["raster:bands"][0]["data_type"]
                assert raster.nodata == 0


def test_the_area_is_covered_by_the_tiles_that_own_it(sample_archive: SampleArchive) -> None:
    west, south, east, north = sample_archive.bbox
    for tile in sample_archive.tiles:
        with rasterio.open(sample_archive.truth / f"{tile}.tif") as raster:
            inward = Transformer.from_crs(4326, raster.crs, always_xy=True)
            lon = west if tile.startswith("31") else east
            lat = south if tile[-1] in "QV" else north
            x, y = inward.transform(lon, lat)
            bounds = raster.bounds
            assert bounds.left <= x <= bounds.right
            assert bounds.bottom <= y <= bounds.top
            assert raster.read(1).min() >= 1


def test_the_truth_agrees_where_tiles_overlap(sample_archive: SampleArchive) -> None:
    with (
        rasterio.open(sample_archive.truth / "31UGR.tif") as west,
        rasterio.open(sample_archive.truth / "32UKA.tif") as east,
    ):
        ours, theirs = west.read(1), east.read(1)
        rows, columns = np.indices(ours.shape)
        xs, ys = rasterio.transform.xy(west.transform, rows.ravel(), columns.ravel())
        x, y = Transformer.from_crs(west.crs, east.crs, always_xy=True).transform(xs, ys)
        row, column = rasterio.transform.rowcol(east.transform, x, y)
    row, column = np.array(row), np.array(column)
    inside = (row >= 0) & (row < theirs.shape[0]) & (column >= 0) & (column < theirs.shape[1])
    agrees = theirs[row[inside], column[inside]] == ours.ravel()[inside]
    assert inside.mean() > 0.9
    assert agrees.mean() > 0.9  # the rest are pixels on borders, seen on another grid


def test_the_truth_is_the_landscapes_class(sample_archive: SampleArchive) -> None:
    legend = json.loads((sample_archive.truth / "classes.json").read_text())
    assert [entry["value"] for entry in legend] == list(range(1, CLASS_COUNT + 1))
    assert [entry["name"] for entry in legend] == [entry.name for entry in sample_classes()]


def test_the_offset_is_of_baselines_from_04_00(items: list[tuple[Path, dict[str, Any]]]) -> None:
    lowest: dict[str, float] = defaultdict(lambda: np.inf)
    for path, item in items:
        baseline = item["properties"]["s2:processing_baseline"]
        offset = item["assets"]["red"]["raster:bands"][0]["offset"]
        assert offset == (-0.1 if baseline >= "04.00" else 0)
        assert item["properties"]["earthsearch:boa_offset_applied"] is False
        red = _read(path, item, "red")
        lowest[baseline] = min(lowest[baseline], red[red > 0].min())
    assert set(lowest) == {"03.01", "05.00"}
    assert lowest["03.01"] < 1000 < lowest["05.00"]


def test_footprints_hold_what_was_observed(items: list[tuple[Path, dict[str, Any]]]) -> None:
    partly = 0
    for path, item in items[::2]:
        with rasterio.open(path.parent / item["assets"]["blue"]["href"]) as raster:
            observed, transform = raster.read(1) > 0, raster.transform
            local = transform_geom("EPSG:4326", raster.crs, item["geometry"])
        outline = shapely.geometry.shape(local)
        near = outline.buffer(15)
        outside = geometry_mask([near], observed.shape, transform)
        assert not (observed & outside).any()
        sure = outline.buffer(-15)
        if not sure.is_empty:
            inside = ~geometry_mask([sure], observed.shape, transform)
            assert observed[inside].all()
        footprint = shapely.geometry.shape(item["geometry"])
        assert footprint.is_valid
        assert np.allclose(item["bbox"], footprint.bounds, atol=1e-6)
        partly += not observed.all()
    assert partly > len(items) / 10


def test_nodata_is_nodata_in_every_band(items: list[tuple[Path, dict[str, Any]]]) -> None:
    for path, item in items[::9]:
        scl = _read(path, item, "scl")
        for name in ("rededge1", "nir08", "swir22"):
            assert ((_read(path, item, name) == 0) == (scl == 0)).all()
        whole = np.kron(scl > 0, np.ones((2, 2), bool))  # a pixel of 20 m needs all four of 10 m
        assert (_read(path, item, "blue")[whole] > 0).all()


def test_the_scene_classification_finds_the_clouds(
    items: list[tuple[Path, dict[str, Any]]],
) -> None:
    clear, cloudy = [], []
    for path, item in items:
        scl, blue = _read(path, item, "scl"), _reflectance(path, item, "blue")[::2, ::2]
        clear.append(blue[np.isin(scl, CLEAR[:-1])])
        cloudy.append(blue[scl == 9])
        shown = np.isin(scl, (8, 9, 10)).sum() / (scl > 0).sum() * 100
        assert item["properties"]["eo:cloud_cover"] == pytest.approx(shown, abs=1e-4)
    assert np.nanquantile(np.concatenate(clear), 0.95) < 2200
    assert np.nanmedian(np.concatenate(cloudy)) > 3500
    covers = [item["properties"]["eo:cloud_cover"] for _path, item in items]
    assert min(covers) < 1
    assert max(covers) > 99


def test_one_month_leaves_a_part_unseen(
    sample_archive: SampleArchive, items: list[tuple[Path, dict[str, Any]]]
) -> None:
    seen: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    for path, item in items:
        tile, month = item["properties"]["grid:code"], int(item["properties"]["datetime"][5:7])
        clear = np.isin(_read(path, item, "scl"), CLEAR)
        seen[tile][month] = seen[tile].get(month, False) | clear
    unseen = {tile: ~of_month.get(FOG_MONTH, np.array(False)) for tile, of_month in seen.items()}
    assert all(part.mean() > 0.1 for part in unseen.values())
    for of_month in seen.values():  # and yet every pixel was seen in the year
        assert np.logical_or.reduce(list(of_month.values())).all()


def test_some_acquisitions_were_reprocessed_or_split(
    items: list[tuple[Path, dict[str, Any]]],
) -> None:
    of_pass: dict[tuple[str, str], list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
    for path, item in items:
        of_pass[item["properties"]["grid:code"], item["properties"]["datetime"]].append(
            (path, item)
        )
    pairs = [pair for pair in of_pass.values() if len(pair) > 1]
    split = reprocessed = 0
    for (path, item), (other_path, other) in pairs:
        blue, again = _reflectance(path, item, "blue"), _reflectance(other_path, other, "blue")
        both = np.isfinite(blue) & np.isfinite(again)
        old, new = (i["properties"]["s2:processing_baseline"] for i in (item, other))
        if old == new:
            split += 1
            assert both.sum() < both.size / 3
            assert np.array_equal(blue[both], again[both])
        else:
            reprocessed += 1
            assert (old, new) == ("03.01", "05.00")
            assert (blue[both] > again[both] + 100).all()
            times = (i["properties"]["s2:generation_time"] for i in (item, other))
            assert sorted(times)[0] == item["properties"]["s2:generation_time"]
    assert split
    assert reprocessed


def test_the_pipeline_keeps_the_newest_of_each_granule(
    items: list[tuple[Path, dict[str, Any]]],
) -> None:
    of_pass: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in resolve_duplicates(normalise(item) for _path, item in items):
        of_pass[item.tile, item.acquisition].append(item)
    counts = defaultdict(set)
    for kept in of_pass.values():
        counts[len(kept)].add(kept[0].datetime)
        assert len({item.baseline for item in kept}) == 1
    assert len(counts[2]) == 1  # the split granule, in every tile that it reaches
    every = {(i["properties"]["grid:code"], i["properties"]["datetime"]) for _path, i in items}
    assert len(of_pass) == len(every)


def test_snow_lies_once(items: list[tuple[Path, dict[str, Any]]]) -> None:
    snowy = {
        item["properties"]["datetime"]
        for path, item in items
        if (_read(path, item, "scl") == 11).mean() > 0.02
    }
    assert len(snowy) == 1


def test_served_over_http_with_ranges(
    sample_archive: SampleArchive, http_server: Callable[[Path], str]
) -> None:
    base = http_server(sample_archive.folder)
    assert http_server(sample_archive.folder) == base
    catalog = pystac.Catalog.from_file(f"{base}/catalog.json")
    item = next(catalog.get_items(recursive=True))
    href = item.assets["blue"].get_absolute_href()
    assert href is not None
    part = requests.get(href, headers={"Range": "bytes=10-29"}, timeout=10)
    whole = requests.get(href, timeout=10).content
    assert part.status_code == 206
    assert part.content == whole[10:30]
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(href) as raster:
        assert raster.read(1).shape == raster.shape
    assert requests.get(f"{base}/absent.tif", timeout=10).status_code == 404


def test_the_plane_is_metric_about_the_corner() -> None:
    x, y = Transformer.from_crs(PLANE, 32631, always_xy=True).transform([0.0, 0.0], [0.0, 1000.0])
    assert abs(y[0] - 5_500_000) < 5
    assert np.hypot(x[1] - x[0], y[1] - y[0]) == pytest.approx(1000, rel=1e-3)
