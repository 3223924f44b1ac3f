"""Embeddings kept as int8: what is lost, what the file is, and a new map made of them."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.shutil import copy

from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.inference import PixelEncoder
from models.encoder.quantised_embeddings import quantised, restored
from pipeline.classification.embedding_files import (
    embedding_blocks,
    embeddings_tif,
    read_embeddings,
)
from pipeline.classification.similarity import open_embedded_run, write_similarity
from pipeline.errors import OutputError
from pipeline.grid.cell_blocks import Block
from pipeline.io.store import Store
from pipeline.layout import ITEM, ITEMS_FILE, REPORT, cell_key
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.embedding_source import settings_from_embeddings
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.publish import publish, published_run
from pipeline.mapping.run import PreparedRun
from pipeline.product.cell_report import CellReport
from pipeline.product.committed_cells import finished_cells, finished_items
from pipeline.product.layers import (
    CLASS,
    CLEAR_OBSERVATIONS,
    CONFIDENCE,
    TOP_CLASSES,
    TOP_CONFIDENCES,
)
from pipeline.sample.archive import SampleArchive
from tests.pipeline.cell_runs import Prepare, preparing, random_checkpoint


@given(st.integers(0, 2**31), st.sampled_from([2, 16, 384, 512]))
def test_quantising_keeps_directions(seed: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    spread = rng.exponential(size=(40, dim)) if seed % 2 else 1.0
    embeddings = torch.from_numpy(rng.normal(size=(40, dim)) * spread)
    embeddings = torch.nn.functional.normalize(embeddings, dim=1).float()
    stored = quantised(embeddings)
    assert stored.dtype == torch.int8
    assert (stored.abs().amax(dim=1) == 127).all()
    again = restored(stored)
    assert again.dtype == torch.float32
    assert torch.allclose(torch.linalg.vector_norm(again, dim=1), torch.ones(40), atol=1e-6)
    # No number is off by more than half a step, of 1/127 of the largest.
    step = embeddings.abs().amax(dim=1, keepdim=True) / 127
    assert ((stored * step - embeddings).abs() <= step * 0.5001).all()
    assert ((again - embeddings).norm(dim=1) <= step[:, 0] * dim**0.5).all()


def test_nodata_stays_nodata() -> None:
    stored = torch.zeros(3, 8, dtype=torch.int8)
    assert not restored(stored).any()


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(-127, 128, (150, 70, 24)).astype(np.int8)
    content = embeddings_tif(stored, Affine(10, 0, 600000, 0, -10, 5700000), 32631, {"A": "b"})
    (tmp_path / "e.tif").write_bytes(content)
    found = read_embeddings(Store(str(tmp_path)), "e.tif", Block(0, 0, 150, 70))
    np.testing.assert_array_equal(found, stored.transpose(2, 0, 1))
    with rasterio.open(tmp_path / "e.tif") as raster:
        assert raster.crs.to_epsg() == 32631
        assert raster.transform == Affine(10, 0, 600000, 0, -10, 5700000)
        assert raster.nodata == 0
        assert raster.interleaving.name == "pixel"
        assert raster.block_shapes[0] == (128, 128)
        assert raster.tags()["A"] == "b"


def test_an_embedding_that_is_no_number_is_stored_as_nodata() -> None:
    embeddings = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
    embeddings[1, 2], embeddings[2] = torch.nan, torch.inf
    stored = quantised(embeddings)
    assert not stored[1:3].any()
    assert stored[[0, 3]].any(dim=1).all()


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """One that tells classes apart: of random weights a rounding decides."""
    return load_checkpoint("sample")


@pytest.fixture(scope="module")
def kept(
    sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> PreparedRun:
    """A run with one finished cell and its embeddings."""
    out = tmp_path_factory.mktemp("kept") / "run"
    prepared = preparing(sample_archive, checkpoint, out)(keep_embeddings=True, cell_size=64)
    finish(prepared)
    return prepared


@pytest.fixture
def prepare(sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path: Path) -> Prepare:
    return preparing(sample_archive, checkpoint, tmp_path / "run")


def finish(prepared: PreparedRun) -> CellReport:
    """Make the run's first cell."""
    cell = prepared.cells[0]
    report: CellReport = cell_graph(cell, prepared.items_of(cell), prepared.run).compute(
        scheduler="threads"
    )
    return report


