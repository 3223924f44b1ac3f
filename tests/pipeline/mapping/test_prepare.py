"""A run's folder across plans, changes of mind and restarts: nothing made is ever lost."""

import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from models.encoder.checkpoint import load_checkpoint, save_with_card
from models.encoder.vocabulary_calibration import VocabularyCalibration
from models.errors import CheckpointError, VocabularyError
from models.vocabulary.vocabulary import load_vocabulary, vocabulary_from_words
from pipeline.catalog import description, item_snapshot, normalise, search
from pipeline.errors import CatalogError, OutputError, SettingsError
from pipeline.layout import ITEMS_FILE, RUN, TEXT_FILE, VOCABULARY_FILE
from pipeline.mapping import prepare as prepare_module
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.run import PreparedRun
from pipeline.product.cell_commit import commit_cell
from pipeline.product.layers import NODATA_CLASS, NODATA_CONFIDENCE
from pipeline.product.ledger import read_run
from pipeline.product.manifest import run_vocabulary
from pipeline.product.stac import lineage
from pipeline.sample.archive import SampleArchive
from pipeline.settings.map import MapSettings, make_settings
from tests.pipeline.cell_runs import random_checkpoint
from tests.pipeline.made_run import result_of

Prepare = Callable[..., PreparedRun]


@pytest.fixture
def prepare(sample_archive: SampleArchive, tmp_path: Path) -> Prepare:
    """Prepare a run over the sample archive; keyword arguments change its settings."""

    def make(**changes: Any) -> PreparedRun:
        settings = {
            "region": str(sample_archive.region),
            "year": sample_archive.year,
            "classes": "wheat field, maize field, lake",
            "checkpoint": "sample",
            "catalog": {"url": str(sample_archive.folder)},
            "out": str(tmp_path / "run"),
        }
        return prepare_run(make_settings(settings | changes))

    return make


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but the claims on it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "owners"
    }


def finish_a_cell(prepared: PreparedRun) -> str:
    """Commit a cell of nothing."""
    run, cell = prepared.run, prepared.cells[0]
    classes = np.full(cell.shape, NODATA_CLASS, np.uint8)
    confidence = np.full(cell.shape, NODATA_CONFIDENCE, np.uint8)
    commit_cell(
        run.store, run.manifest, cell, run.vocabulary, result_of(cell, classes, confidence, 0)
    )
    return cell.id


def test_what_is_planned_is_what_is_mapped(prepare: Prepare, tmp_path: Path) -> None:
    planned = prepare()
    before = contents(tmp_path / "run")
    again = prepare()
    assert again.items == planned.items
    assert again.run.manifest == planned.run.manifest
    assert np.array_equal(again.run.text.members, planned.run.text.members)
    after = contents(tmp_path / "run")
    assert before == after


