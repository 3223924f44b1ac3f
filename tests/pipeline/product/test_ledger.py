"""The ledger of a run: its run.json, who may go on with it, and the cells that failed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import CatalogUnavailable, OutputError, OutputUnwritable
from pipeline.grid.cells import cells_of, tiles_of
from pipeline.grid.region import read_region
from pipeline.io.fingerprint import differences, fingerprint
from pipeline.io.store import Store
from pipeline.layout import ITEMS_FILE, cell_key, failure_key
from pipeline.product.cell_commit import commit_cell
from pipeline.product.committed_cells import finished_cells
from pipeline.product.layers import CLASS
from pipeline.product.ledger import (
    failed_cells,
    open_run,
    read_run,
    record_failure,
)
from pipeline.product.manifest import RunManifest, new_manifest
from tests.pipeline.made_run import (
    ONE_ZONE,
    VOCABULARY,
    MadeRun,
    begin,
    cell_rasters,
    make_run,
    result_of,
)

PARTS = {"year": 2021, "reading": {"strict": False, "keep": [4, 5]}, "checkpoint": "abc"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(str(tmp_path_factory.mktemp("made") / "run"))


def test_opens_a_new_folder_and_goes_on_with_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "deep" / "run"))
    run = open_run(store, PARTS, {"year": 2021})
    again = open_run(store, {**dict(reversed(PARTS.items()))}, {"year": 2021})
    assert again == run == read_run(store)
    assert run.fingerprint == fingerprint(PARTS)
    assert run.versions["timesen"]


def test_refuses_another_run_and_says_what_differs(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    open_run(store, PARTS, {"year": 2021})
    store.write(cell_key("31UFS", "31UFS-00-00", CLASS.file), b"begun")
    other = {"year": 2022, "reading": {"strict": True, "keep": [4, 5]}, "vocabulary": "x" * 80}
    with pytest.raises(OutputError) as caught:
        open_run(store, other, {"year": 2022})
    message = str(caught.value)
    assert "year: 2021 → 2022" in message
    assert "reading.strict: false → true" in message
    assert "checkpoint: abc → none" in message
    assert f"vocabulary: none → {'x' * 57}…" in message
    assert "keep" not in message
    assert read_run(store).parts == PARTS


def test_replaces_a_run_that_was_only_planned(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write(ITEMS_FILE, b"of a run that was ended while it was planned")
    open_run(store, PARTS, {"year": 2021})
    again = open_run(store, {**PARTS, "year": 2022}, {"year": 2022})
    assert read_run(store) == again
    assert again.parts["year"] == 2022


def test_a_cell_of_a_run_that_was_replaced_is_not_written(tmp_path: Path) -> None:
    store, run = begin(str(tmp_path), ONE_ZONE)
    open_run(store, PARTS, {"year": 2021})
    region = read_region(ONE_ZONE)
    cell = cells_of(tiles_of(region)[0], region, 512)[0]
    rasters = cell_rasters(cell, ONE_ZONE)
    with pytest.raises(OutputError, match="another run began in this folder"):
        commit_cell(store, run, cell, VOCABULARY, result_of(cell, *rasters, 1))
    assert not list(store.keys("cells"))


def test_refuses_a_folder_with_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(OutputError, match=r"not empty and holds no run .*thesis\.docx"):
        open_run(Store(str(tmp_path)), PARTS, {"year": 2021})
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.docx"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"name": "npm"}', '"x"', "null"])
def test_refuses_a_run_json_of_others(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(OutputError, match="no run of timesen"):
        open_run(Store(str(tmp_path)), PARTS, {"year": 2021})


def test_refuses_a_file_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "map.tif").write_text("x")
    with pytest.raises(OutputError, match="a file, not a folder"):
        open_run(Store(str(tmp_path / "map.tif")), PARTS, {"year": 2021})
    with pytest.raises(OutputError, match="no run here"):
        read_run(Store(str(tmp_path / "nowhere")))


def test_says_that_a_folder_takes_no_files(read_only_disk: Path) -> None:
    with pytest.raises(OutputUnwritable, match="Read-only"):
        open_run(Store(str(read_only_disk / "run")), PARTS, {"year": 2021})


def test_run_json_holds_no_secret() -> None:
    settings = {"year": 2021, "catalog": {"url": "https://me:pw@host/stac?token=t", "n": [1]}}
    run = new_manifest(PARTS, settings)
    assert run.settings["catalog"] == {"url": "https://host/stac", "n": [1]}
    assert RunManifest.from_json(run.to_json()) == run


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"settings": []}, "no objects"),
        ({"settings": {}}, "its year is no whole number"),
        ({"settings": {"year": "2021"}}, "its year is no whole number"),
        ({"settings": {"year": 10**9}}, "its year or its first month"),
        ({"settings": {"year": 2021, "first_month": 13}}, "its year or its first month"),
        ({"settings": {"year": 2021, "steps": 0}}, "its steps"),
        ({"settings": {"year": 2021, "top_k": 10**9}}, "its steps or its top_k"),
        ({"settings": {"year": 2021, "reading": 5}}, "of other types"),
        ({"settings": {"year": 2021, "checkpoint": "\ud800"}}, "surrogates not allowed"),
        ({"parts": {"attributions": 7}}, "of other types"),
        ({"parts": {"substituted": ["B8A"]}}, "of other types"),
        ({"versions": {}}, "of other types"),
        ({"fingerprint": 5}, "of other types"),
    ],
)
def test_fields_of_a_run_json_that_cannot_be_used_are_refused(
    tmp_path: Path, part: dict[str, Any], problem: str
) -> None:
    sound = json.loads(new_manifest(PARTS, {"year": 2021}).to_json())
    (tmp_path / "run.json").write_text(json.dumps(sound | part))
    with pytest.raises(OutputError, match=problem):
        read_run(Store(str(tmp_path)))


def test_period_and_attribution_follow_the_first_month() -> None:
    run = new_manifest(PARTS, {"year": 2021, "first_month": 11})
    assert [f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in run.period] == [
        "2021-11-01T00:00:00",
        "2022-10-31T23:59:59",
    ]
    assert "Copernicus Sentinel data 2021–2022 processed with timesen" in run.attribution
    assert new_manifest(PARTS, {"year": 2021}).years == "2021"


_JSON = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=6,
)
_PARTS = st.dictionaries(st.text("abc", min_size=1, max_size=2), _JSON, max_size=3)


@given(_PARTS, _PARTS)
def test_fingerprints_differ_iff_parts_do(one: dict, two: dict) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (fingerprint(one) == fingerprint(two)) == same
    assert differences(one, one) == []


def test_a_failure_is_kept_until_the_cell_succeeds(made: MadeRun, tmp_path: Path) -> None:
    store, run = begin(str(tmp_path / "run"), ONE_ZONE)
    cell, other = made.cells[:2]
    for failed in (cell, other):
        record_failure(store, failed, CatalogUnavailable("https://u:p@host/a?sig=x: no answer"))
    failure = failed_cells(store, run)[cell.id]
    assert failure.kind == "CatalogUnavailable"
    assert failure.error == "https://host/a no answer"
    assert failure.tile == cell.tile.name
    commit_cell(store, run, cell, VOCABULARY, result_of(cell, *cell_rasters(cell, ONE_ZONE), 1))
    assert list(failed_cells(store, run)) == [other.id]
    assert not store.exists(f"failures/{cell.id}.json")


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"cell": "a"}', '{"cell": 1, "tile": 2, "kind": 3, "error": 4, "when": 5}'],
)
def test_a_damaged_record_of_a_failure_is_left_out(tmp_path: Path, content: str) -> None:
    store, run = begin(str(tmp_path), ONE_ZONE)
    store.write(failure_key("31UFR-00-00"), content.encode())
    assert failed_cells(store, run) == {}


def test_a_run_on_object_storage(s3: str) -> None:
    made = make_run(f"{s3}/run", "5.30,49.75,5.33,49.76")
    again = open_run(made.store, {"year": 2021, "checkpoint": "abc"}, {"year": 2021})
    assert again == made.run
    assert sorted(finished_cells(made.store, made.run.fingerprint)) == sorted(
        cell.id for cell in made.cells
    )
    gone = replace(made.cells[0], row=90)
    record_failure(made.store, gone, ValueError("x"))
    assert list(failed_cells(made.store, made.run)) == [gone.id]