def raster_of(prepared: PreparedRun, name: str) -> np.ndarray:
    cell = prepared.cells[0]
    content = prepared.run.store.read(cell_key(cell.tile.name, cell.id, name))
    with rasterio.open(io.BytesIO(content)) as raster:
        values: np.ndarray = raster.read()
    return values


def asking(kept: PreparedRun, out: Path, **own: object) -> PreparedRun:
    return prepare_run(settings_from_embeddings(kept.run.store.root, {"out": str(out), **own}))


def test_the_same_words_give_the_same_map(kept: PreparedRun, tmp_path: Path) -> None:
    again = asking(kept, tmp_path / "again", vocabulary="sample-landscape")
    report = finish(again)
    before, after = raster_of(kept, CLASS.file), raster_of(again, CLASS.file)
    np.testing.assert_array_equal(before == 0, after == 0)
    assert (before == after)[before > 0].mean() >= 0.995
    shares = [raster_of(run, CONFIDENCE.file).astype(int) for run in (kept, again)]
    assert np.abs(shares[0] - shares[1])[before == after].max() <= 2
    np.testing.assert_array_equal(
        raster_of(kept, CLEAR_OBSERVATIONS.file), raster_of(again, CLEAR_OBSERVATIONS.file)
    )
    made = next(iter(finished_cells(kept.run.store, kept.run.manifest.fingerprint).values()))
    assert (report.acquisitions, report.observations, report.coverage) == (
        made.acquisitions,
        made.observations,
        made.coverage,
    )
    assert set(report.stats.seconds) == {"read", "classify", "write"}