def test_planning_describes_the_catalogue_and_a_planned_run_reads_items_by_tile(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    described, normalised = [], []

    def counted(function: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
        def call(first: Any, *others: Any) -> Any:
            calls.append(first)
            return function(first, *others)

        return call

    for module, name in ((description, "describe_catalog"), (normalise, "normalise")):
        function = getattr(module, name)
        calls = described if module is description else normalised
        for user in (item_snapshot, prepare_module, search):
            if hasattr(user, name):
                monkeypatch.setattr(user, name, counted(function, calls))
    prepared = prepare()
    assert len(described) == 1
    names = [item["id"] for item in normalised]
    assert len(names) == 2 * len(set(names))  # when it is found, and when its tile is planned
    assert set(names) >= {item.id for item in prepared.items}
    normalised.clear()
    again = prepare()
    assert not normalised
    assert again.plan.tiles == prepared.plan.tiles
    assert again.plan.warnings == prepared.plan.warnings
    assert again.run.manifest == prepared.run.manifest
    cell = again.cells[-1]
    assert again.items_of(cell) == again.items_of(cell) == prepared.items_of(cell)
    assert {item.id for item in again.items_of(cell)} <= {item["id"] for item in normalised}
    assert len(normalised) == len(names) // 2 // len(again.items.tiles)


def test_planned_memory_depends_on_the_requests_of_the_catalogue(
    prepare: Prepare, sample_archive: SampleArchive, tmp_path: Path
) -> None:
    needed = []
    for requests in (1, 64):
        catalog = tmp_path / f"{requests}.toml"
        catalog.write_text(f'url = "{sample_archive.folder}"\n[access]\nrequests = {requests}\n')
        prepared = prepare(catalog={"url": str(catalog)}, out=str(tmp_path / f"run-{requests}"))
        needed.append(prepared.plan.worker_memory)
    assert needed[0] < needed[1]


def test_a_resumed_run_needs_no_catalogue(
    prepare: Prepare, sample_archive: SampleArchive, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    planned = prepare(catalog={"url": str(archive)})
    (archive / "catalog.json").unlink()
    assert prepare(catalog={"url": str(archive)}).items == planned.items


def test_a_plan_is_replaced_by_another_once_that_one_holds(
    prepare: Prepare, tmp_path: Path
) -> None:
    prepare()
    before = contents(tmp_path / "run")
    with pytest.raises(CatalogError):
        prepare(year=2016)
    assert contents(tmp_path / "run") == before, "a mistake has cost the plan"
    other = prepare(classes="forest, lake, town, road")
    assert read_run(other.run.store).fingerprint == other.run.manifest.fingerprint
    assert len(other.run.text.members) == 4
    assert len(prepare(classes="forest, lake, town, road").run.text.members) == 4


def test_words_have_colours_by_meaning_and_a_run_keeps_its_own(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = prepare()
    first = planned.run
    generated = vocabulary_from_words("wheat field, maize field, lake")
    assert first.vocabulary.classes != generated.classes
    finish_a_cell(planned)
    # As of a version that coloured words in another way: the run is known by its words.
    monkeypatch.setattr(prepare_module, "with_colours_of_meaning", lambda words, *_: words)
    again = prepare().run
    assert again.manifest == first.manifest
    assert again.vocabulary == first.vocabulary
    assert run_vocabulary(first.store, first.manifest) == first.vocabulary
    other = prepare(out=f"{first.store.root}-of-another-version").run
    assert other.vocabulary.classes == generated.classes
    assert other.manifest.fingerprint == first.manifest.fingerprint


def test_a_run_shows_parents_where_there_are_any(prepare: Prepare) -> None:
    named = {"vocabulary": "lucas-land-cover-detailed", "classes": None}
    planned = prepare(**named, level="parent")
    assert {entry.code for entry in planned.run.vocabulary.legend} == set("ABCDEFGH")
    assert len(planned.run.text.starts) == 74
    with pytest.raises(VocabularyError, match="its classes have no parents"):
        prepare(vocabulary="sample-landscape", classes=None, level="parent")
    with pytest.raises(SettingsError, match="classes in words have no parents"):
        prepare(vocabulary=None, classes="forest, lake", level="parent")


def test_a_run_of_which_a_cell_is_begun_is_kept(prepare: Prepare, tmp_path: Path) -> None:
    planned = prepare()
    begun = tmp_path / "run" / "cells" / "31UFS" / planned.cells[0].id / "confidence.tif"
    begun.parent.mkdir(parents=True)
    begun.write_bytes(b"half")
    before = contents(tmp_path / "run")
    with pytest.raises(OutputError, match=r"vocabulary: .* → "):
        prepare(classes="forest, lake")
    assert contents(tmp_path / "run") == before
    assert prepare().run.manifest.fingerprint == planned.run.manifest.fingerprint


def test_a_run_by_words_compares_with_the_members_of_a_class(prepare: Prepare) -> None:
    planned = prepare(classes="cropland, other: forest | lake | town").run
    assert [entry.name for entry in planned.vocabulary.legend] == ["cropland", "other"]
    assert planned.text.class_index.tolist() == [0, 1, 1, 1]
    again = prepare(classes="cropland, other: forest | lake | town").run.text  # from its folder
    np.testing.assert_array_equal(again.class_index, planned.text.class_index)
    np.testing.assert_array_equal(again.members, planned.text.members)


def test_text_embeddings_of_a_run_before_classes_had_members_are_read(
    prepare: Prepare, tmp_path: Path
) -> None:
    planned = prepare()
    file = tmp_path / "run" / TEXT_FILE
    tensors = load_tensors(file.read_bytes())
    tensors["classes"] = -tensors["classes"]  # so that they must come from the file
    file.write_bytes(save_tensors({k: tensors[k] for k in ("classes", "background")}))
    manifest = tmp_path / "run" / RUN
    fields = json.loads(manifest.read_text())
    del fields["files"]
    manifest.write_text(json.dumps(fields))
    again = prepare().run
    assert again.manifest.fingerprint == planned.run.manifest.fingerprint
    np.testing.assert_array_equal(again.text.members, -planned.run.text.members)
    np.testing.assert_array_equal(again.text.class_index, planned.run.text.class_index)


def test_a_run_killed_while_it_was_planned_is_planned_again(
    prepare: Prepare, tmp_path: Path
) -> None:
    planned = prepare()
    for last in (RUN, ITEMS_FILE, TEXT_FILE, VOCABULARY_FILE):
        (tmp_path / "run" / last).unlink()
        again = prepare()
        assert again.items == planned.items
        assert again.run.manifest.fingerprint == planned.run.manifest.fingerprint
        assert (tmp_path / "run" / last).exists() or last in (TEXT_FILE, VOCABULARY_FILE)


def test_finished_cells_stand_for_the_items_they_were_made_of(
    prepare: Prepare, tmp_path: Path
) -> None:
    planned = prepare()
    done = finish_a_cell(planned)
    assert done not in {cell.id for cell in prepare().unfinished()}
    items = tmp_path / "run" / ITEMS_FILE
    whole = items.read_bytes()
    items.write_bytes(whole[:-100])
    with pytest.raises(OutputError, match=r"items\.parquet: the file is changed"):
        prepare()
    items.unlink()
    with pytest.raises(OutputError, match="the file is gone"):
        prepare()
    items.write_bytes(whole)
    assert len(prepare().unfinished()) == len(planned.cells) - 1


def test_the_same_region_in_another_file_is_the_same_run(
    prepare: Prepare, sample_archive: SampleArchive, tmp_path: Path
) -> None:
    one, other = tmp_path / "aoi.geojson", tmp_path / "same.json"
    region = json.loads((Path(sample_archive.folder) / "region.geojson").read_text())
    one.write_text(json.dumps(region))
    other.write_text(json.dumps(region, indent=4))
    finish_a_cell(prepare(region=str(one)))
    assert prepare(region=str(other)).run.manifest == prepare(region=str(one)).run.manifest


def test_only_substitutes_that_are_needed_are_told(
    prepare: Prepare, sample_archive: SampleArchive, tmp_path: Path
) -> None:
    reading = {"substitute": {"B8A": "B08"}}
    assert not prepare(reading=reading, out=str(tmp_path / "whole")).run.manifest.substitutes
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    one = next(archive.rglob("*_L2A.json"))
    item = json.loads(one.read_text())
    del item["assets"]["nir08"]
    one.write_text(json.dumps(item))
    run = prepare(reading=reading, catalog={"url": str(archive)}, out=str(tmp_path / "less")).run
    assert run.manifest.substitutes == {"B8A": "B08"}


def test_optional_bands_may_be_absent_and_are_told(
    prepare: Prepare, sample_archive: SampleArchive, tmp_path: Path
) -> None:
    random_checkpoint(tmp_path / "needs")
    random_checkpoint(tmp_path / "does", optional_bands=("B05", "B8A"))
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)

    def prepared(checkpoint: str, out: str, **changes: Any) -> PreparedRun:
        given = {"checkpoint": str(tmp_path / checkpoint), "out": str(tmp_path / out)}
        return prepare(**given, catalog={"url": str(archive)}, **changes)

    assert "absent bands" not in prepared("does", "whole").run.manifest.parts
    paths = sorted(archive.rglob("*_L2A.json"))
    for number, path in enumerate(paths):
        item = json.loads(path.read_text())
        del item["assets"]["nir08"]
        if number == 0:
            del item["assets"]["rededge1"]
        path.write_text(json.dumps(item))
    with pytest.raises(CatalogError, match="band B8A: no item of the catalogue offers it"):
        prepared("needs", "refused")
    assert not (tmp_path / "refused").exists()
    made = prepared("does", "absent")
    assert made.run.manifest.absent_bands == ("B05", "B8A")
    assert made.run.reading.optional == {3, 7}
    some, none = (text for text in made.plan.warnings if " band " in text)
    assert f"1 of {made.items.facts.count} items lack band B05" in some
    assert "no item has band B8A: the checkpoint does without it" in none
    plan = json.loads((tmp_path / "absent" / "plan" / "plan.json").read_text())
    assert plan["absent_bands"] == {"B05": 1, "B8A": made.items.facts.count}
    assert "B05 and B8A are absent from the source" in lineage(
        made.run.manifest, made.run.vocabulary
    )
    stand_in = prepared("does", "stands", reading={"substitute": {"B8A": "B08"}}).run.manifest
    assert (stand_in.absent_bands, stand_in.substitutes) == (("B05",), {"B8A": "B08"})


def test_items_of_a_cell_are_those_of_its_tile(prepare: Prepare) -> None:
    prepared = prepare()
    for cell in prepared.cells:
        items = prepared.items_of(cell)
        assert items
        assert items == tuple(i for i in prepared.items if i.tile == cell.tile.name)


def test_steps_that_the_checkpoint_was_not_trained_on_are_refused(prepare: Prepare) -> None:
    with pytest.raises(CheckpointError, match="trained on series of 12 steps"):
        prepare(steps=4)
    assert prepare(steps=4, allow_untrained_steps=True).run.settings.steps == 4


def test_a_setting_is_part_of_the_fingerprint_unless_named(prepare: Prepare) -> None:
    parts = prepare().run.manifest.parts
    named = {"classes", "background", "threshold", "level", "out", "cluster", "network", "crs"}
    named |= {"batch_size", "allow_untrained_steps", "lease_seconds", "shard", "costs"}
    only_if_set = {"examples", "label", "mask", "unlike_training"}  # so that older runs keep theirs
    assert set(MapSettings.model_fields) - set(parts) == named | only_if_set


def test_the_scale_is_the_vocabularys_and_part_of_the_fingerprint(
    prepare: Prepare, tmp_path: Path
) -> None:
    vocabulary = load_vocabulary("sample-landscape")
    plain = load_checkpoint("sample")
    calibration = VocabularyCalibration(
        vocabulary=vocabulary.identity,
        steps=12,
        logit_scale=3.5,
        points=60,
        data="made points",
        ece_before=0.2,
        ece_after=0.02,
        reliability=(),
    )
    calibrated = str(tmp_path / "calibrated")
    save_with_card(plain, plain.card.with_calibration(calibration), calibrated)
    words = {"classes": None, "vocabulary": "sample-landscape"}
    before = prepare(**words, out=str(tmp_path / "a")).run
    after = prepare(**words, checkpoint=calibrated, out=str(tmp_path / "b")).run
    free = prepare(checkpoint=calibrated, out=str(tmp_path / "c")).run
    scales = [run.logit_scale for run in (before, after, free)]
    assert scales == [plain.card.logit_scale, 3.5, plain.card.logit_scale]
    assert after.manifest.parts["logit_scale"] == 3.5
    assert not {"logit_scale", "embedded by"} & set(before.manifest.parts)
    assert "logit_scale" not in free.manifest.parts
    assert len({run.manifest.fingerprint for run in (before, after, free)}) == 3
    # Its embeddings are those of the checkpoint as it was.
    assert after.manifest.parts["embedded by"] == before.manifest.parts["checkpoint"]
    assert after.manifest.parts["checkpoint"] != before.manifest.parts["checkpoint"]


def test_of_many_that_plan_at_once_one_searches(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    def counted(*arguments: Any) -> Any:
        searched.append(1)
        return search.search(*arguments)

    monkeypatch.setattr(prepare_module, "search", counted)
    together = threading.Barrier(3)

    def plan() -> PreparedRun:
        together.wait()
        return prepare()

    with ThreadPoolExecutor(3) as pool:
        planned = [future.result() for future in [pool.submit(plan) for _ in range(3)]]
    assert len(searched) == 1
    assert len({each.run.manifest.created for each in planned}) == 1
    assert planned[0].items == planned[1].items == planned[2].items
