"""`timesen classify` and `timesen query`: a run's embeddings asked anew, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from scipy.ndimage import binary_erosion

from flows.cli.main import run
from pipeline.sample.archive import SampleArchive
from tests.flows.conftest import connected

WORDS = "cereal field, forest, lake, town, meadow"


def shown(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        values: np.ndarray = raster.read(1)
    return values


@pytest.fixture(scope="module")
def mapped(options: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept its embeddings."""
    out = tmp_path_factory.mktemp("ask") / "run"
    coarse = [part if part != "64" else "512" for part in options(out, "--keep-embeddings")]
    assert run(["map", *coarse]) == 0
    return out


@pytest.fixture(scope="module")
def in_words(mapped: Path, users_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its embeddings, classified by other words."""
    out = tmp_path_factory.mktemp("words") / "run"
    with connected(users_server):
        assert run(["classify", str(mapped), "--classes", WORDS, "--out", str(out)]) == 0
    return out


def test_classes_in_other_words(
    mapped: Path, in_words: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = in_words
    before, after = shown(mapped / "class.vrt"), shown(out / "class.vrt")
    np.testing.assert_array_equal(before == 0, after == 0)
    assert set(np.unique(after)) <= set(range(6))
    plan, dim = json.loads((out / "plan" / "plan.json").read_text()), 384
    assert plan["bytes_to_read"] == plan["pixels"] * dim
    assert plan["encoded_pixels_per_second"] is None
    assert run(["status", str(out)]) == 0
    # Started again there is nothing left to do, and nothing changes.
    assert run(["classify", str(mapped), "--classes", WORDS, "--out", str(out)]) == 0
    np.testing.assert_array_equal(shown(out / "class.vrt"), after)
    assert str(out / "class.vrt") in capsys.readouterr().out


def cell_rasters(out: Path, name: str) -> dict[str, np.ndarray]:
    """A raster of each cell; in the mosaic, gaps between zones are closed."""
    return {path.parent.name: shown(path) for path in out.glob(f"cells/*/*/{name}.tif")}


def class_names(run_folder: Path) -> dict[int, str]:
    vocabulary = json.loads((run_folder / "vocabulary.json").read_text())
    return {entry["value"]: entry["name"] for entry in vocabulary["classes"]}


def masked_counts(out: Path) -> tuple[int, int]:
    """Pixels outside the mask, and pixels of which it says nothing."""
    items = [json.loads(path.read_text()) for path in out.glob("cells/*/*/item.json")]
    outside, lacking = (
        sum(item["properties"][f"timesen:{name}"] for item in items)
        for name in ("outside_mask", "without_mask")
    )
    return outside, lacking


def test_only_within_classes_of_another_map(
    mapped: Path,
    in_words: Path,
    tmp_path: Path,
    users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Classified with and without a mask: the same within, nodata elsewhere, and counted."""
    cover, names = cell_rasters(mapped, "class"), class_names(mapped)
    counts = sum(np.bincount(values.ravel(), minlength=256) for values in cover.values())
    counts[0] = 0
    value, other = np.argsort(-counts)[:2].tolist()
    mask, out = f"{mapped}={names[value]}", tmp_path / "masked"
    asked = ["classify", str(mapped), "--classes", WORDS]
    with connected(users_server):
        assert run([*asked, "--mask", mask, "--out", str(out)]) == 0
        capsys.readouterr()
        assert run([*asked, "--mask", f"{mapped}={names[other]}", "--out", str(out)]) == 2
    assert "it holds another run, whose results would differ (mask: " in capsys.readouterr().err
    plain = cell_rasters(in_words, "class")
    for cell, values in cell_rasters(out, "class").items():
        np.testing.assert_array_equal(values, np.where(cover[cell] == value, plain[cell], 0))
    outside, lacking = masked_counts(out)
    assert outside == counts.sum() - counts[value]
    assert lacking == 0
    report = (out / "report.html").read_text()
    assert f"Outside the mask ({mask}) are {outside:,} pixels: they are nodata." in report
    for wrong, problem in (
        (f"{mapped}={names[value][:-1]}", f"(did you mean {names[value]}?)"),
        (str(mapped), "it names no run or no class"),
        (f"{tmp_path}=x", "there is no run here"),
    ):
        assert run([*asked, "--mask", wrong, "--out", str(tmp_path / "b")]) == 2
        assert problem in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_a_map_within_classes_of_another(
    mapped: Path,
    options: Callable[..., list[str]],
    sample_archive: SampleArchive,
    users_server: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Mapped from imagery, of a part of the land, with the mask of run.toml."""
    west, south, east, north = (float(edge) for edge in sample_archive.region.split(","))
    cover = cell_rasters(mapped, "class")
    value = int(np.argmax(sum(np.bincount(v[v > 0], minlength=256) for v in cover.values())))
    out, settings = tmp_path / "out", tmp_path / "run.toml"
    name = class_names(mapped)[value]
    settings.write_text(f'mask = "{mapped}={name}"\n')
    part = f"{west},{south},{west + (east - west) / 4},{north}"
    more = ["--region", part, "--cell-size", "512", "--keep-embeddings"]
    with connected(users_server):
        assert run(["map", str(settings), *options(out, *more)]) == 0
        again = tmp_path / "again"
        mask = ["--mask", f"{out}={name}", "--out", str(again)]
        assert run(["classify", str(mapped), "--classes", WORDS, *mask]) == 0
    pixels = inside = 0
    for path in out.glob("cells/*/*/class.tif"):
        with rasterio.open(path) as raster, rasterio.open(mapped / path.relative_to(out)) as whole:
            within, window = raster.read(1), whole.window(*raster.bounds)
            there = whole.read(1, window=window)
        owned = shown(path.with_name("clear_months.tif")) != 255
        # The same words and imagery give the class that is the mask.
        np.testing.assert_array_equal(within, np.where(owned & (there == value), value, 0))
        kept = np.zeros(within.shape, bool)
        for block in path.parent.glob("embeddings-*.tif"):
            row, column = (int(number) for number in block.stem.split("-")[1:])
            with rasterio.open(block) as raster:
                any_of_it = raster.read().any(axis=0)
            kept[row : row + len(any_of_it), column : column + any_of_it.shape[1]] = any_of_it
        np.testing.assert_array_equal(kept, within > 0)
        pixels, inside = pixels + int(owned.sum()), inside + int(kept.sum())
    outside, lacking = masked_counts(out)
    assert (outside, lacking) == (pixels - inside, 0)
    assert 0 < inside < pixels
    # A mask of less land: of the rest nothing is known.
    planned = json.loads((again / "plan" / "plan.json").read_text())["pixels"]
    assert masked_counts(again) == (0, planned - inside)
    told = f"{planned - inside:,} pixels are nodata because the run that is the mask has no class"
    assert told in (again / "report.html").read_text()
    assert f"warning: {told}" in capsys.readouterr().out


@pytest.mark.slow
def test_examples_adjust_the_words(
    mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.open(mapped / "class.vrt") as raster:
        values = raster.read(1)
        # The centre of a pixel at the map's edge may lie outside of the region.
        rows, columns = np.nonzero(binary_erosion(values > 0))
        chosen = np.random.default_rng(0).permutation(len(rows))[:60]
        xs, ys = rasterio.transform.xy(raster.transform, rows[chosen], columns[chosen])
        crs = raster.crs
    # The labels follow the map by other words, which these words know nothing of.
    labels = np.where(values[rows[chosen], columns[chosen]] % 2, "LAKE", "town")
    points = geopandas.GeoDataFrame(
        {"cover": labels}, geometry=geopandas.points_from_xy(xs, ys), crs=crs
    )
    points.to_file(tmp_path / "points.gpkg")
    out = tmp_path / "examples"
    asked = ["classify", str(mapped), "--classes", WORDS, "--out", str(out)]
    given = ["--examples", str(tmp_path / "points.gpkg"), "--label"]
    assert run([*asked, *given, "cover"]) == 0
    report = json.loads((out / "examples.json").read_text())
    assert sum(report["by_class"].values()) == 60
    collection = json.loads((out / "collection.json").read_text())
    assert collection["summaries"]["timesen:examples"][0]["by_class"] == report["by_class"]
    assert "60 labelled points adjusted the words" in collection["description"]
    assert "60 examples" in (out / "report.html").read_text()
    after = shown(out / "class.vrt")
    assert run([*asked, *given, "cover"]) == 0  # there is nothing left to do
    np.testing.assert_array_equal(shown(out / "class.vrt"), after)
    capsys.readouterr()
    assert run(asked) == 2
    assert "it holds another run" in capsys.readouterr().err
    assert run([*asked[:-1], str(tmp_path / "b"), *given, "colour"]) == 2
    assert "no column 'colour'" in capsys.readouterr().err
    assert run([*asked[:-1], str(tmp_path / "b"), *given[:2]]) == 2
    assert "examples and label belong together" in capsys.readouterr().err


def test_mistakes_are_told(
    mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["classify", str(mapped), "--out", str(tmp_path / "a")]) == 2
    assert "give either vocabulary" in capsys.readouterr().err
    assert run(["classify", str(tmp_path), "--classes", WORDS, "--out", str(tmp_path / "a")]) == 2
    assert "there is no run here" in capsys.readouterr().err
    for wrong, why in (
        ([], "Give either words or --like"),
        (["lake", "--like", "6,49"], "Give either words or --like"),
        (["--like", "somewhere"], "no place"),
        (["--like", "49,190"], "longitude first"),
        (["--like", "100,10"], "no embedding of this place"),
        ([" , "], "no words"),
    ):
        assert run(["query", str(mapped), *wrong]) == 2
        assert why in capsys.readouterr().err


def test_a_heat_map(
    mapped: Path, sample_archive: SampleArchive, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["query", str(mapped), "lake or river, pond"]) == 0
    place = mapped / "queries" / "lake-or-river,-pond" / "similarity.vrt"
    assert str(place) in capsys.readouterr().out
    styles = {path.read_bytes() for path in place.parent.rglob("similarity.qml")}
    assert len(list(place.parent.glob("cells/*/*/similarity.qml"))) > 1
    assert styles == {place.with_suffix(".qml").read_bytes()}
    values = shown(place)
    np.testing.assert_array_equal(values != 65535, shown(mapped / "class.vrt") > 0)
    west, south, east, north = (float(edge) for edge in sample_archive.region.split(","))
    like = f"{west + (east - west) * 0.3},{south + (north - south) * 0.6}"
    out = mapped.parent / "like"
    assert run(["query", str(mapped), "--like", like, "--out", str(out)]) == 0
    assert shown(out / "similarity.vrt")[shown(out / "similarity.vrt") != 65535].max() >= 9_999