def test_a_cell_of_another_run_is_not_classified(kept: PreparedRun, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(kept.run.store.root, source)
    own = {"out": str(tmp_path / "again"), "vocabulary": "sample-landscape"}
    again = prepare_run(settings_from_embeddings(str(source), own))
    cell = again.cells[0]
    item = source / cell_key(cell.tile.name, cell.id, ITEM)
    item.write_text(item.read_text().replace(kept.run.manifest.fingerprint, "0" * 64))
    with pytest.raises(OutputError, match="not of the run that was to be classified"):
        finish(again)
    (source / ITEMS_FILE).write_bytes((source / ITEMS_FILE).read_bytes()[:-1])
    with pytest.raises(OutputError, match=r"items\.parquet: the file is changed"):
        prepare_run(settings_from_embeddings(str(source), own | {"out": str(tmp_path / "b")}))


def test_other_words_give_the_map_of_a_whole_run(
    kept: PreparedRun, prepare: Prepare, tmp_path: Path
) -> None:
    words = {"classes": "forest, lake, town, road, meadow", "vocabulary": None}
    asked = asking(kept, tmp_path / "asked", classes=words["classes"])
    whole = prepare(**words, cell_size=64)
    finish(asked), finish(whole)
    one, other = raster_of(asked, CLASS.file), raster_of(whole, CLASS.file)
    np.testing.assert_array_equal(one == 0, other == 0)
    assert len(np.unique(one)) > 2
    assert (one == other)[one > 0].mean() >= 0.995
    assert asked.items == whole.items


def test_what_is_kept_is_named_in_the_item(kept: PreparedRun) -> None:
    store, cell = kept.run.store, kept.cells[0]
    (item,) = finished_items(store, kept.run.manifest.fingerprint)
    covered = np.zeros(cell.shape, int)
    for block, name in embedding_blocks(item):
        stored = read_embeddings(store, cell_key(cell.tile.name, cell.id, name), block)
        assert stored.shape[1:] == (block.height, block.width)
        covered[block.slices()] += 1
        asset = next(a for a in item["assets"].values() if a["href"] == f"./{name}")
        classes = raster_of(kept, CLASS.file)[0][block.slices()]
        np.testing.assert_array_equal(stored.any(axis=0), classes > 0)
        with rasterio.open(store.path(cell_key(cell.tile.name, cell.id, name))) as raster:
            assert list(raster.transform)[:6] == asset["proj:transform"]
    assert (covered == 1).all()


def test_a_cell_whose_embeddings_are_gone_is_made_again(
    kept: PreparedRun, prepare: Prepare, tmp_path: Path
) -> None:
    prepared = prepare(keep_embeddings=True, cell_size=64)
    finish(prepared)
    cell, store = prepared.cells[0], prepared.run.store
    assert cell not in prepared.unfinished()
    (item,) = finished_items(store, prepared.run.manifest.fingerprint)
    _, name = next(iter(embedding_blocks(item)))
    store.remove(cell_key(cell.tile.name, cell.id, name))
    assert cell in prepared.unfinished()


def test_embeddings_are_asked_for_only_where_they_are(
    kept: PreparedRun, prepare: Prepare, tmp_path: Path
) -> None:
    plain = prepare(cell_size=64)
    with pytest.raises(OutputError, match="kept no embeddings"):
        asking(plain, tmp_path / "a", classes="a, b")
    with pytest.raises(OutputError, match="there is no run here"):
        settings_from_embeddings(str(tmp_path), {"out": "x", "classes": "a, b"})
    asked = asking(kept, tmp_path / "b", classes="a, b")
    other = asked.cells[1]
    with pytest.raises(OutputError, match="has not finished this cell"):
        cell_graph(other, asked.items_of(other), asked.run).compute(scheduler="threads")


def test_embeddings_of_another_checkpoint_are_refused(kept: PreparedRun, tmp_path: Path) -> None:
    other = random_checkpoint(tmp_path / "random")
    with pytest.raises(
        OutputError, match=r"its embeddings are not those of the new run \(checkpoint: sample .* → "
    ):
        asking(kept, tmp_path / "c", classes="a, b", checkpoint=str(other.path))


def test_a_file_that_is_damaged_or_of_another_size_is_named(tmp_path: Path) -> None:
    store, block = Store(str(tmp_path)), Block(0, 0, 20, 30)
    stored = np.ones((20, 30, 4), np.int8)
    grid = Affine(10, 0, 600000, 0, -10, 5700000)
    (tmp_path / "sound.tif").write_bytes(embeddings_tif(stored, grid, 32631, {}))
    (tmp_path / "e.tif").write_bytes(json.dumps({"no": "raster"}).encode())
    assert read_embeddings(store, "sound.tif", block, 4).shape == (4, 20, 30)
    for key, of, dim in (
        ("e.tif", block, None),
        ("none.tif", block, None),
        ("sound.tif", Block(0, 0, 20, 20), None),
        ("sound.tif", block, 5),
    ):
        with pytest.raises(OutputError, match=r"no embeddings of 20 × .* can be read"):
            read_embeddings(store, key, of, dim)


def test_kept_embeddings_are_no_door_to_other_files(tmp_path: Path) -> None:
    """GDAL reads a VRT whatever its name is, and with it the file that it names."""
    stored = np.ones((20, 30, 4), np.int8)
    grid = Affine(10, 0, 600000, 0, -10, 5700000)
    secret = tmp_path / "secret.tif"
    secret.write_bytes(embeddings_tif(stored, grid, 32631, {}))
    copy(secret, tmp_path / "e.tif", driver="VRT")
    with rasterio.open(tmp_path / "e.tif") as raster:
        assert raster.read().any()
    with pytest.raises(OutputError, match="can be read"):
        read_embeddings(Store(str(tmp_path)), "e.tif", Block(0, 0, 20, 30))


@pytest.mark.parametrize(
    "change",
    [
        lambda assets: assets.pop("embeddings-0000-0032"),
        lambda assets: assets["embeddings-0000-0032"].update({"proj:shape": [64, 31]}),
        lambda assets: assets["embeddings-0000-0032"].update({"timesen:block": [0, 0]}),
        lambda assets: assets["embeddings-0000-0032"].update({"timesen:block": 5}),
        lambda assets: assets["embeddings-0000-0032"].update({"href": "../../other.tif"}),
    ],
)
def test_blocks_that_are_not_the_cell_are_refused(
    change: Callable[[dict[str, Any]], object],
) -> None:
    def asset(column: int) -> dict[str, Any]:
        return {
            "href": f"./embeddings-0000-{column:04}.tif",
            "proj:shape": [64, 32],
            "timesen:block": [0, column],
        }

    assets = {f"embeddings-0000-{column:04}": asset(column) for column in (0, 32)}
    item = {"id": "31UFS-00-00", "properties": {"proj:shape": [64, 64]}, "assets": assets}
    assert len(embedding_blocks(item)) == 2
    change(assets)
    with pytest.raises(OutputError, match="which file of embeddings is of which part"):
        embedding_blocks(item)


def test_classes_in_order(kept: PreparedRun, prepare: Prepare, tmp_path: Path) -> None:
    whole = prepare(cell_size=64, top_k=3)
    finish(whole)
    ranked, shares = (
        raster_of(whole, TOP_CLASSES.file),
        raster_of(whole, TOP_CONFIDENCES.file).astype(int),
    )
    assert (len(ranked), len(shares)) == (3, 4)
    np.testing.assert_array_equal(ranked[0], raster_of(whole, CLASS.file)[0])
    np.testing.assert_array_equal(shares[0], raster_of(whole, CONFIDENCE.file)[0])
    seen = ranked[0] > 0
    assert (shares[:, ~seen] == 255).all()
    np.testing.assert_array_equal(shares[3][seen], (shares[0] - shares[1])[seen])
    assert (ranked[0] != ranked[1])[seen].all()
    (item,) = finished_items(whole.run.store, whole.run.manifest.fingerprint)
    assert {"top-classes", "top-confidences"} <= item["assets"].keys()
    asked = asking(kept, tmp_path / "asked", vocabulary="sample-landscape", top_k=3)
    finish(asked)
    assert (raster_of(asked, TOP_CLASSES.file) == ranked)[0][seen].mean() >= 0.995


def test_embeddings_of_seasons_are_not_taken_for_those_of_months(
    prepare: Prepare, tmp_path: Path
) -> None:
    seasons = prepare(keep_embeddings=True, cell_size=64, steps=4, allow_untrained_steps=True)
    finish(seasons)
    with pytest.raises(OutputError, match="steps: 4 → 12"):
        asking(seasons, tmp_path / "months", classes="a, b", steps=12)
    assert asking(seasons, tmp_path / "seasons", classes="a, b").run.settings.steps == 4


def test_pixels_without_a_valid_embedding_are_counted_and_nodata(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = PixelEncoder.embed

    def overflowing(self: PixelEncoder, *args: Any, **options: Any) -> torch.Tensor:
        embeddings = embed(self, *args, **options).clone()
        embeddings[::10] = torch.nan  # what an overflow of float16 leaves, which a CPU has not
        return embeddings

    monkeypatch.setattr(PixelEncoder, "embed", overflowing)
    prepared = prepare(keep_embeddings=True, cell_size=64, top_k=2)
    report = finish(prepared)
    classes = raster_of(prepared, CLASS.file)
    assert report.invalid_embeddings >= sum(report.pixels.values()) / 10
    assert report.nodata == (classes == 0).sum() >= report.invalid_embeddings
    (item,) = finished_items(prepared.run.store, prepared.run.manifest.fingerprint)
    assert item["properties"]["timesen:invalid_embeddings"] == report.invalid_embeddings
    summary = publish(published_run(prepared))
    assert summary.invalid_embeddings == report.invalid_embeddings
    page = prepared.run.store.read(REPORT).decode()
    assert f"{report.invalid_embeddings:,} pixels" in page
    again = asking(prepared, tmp_path / "again", vocabulary="sample-landscape", top_k=2)
    assert finish(again).invalid_embeddings == report.invalid_embeddings
    np.testing.assert_array_equal(raster_of(again, CLASS.file) == 0, classes == 0)
    item_values = write_similarity(
        open_embedded_run(prepared.run.store.root),
        item,
        np.eye(1, 384, dtype=np.float32)[0],
        Store(str(tmp_path / "like")),
    )
    assert item_values.sum() == (classes > 0).sum()
