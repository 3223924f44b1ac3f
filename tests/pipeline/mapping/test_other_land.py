"""What a run says of land that none of its words stands for, and what words of background do."""

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio

from models.encoder.checkpoint import load_checkpoint
from models.errors import VocabularyError
from models.vocabulary.vocabulary import NONE
from pipeline.layout import OTHER_LAND_FILE, REPORT, cell_key
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.embedding_source import settings_from_embeddings
from pipeline.mapping.prepare import prepare_run
from pipeline.mapping.publish import publish, published_run
from pipeline.mapping.run import PreparedRun
from pipeline.product.cell_report import CellReport
from pipeline.product.committed_cells import finished_items
from pipeline.product.layers import CLASS
from pipeline.product.report import Summary
from pipeline.product.report_markdown import summary_markdown
from pipeline.sample.archive import SampleArchive
from tests.pipeline.cell_runs import preparing

WORDS = "leafy forest, arable field"  # the sample has meadows, water and a town as well


def finished(prepared: PreparedRun) -> tuple[PreparedRun, Summary, np.ndarray]:
    """The run with its first cell made and published, its summary, and the cell's classes."""
    cell = prepared.cells[0]
    cell_graph(cell, prepared.items_of(cell), prepared.run).compute(scheduler="threads")
    summary = publish(published_run(prepared))
    content = prepared.run.store.read(cell_key(cell.tile.name, cell.id, CLASS.file))
    with rasterio.open(io.BytesIO(content)) as raster:
        return prepared, summary, raster.read(1)


@pytest.fixture(scope="module")
def mapped(
    sample_archive: SampleArchive, tmp_path_factory: pytest.TempPathFactory
) -> tuple[PreparedRun, Summary, np.ndarray]:
    out = tmp_path_factory.mktemp("mapped") / "run"
    prepare = preparing(sample_archive, load_checkpoint("sample"), out)
    return finished(prepare(keep_embeddings=True, cell_size=256, vocabulary=None, classes=WORDS))


def reclassified(
    mapped: PreparedRun, out: Path, **own: str
) -> tuple[PreparedRun, Summary, np.ndarray]:
    settings = settings_from_embeddings(mapped.run.store.root, {"out": str(out), **own})
    return finished(prepare_run(settings))


def test_a_run_tells_of_other_land(mapped: tuple[PreparedRun, Summary, np.ndarray]) -> None:
    prepared, summary, classes = mapped
    run = prepared.run
    assert run.other_land is not None
    assert {"Permanent water bodies", "Grassland", "Built-up"} <= {*run.other_land.names}
    assert not {"Tree cover", "Cropland"} & {*run.other_land.names}
    assert OTHER_LAND_FILE in run.manifest.files
    (item,) = finished_items(run.store, run.manifest.fingerprint)
    report = CellReport.from_item(item)
    assert report.other_land is not None
    for value, names in report.other_land.items():
        assert 0 < sum(names.values()) <= np.count_nonzero(classes == value)
    (worst, *_) = summary.other_land
    assert worst.share >= 0.25
    said = " ".join(run.store.read(REPORT).decode().split())
    assert "Some classes may be other land" in said
    assert str(worst) in said
    assert str(worst).replace("|", "\\|") in summary_markdown(summary)


def test_kept_embeddings_say_nearly_the_same(
    mapped: tuple[PreparedRun, Summary, np.ndarray], tmp_path: Path
) -> None:
    other, again, _ = reclassified(mapped[0], tmp_path / "again", classes=WORDS)
    assert "The year in true colour" in other.run.store.read(REPORT).decode(), "the first run's"
    for one, other in zip(mapped[1].other_land, again.other_land, strict=True):
        assert one.name == other.name
        assert one.share == pytest.approx(other.share, abs=0.02)


def test_background_is_none_of_the_classes(
    mapped: tuple[PreparedRun, Summary, np.ndarray], tmp_path: Path
) -> None:
    words = "water, town, meadow"
    prepared, summary, classes = reclassified(
        mapped[0], tmp_path / "with", classes=WORDS, background=words
    )
    none = prepared.run.vocabulary.none_value
    assert prepared.run.vocabulary.background == ("water", "town", "meadow")
    assert np.count_nonzero(classes == none) > 0
    assert NONE in {area.name for area in summary.areas if area.hectares}
    shares = {one.name: one.share for one in mapped[1].other_land}
    assert all(one.share <= shares.get(one.name, 1) for one in summary.other_land)
    assert prepared.run.manifest.fingerprint != mapped[0].run.manifest.fingerprint


def test_a_threshold_of_the_settings(
    mapped: tuple[PreparedRun, Summary, np.ndarray], tmp_path: Path
) -> None:
    own = {"classes": WORDS, "threshold": "0.999"}
    prepared, _, classes = reclassified(mapped[0], tmp_path / "with", **own)
    assert {*np.unique(classes)} <= {0, prepared.run.vocabulary.none_value}


def test_words_for_all_land_leave_nothing_out(
    mapped: tuple[PreparedRun, Summary, np.ndarray], tmp_path: Path
) -> None:
    prepared, summary, _ = reclassified(mapped[0], tmp_path / "all", vocabulary="esa-worldcover")
    assert prepared.run.other_land is None
    assert not prepared.run.store.exists(OTHER_LAND_FILE)
    assert summary.other_land == ()
    assert "Some classes may be other land" not in prepared.run.store.read(REPORT).decode()


def test_background_that_is_a_class_is_refused(
    mapped: tuple[PreparedRun, Summary, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(VocabularyError, match="'arable field' also means a class"):
        reclassified(mapped[0], tmp_path / "with", classes=WORDS, background="arable field")
