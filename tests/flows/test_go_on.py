"""A run that has begun goes on: with more rasters, with a table of its items, from its folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from flows.cli.main import run
from pipeline.grid.region import read_region
from pipeline.sample.archive import SampleArchive

Options = Callable[..., list[str]]


@pytest.fixture
def small(sample_archive: SampleArchive, options: Options, tmp_path: Path) -> Options:
    """The options of a run of some pixels over a copy of the archive."""
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    middle = read_region(sample_archive.region).geometry.centroid
    west, south = middle.x + 0.003, middle.y + 0.003
    near = f"{west},{south},{west + 0.0005},{south + 0.0005}"

    def made(*more: str) -> list[str]:
        given = options(tmp_path / "run", archive=archive)
        return [*(near if part == sample_archive.region else part for part in given), *more]

    return made


def _pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def _item(folder: Path) -> dict[str, object]:
    (path,) = (folder / "cells").rglob("item.json")
    return dict(json.loads(path.read_text()))


@pytest.mark.slow
def test_outputs_are_added_to_a_run_and_its_classes_stay(
    small: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table = tmp_path / "run", tmp_path / "items.parquet"
    assert run(["map", *small()]) == 0
    classes, confidence = (_pixels(folder / f"{name}.vrt") for name in ("class", "confidence"))
    assert (classes > 0).any()

    archive = tmp_path / "archive"
    archive.rename(tmp_path / "away")
    archive.mkdir()
    shutil.copy(tmp_path / "away" / "catalog.json", archive)
    assert run(["map", *small("--keep-embeddings")]) == 1  # nothing can be read
    assert "once more, to write embeddings, too" in " ".join(capsys.readouterr().out.split())
    assert np.array_equal(_pixels(folder / "class.vrt"), classes)  # what was made is kept
    assert run(["status", str(folder)]) == 0
    assert "0 of 1 cells done, 1 failed" in capsys.readouterr().out
    shutil.rmtree(archive)
    (tmp_path / "away").rename(archive)

    assert run(["map", *small("--keep-embeddings", "--top-k", "2")]) == 0
    assert np.array_equal(_pixels(folder / "class.vrt"), classes)
    assert np.array_equal(_pixels(folder / "confidence.vrt"), confidence)
    ranked = _pixels(folder / "top_classes.vrt")
    assert np.array_equal(ranked[:1], classes)
    assert len(ranked) == 2
    classify = ["classify", str(folder), "--classes", "forest, town"]
    assert run([*classify, "--out", str(tmp_path / "others")]) == 0
    said = capsys.readouterr().out
    assert "warning: 1 of 1 cells failed" not in said

    made = _item(folder)
    assert run(["map", *small()]) == 0  # it goes on making what it makes
    capsys.readouterr()
    search = small("--items", str(table))
    assert run(["search", *_of_search(search)]) == 0
    assert run(["map", *_with(small(), "--catalog", str(table))]) == 0
    assert _item(folder) == made

    assert run(["map", *_with(small(), "--year", "2020")]) == 2
    assert "it holds another run, whose results would differ (year" in capsys.readouterr().err


def _with(given: list[str], flag: str, value: str) -> list[str]:
    place = given.index(flag)
    return [*given[: place + 1], value, *given[place + 2 :]]


def _of_search(given: list[str]) -> list[str]:
    wanted = ("--region", "--year", "--catalog", "--items")
    return [part for flag in wanted for part in (flag, given[given.index(flag) + 1])]


@pytest.mark.slow
def test_rasters_that_were_left_out_are_tried_again(
    small: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, folder = tmp_path / "archive", tmp_path / "run"
    rasters = sorted((archive / "sentinel-2-l2a" / "32" / "U" / "KA").rglob("SCL.tif"))[:3]
    rasters += sorted((archive / "sentinel-2-l2a" / "32" / "U" / "KV").rglob("SCL.tif"))[:3]
    whole = {raster: raster.read_bytes() for raster in rasters}
    for raster in rasters:
        raster.write_bytes(whole[raster][:100])
    assert run(["map", *small()]) == 0
    assert "could not be read and were left out" in " ".join(capsys.readouterr().out.split())
    before = _item(folder)

    assert run(["rerun", str(folder)]) == 0
    assert _item(folder) == before  # all cells are finished
    others = sorted(p for p in archive.rglob("SCL.tif") if p not in whole)
    for raster in others:
        raster.rename(raster.with_suffix(".away"))
    assert run(["rerun", str(folder), "--retry-left-out"]) == 0
    assert _item(folder) == before  # it would have been worse
    for raster in others:
        raster.with_suffix(".away").rename(raster)
    for raster in rasters:
        raster.write_bytes(whole[raster])
    capsys.readouterr()
    assert run(["rerun", str(folder), "--retry-left-out"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 finished cell is mapped once more, since rasters were left out" in said
    assert "could not be read" not in said
    assert _item(folder)["properties"]["timesen:faults"] == []  # type: ignore[index]
    assert run(["rerun", str(folder), "--retry-left-out"]) == 0
    assert "once more" not in capsys.readouterr().out
