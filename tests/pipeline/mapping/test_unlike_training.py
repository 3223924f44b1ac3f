"""The raster of what is unlike the training: of a map, of kept embeddings, and what it says."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch

from models.encoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.encoder.inference import embed_all
from models.encoder.training_sample import TrainingDistance, sample_training
from models.encoder.vocabulary_calibration import VocabularyCalibration
from models.errors import CheckpointError
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.layout import COLLECTION_FILE, ITEM, REPORT, cell_key
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.embedding_source import settings_from_embeddings
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.publish import publish, published_run
from pipeline.mapping.run import PreparedRun
from pipeline.product.committed_cells import finished_items
from pipeline.product.layers import CLASS, CONFIDENCE, UNLIKE_TRAINING
from pipeline.sample.archive import SampleArchive
from pipeline.sample.series import sample_series
from tests.pipeline.cell_runs import preparing


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The sample checkpoint with a sample of half of the land that it knows, and a calibration."""
    sample = load_checkpoint("sample")
    land, series = sample_series(3, 600)
    embeddings = embed_all(sample, series).numpy()
    known = land < np.median(land)
    place = np.arange(600) % 2 == 0
    chosen = sample_training(embeddings[known & place], embeddings[known & ~place], size=60)
    calibration = VocabularyCalibration(
        vocabulary=load_vocabulary("sample-landscape").identity,
        steps=12,
        logit_scale=2.0,
        points=60,
        data="made points",
        ece_before=0.2,
        ece_after=0.02,
        reliability=(),
    )
    folder = tmp_path_factory.mktemp("checkpoint") / "own"
    card = sample.card.with_calibration(calibration)
    save_checkpoint(folder, sample.encoder, card, training_sample=chosen)
    return load_checkpoint(folder)


@pytest.fixture(scope="module")
def mapped(
    sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> PreparedRun:
    out = tmp_path_factory.mktemp("mapped") / "run"
    prepare = preparing(sample_archive, checkpoint, out)
    return finished(prepare(keep_embeddings=True, unlike_training=True, cell_size=64))


def finished(prepared: PreparedRun) -> PreparedRun:
    """The run with its first cell made, and published."""
    cell = prepared.cells[0]
    cell_graph(cell, prepared.items_of(cell), prepared.run).compute(scheduler="threads")
    publish(published_run(prepared))
    return prepared


def raster_of(prepared: PreparedRun, name: str) -> np.ndarray:
    cell = prepared.cells[0]
    content = prepared.run.store.read(cell_key(cell.tile.name, cell.id, name))
    with rasterio.open(io.BytesIO(content)) as raster:
        values: np.ndarray = raster.read(1)
    return values


def test_the_raster_is_described_shown_and_told_of(mapped: PreparedRun) -> None:
    store = mapped.run.store
    percent, classes = raster_of(mapped, UNLIKE_TRAINING.file), raster_of(mapped, CLASS.file)
    np.testing.assert_array_equal(percent == UNLIKE_TRAINING.nodata, classes == 0)
    valid = percent[classes > 0]
    assert len(np.unique(valid)) > 10
    beyond = int((valid > 100).sum())
    assert 0 < beyond < len(valid)  # half of the land is not in the sample
    (item,) = finished_items(store, mapped.run.manifest.fingerprint)
    assert item["properties"]["timesen:unlike_training"] == beyond
    whole = store.read(cell_key(item["properties"]["timesen:tile"], item["id"], ITEM))
    asset = json.loads(whole)["assets"]["unlike-training"]
    assert "95 % of held-out training points" in asset["description"]
    assert asset["raster:bands"][0]["nodata"] == 255
    assert b"unlike-training" in store.read(COLLECTION_FILE)
    assert store.exists("unlike_training.vrt")
    assert b"101 % and more: unlike" in store.read("unlike_training.qml")
    said = " ".join(store.read(REPORT).decode().split())
    share = 100 * beyond / len(valid)
    assert f"{share:.1f} % of the mapped pixels lie outside of what the checkpoint was" in said
    assert "unlike_training.vrt" in said


def test_kept_embeddings_give_the_same_raster(mapped: PreparedRun, tmp_path: Path) -> None:
    own = {"out": str(tmp_path / "again"), "classes": "forest, lake", "unlike_training": True}
    again = finished(prepare_run(settings_from_embeddings(mapped.run.store.root, own)))
    before, after = (raster_of(run, UNLIKE_TRAINING.file).astype(int) for run in (mapped, again))
    np.testing.assert_array_equal(before == 255, after == 255)
    assert np.percentile(np.abs(before - after), 99) <= 3
    own = {"out": str(tmp_path / "without"), "classes": "forest, lake"}
    without = finished(prepare_run(settings_from_embeddings(mapped.run.store.root, own)))
    assert not without.run.store.exists("unlike_training.vrt")
    assert not without.run.store.exists("unlike_training.qml")
    said = without.run.store.read(REPORT).decode()
    assert "unlike_training.vrt" not in said
    assert "outside of what the checkpoint" not in said
    assert "unlike_training" not in without.run.manifest.parts


def test_confidence_is_that_of_the_calibration(
    sample_archive: SampleArchive, mapped: PreparedRun, tmp_path: Path
) -> None:
    """Of a map and of kept embeddings; the embeddings are those of the uncalibrated checkpoint."""
    sample = load_checkpoint("sample")
    plain = preparing(sample_archive, sample, tmp_path / "plain")
    before = finished(plain(keep_embeddings=True, cell_size=64))
    np.testing.assert_array_equal(raster_of(before, CLASS.file), raster_of(mapped, CLASS.file))
    confident, calibrated = (raster_of(run, CONFIDENCE.file) for run in (before, mapped))
    known = confident < 255
    assert calibrated[known].mean() < confident[known].mean() - 10  # a scale of 2 is soft
    own = {
        "out": str(tmp_path / "again"),
        "vocabulary": "sample-landscape",
        "checkpoint": mapped.run.checkpoint,
    }
    again = finished(prepare_run(settings_from_embeddings(before.run.store.root, own)))
    difference = raster_of(again, CONFIDENCE.file).astype(int) - calibrated
    assert np.percentile(np.abs(difference), 99) <= 2


def test_the_raster_is_the_distance_of_each_embedding(checkpoint: Checkpoint) -> None:
    sample = checkpoint.training_sample
    assert sample is not None
    land, series = sample_series(9, 300)
    embeddings = embed_all(checkpoint, series)
    percent = TrainingDistance(sample, torch.device("cpu")).percent(embeddings).numpy()
    unknown = land >= np.median(sample_series(3, 600)[0])
    assert percent[unknown].mean() > percent[~unknown].mean() + 50


def test_a_checkpoint_without_a_sample_is_refused_before_anything_is_computed(
    sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    prepare = preparing(sample_archive, load_checkpoint("sample"), tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"has no training_embeddings.safetensors.*pretrain"):
        prepare(unlike_training=True)
    prepare = preparing(sample_archive, checkpoint, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"is of series of 12 steps, and steps is 4"):
        prepare(unlike_training=True, steps=4, allow_untrained_steps=True)
    assert not (tmp_path / "run").exists()


def test_runs_without_it_keep_their_fingerprint(
    sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    run = preparing(sample_archive, checkpoint, tmp_path / "a")().run.manifest
    with_it = preparing(sample_archive, checkpoint, tmp_path / "b")(unlike_training=True)
    assert "unlike_training" not in run.parts
    assert with_it.run.manifest.parts["unlike_training"] is True
    assert with_it.run.manifest.fingerprint != run.fingerprint
