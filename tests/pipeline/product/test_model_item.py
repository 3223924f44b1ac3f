"""The STAC item of a run's model, and the links to it."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
from pystac.extensions.mlm import MLMExtension

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from pipeline.product.cell_commit import commit_cell
from pipeline.product.committed_cells import mapped_items
from pipeline.product.ledger import write_collection
from pipeline.product.manifest import RunManifest
from pipeline.product.model_item import model_item, model_links, write_model
from tests.pipeline.made_run import ONE_ZONE, VOCABULARY, MadeRun, cell_rasters, make_run, result_of
from tests.stac_validation import validate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(str(tmp_path_factory.mktemp("run")), ONE_ZONE, 2048)


def _of(run: RunManifest, checkpoint: Checkpoint, path: str, **settings: object) -> RunManifest:
    """The run as if the checkpoint at a path had mapped it."""
    named = f"{checkpoint.card.name} {checkpoint.fingerprint[:12]}"
    return replace(
        run,
        parts={**run.parts, "checkpoint": named},
        settings={**run.settings, "checkpoint": path, **settings},
    )


@pytest.mark.parametrize("name", ["real-land", "sample"])
def test_it_is_valid_and_pystac_reads_it(made: MadeRun, name: str) -> None:
    checkpoint = load_checkpoint(name)
    run = _of(made.run, checkpoint, name, steps=12 if name == "sample" else 4)
    write_model(made.store, run, VOCABULARY, checkpoint.card)
    item = json.loads(made.store.read("model.json"))
    assert validate(item) == item["stac_extensions"]
    weights = (checkpoint.path / "model.safetensors").read_bytes()
    assert item["assets"]["model"]["file:size"] == len(weights)
    assert item["assets"]["model"]["file:checksum"] == f"1220{hashlib.sha256(weights).hexdigest()}"
    mlm = MLMExtension.ext(pystac.Item.from_dict(item))
    assert mlm.mlm_name == name
    assert mlm.total_parameters == sum(p.numel() for p in checkpoint.encoder.parameters())
    assert mlm.input[0].input.shape == [-1, 12 if name == "sample" else 4, 10]
    embedding, classes = mlm.output
    assert embedding.result.shape == [-1, 384]
    named = {entry["title"] for entry in classes.properties["classification:classes"]}
    assert named == {"No data", *(entry.name for entry in VOCABULARY.classes)}


def test_its_scaling_is_that_of_the_checkpoint(made: MadeRun) -> None:
    checkpoint = load_checkpoint("sample")
    item = model_item(_of(made.run, checkpoint, "sample"), VOCABULARY, checkpoint.card, {})
    series = np.random.default_rng(1).integers(1, 8000, (5, 12, 10)).astype(np.uint16)
    scales = item["properties"]["mlm:input"][0]["value_scaling"]
    low, high = (np.array([one[key] for one in scales]) for key in ("minimum", "maximum"))
    scaled = np.clip((series - low) / (high - low), 0, 1)
    expected = checkpoint.card.preprocessing.normalise(series).numpy()
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_no_path_of_this_machine_is_in_it(made: MadeRun, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(load_checkpoint("sample").path, folder)
    checkpoint = load_checkpoint(folder)
    run = _of(made.run, checkpoint, str(folder))
    write_model(made.store, run, VOCABULARY, checkpoint.card)
    text = made.store.read("model.json").decode()
    assert str(tmp_path) not in text
    assert "file:checksum" in text
    shutil.rmtree(folder)
    write_model(made.store, run, VOCABULARY, checkpoint.card)
    item = json.loads(made.store.read("model.json"))
    validate(item)
    assert "file:checksum" not in item["assets"]["model"]


def test_collection_and_items_lead_to_it(made: MadeRun) -> None:
    checkpoint = load_checkpoint("sample")
    run, cell = _of(made.run, checkpoint, "sample"), made.cells[0]
    commit_cell(
        made.store, run, cell, VOCABULARY, result_of(cell, *cell_rasters(cell, ONE_ZONE), 9)
    )
    write_model(made.store, run, VOCABULARY, checkpoint.card)
    write_collection(made.store, run, mapped_items(made.store, run), VOCABULARY)
    own = f"cells/{cell.tile.name}/{cell.id}/item.json"
    for key in ("collection.json", own):
        document = json.loads(made.store.read(key))
        validate(document)
        (link,) = [link for link in document["links"] if link["rel"] == "derived_from"]
        assert link["mlm:name"] == "sample"
        there = Path(made.store.path(key)).parent / link["href"]
        assert json.loads(there.read_bytes())["properties"]["mlm:name"] == "sample"


def test_runs_without_a_model_of_their_own_have_no_link(made: MadeRun) -> None:
    assert model_links(made.run, "./") == []  # of a test, whose checkpoint has no name
    run = _of(made.run, load_checkpoint("sample"), "sample")
    smooth = {"kind": "smoothing", "sentence": "Smoothed.", "layers": {}}
    assert model_links(replace(run, parts={**run.parts, "derived": smooth}), "./") == []
