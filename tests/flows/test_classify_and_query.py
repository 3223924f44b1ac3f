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


def test_classes_in_other_words(
    mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "words"
    assert run(["classify", str(mapped), "--classes", WORDS, "--out", str(out)]) == 0
    assert str(out / "class.vrt") in capsys.readouterr().out
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
