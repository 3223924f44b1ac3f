"""Cells as they are committed: rasters, STAC items, what counts as finished, and reports."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.errors import OutputUnwritable
from pipeline.layout import ITEM, cell_key
from pipeline.product.cell_commit import commit_cell
from pipeline.product.cell_report import CellReport
from pipeline.product.class_counts import ClassConfidence
from pipeline.product.committed_cells import finished_cells, finished_items
from pipeline.product.layers import CLASS, CONFIDENCE
from pipeline.product.ledger import write_collection
from pipeline.product.manifest import new_manifest
from pipeline.product.stac import collection, lineage
from pipeline.product.stac_classes import stac_classes
from pipeline.raster.read_stats import Fault, ReadStats
from tests.pipeline.made_run import (
    ONE_ZONE,
    VOCABULARY,
    MadeRun,
    begin,
    cell_rasters,
    make_run,
    result_of,
)
from tests.stac_validation import validate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(str(tmp_path_factory.mktemp("made") / "run"))


def test_commits_cells_that_can_be_read_back(made: MadeRun) -> None:
    reports = finished_cells(made.store, made.run.fingerprint)
    assert sorted(reports) == sorted(cell.id for cell in made.cells)
    for cell in made.cells:
        classes, confidence = cell_rasters(cell, ONE_ZONE)
        for name, array, nodata in ((CLASS.file, classes, 0), (CONFIDENCE.file, confidence, 255)):
            path = made.store.path(cell_key(cell.tile.name, cell.id, name))
            with rasterio.open(path) as raster:
                np.testing.assert_array_equal(raster.read(1), array)
                assert raster.transform == cell.transform
                assert raster.nodata == nodata
                tags = raster.tags()
            assert tags["TIFFTAG_COPYRIGHT"] == made.run.attribution
            assert tags["TIMESEN_FINGERPRINT"] == made.run.fingerprint
        report = reports[cell.id]
        assert report.pixels == {v: int((classes == v).sum()) for v in range(1, 6)}
        assert report.nodata == int((classes == 0).sum())
        assert report.mean_confidence == pytest.approx(confidence[classes > 0].mean(), abs=0.01)
        assert report.observations == 30
        assert len(report.stats.faults) == 1
        assert set(report.stats.seconds) == {"read", "composite", "encode", "write"}


def test_committing_again_gives_the_same_rasters(made: MadeRun, tmp_path: Path) -> None:
    store, run = begin(str(tmp_path / "run"), ONE_ZONE)
    cell = made.cells[0]
    commit_cell(store, run, cell, VOCABULARY, result_of(cell, *cell_rasters(cell, ONE_ZONE), 1))
    for name in (CLASS.file, CONFIDENCE.file):
        key = cell_key(cell.tile.name, cell.id, name)
        assert store.read(key) == made.store.read(key)


def test_items_and_collection_are_valid_stac(made: MadeRun) -> None:
    for item in made.items:
        assert validate(item) == item["stac_extensions"]
    items = finished_items(made.store, made.run.fingerprint)
    write_collection(made.store, made.run, items, made.vocabulary)
    collection = json.loads(made.store.read("collection.json"))
    assert validate(collection) == collection["stac_extensions"]
    for link in collection["links"]:
        if link["rel"] == "item":
            assert made.store.exists(link["href"].removeprefix("./"))


def test_the_collection_lists_every_asset(made: MadeRun) -> None:
    embeddings = {**made.items[0]["assets"]["class"], "href": "./embeddings-0000-0256.tif"}
    items = [{**item, "assets": dict(item["assets"])} for item in made.items]
    items[-1]["assets"]["embeddings-0000-0256"] = embeddings
    listed = collection(made.run, items, made.vocabulary)["item_assets"]
    assert listed.keys() == {key for item in items for key in item["assets"]}
    assert {"class", "confidence", "clear-observations"} <= listed.keys()
    assert listed["embeddings-0000-0256"]["data_type"] == "int8"
    for item in made.items:
        for key, fields in listed.items():
            if key in item["assets"] and key != "class":
                assert fields.items() <= item["assets"][key].items()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "Monthly medians of clear"),
        ({"steps": 4}, "Seasonal medians of monthly medians of clear"),
        ({"steps": 1}, "Annual medians of monthly medians of clear"),
        ({"reading": {"composite": "geometric-median"}}, "Monthly geometric medians of clear"),
        (
            {"steps": 4, "reading": {"composite": "geometric-median"}},
            "Seasonal medians of monthly geometric medians of clear",
        ),
    ],
)
def test_lineage_names_the_composites(settings: dict[str, Any], words: str) -> None:
    assert lineage(new_manifest({}, {"year": 2021, **settings}), VOCABULARY).startswith(words)


def test_nothing_written_holds_a_secret(made: MadeRun) -> None:
    for key in list(made.store.keys()):
        assert b"sig=secret" not in made.store.read(key), key
        assert b"u:p@" not in made.store.read(key), key


def test_a_cell_counts_only_with_its_item_and_fingerprint(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), "5.30,49.75,5.32,49.76")
    cell = made.cells[0]
    key = cell_key(cell.tile.name, cell.id, ITEM)
    assert finished_cells(made.store, "another") == {}
    whole = made.store.read(key)
    made.store.write(key, whole[:100])
    assert cell.id not in finished_cells(made.store, made.run.fingerprint)
    made.store.remove(key)
    assert cell.id not in finished_cells(made.store, made.run.fingerprint)


@pytest.mark.parametrize("raster", [CLASS.file, CONFIDENCE.file])
def test_a_cell_counts_only_with_its_whole_rasters(tmp_path: Path, raster: str) -> None:
    made = make_run(str(tmp_path / "run"), "5.30,49.75,5.32,49.76")
    cell = made.cells[0]
    key = cell_key(cell.tile.name, cell.id, raster)
    whole = made.store.read(key)
    made.store.write(key, whole[:-1])
    assert cell.id not in finished_cells(made.store, made.run.fingerprint)
    made.store.remove(key)
    assert cell.id not in finished_cells(made.store, made.run.fingerprint)
    made.store.write(key, whole)
    assert cell.id in finished_cells(made.store, made.run.fingerprint)


@pytest.mark.parametrize("content", ["[]", "1", "{}", '{"properties": {}}', '{"properties": []}'])
def test_an_item_of_others_is_no_finished_cell(made: MadeRun, tmp_path: Path, content: str) -> None:
    store, run = begin(str(tmp_path / "run"), ONE_ZONE)
    store.write(cell_key("31UFS", "31UFS-00-00", ITEM), content.encode())
    assert finished_cells(store, run.fingerprint) == {}


def test_names_of_classes_are_distinct_in_stac(tmp_path: Path) -> None:
    words = vocabulary_from_words("winter wheat, winter-wheat, 水, 森, nodata")
    names = [entry["name"] for entry in stac_classes(words)]
    assert names == ["nodata", "winter-wheat", "winter-wheat-2", "class-3", "class-4", "nodata-5"]


def test_item_says_what_stands_for_an_absent_band(tmp_path: Path) -> None:
    made = make_run(
        str(tmp_path / "run"), "5.30,49.75,5.31,49.755", reading={"substitute": {"B8A": "B08"}}
    )
    properties = made.items[0]["properties"]
    assert properties["timesen:substitute"] == {"B8A": "B08"}
    assert "Where B8A is absent from the source, B08 stands for it" in str(properties)
    validate(made.items[0])


def test_a_full_disk_leaves_the_cell_unfinished(made: MadeRun, small_disk: Path) -> None:
    store, run = begin(str(small_disk / "run"), ONE_ZONE)
    cell = made.cells[0]
    noise = np.random.default_rng(0).integers(1, 6, cell.shape).astype(np.uint8)
    store.write("filling", bytes(1_020_000))
    with pytest.raises(OutputUnwritable, match="No space left"):
        commit_cell(store, run, cell, VOCABULARY, result_of(cell, noise, noise, 1))
    assert finished_cells(store, run.fingerprint) == {}
    store.remove("filling")
    commit_cell(store, run, cell, VOCABULARY, result_of(cell, noise, noise, 1))
    assert list(finished_cells(store, run.fingerprint)) == [cell.id]


@given(
    st.builds(
        CellReport,
        cell=st.just("31UFS-00-01"),
        pixels=st.dictionaries(st.integers(1, 65535), st.integers(1, 10**7), max_size=5),
        nodata=st.integers(0, 10**7),
        mean_confidence=st.none() | st.floats(0, 100),
        acquisitions=st.integers(0, 1000),
        observations=st.integers(0, 1000),
        coverage=st.tuples(*[st.floats(0, 100)] * 12),
        invalid_embeddings=st.integers(0, 9),
        confidence=st.none()
        | st.dictionaries(
            st.integers(1, 65535),
            st.builds(ClassConfidence, st.floats(0, 100), st.integers(0, 10**7)),
            max_size=3,
        ),
        runners_up=st.none()
        | st.dictionaries(
            st.integers(1, 65535),
            st.dictionaries(st.integers(1, 65535), st.integers(1, 10**7), max_size=3),
            max_size=3,
        ),
        stats=st.builds(
            ReadStats,
            seconds=st.dictionaries(st.sampled_from(["read", "encode"]), st.just(1.25)),
            retries=st.integers(0, 1000),
            faults=st.lists(st.builds(Fault), max_size=2).map(tuple),
        ),
    )
)
def test_a_report_survives_json(report: CellReport) -> None:
    assert CellReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
