"""A run's examples: embedded as the map's pixels, fitted once, kept in the folder."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyproj import Transformer
from safetensors.numpy import load_file

from models.encoder.checkpoint import Checkpoint
from pipeline.classification.similarity import embeddings_at, open_embedded_run
from pipeline.errors import OutputError
from pipeline.grid.cells import Cell, owned_pixels
from pipeline.grid.places import Places
from pipeline.layout import EXAMPLES_FILE, EXAMPLES_REPORT
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.fit_run import fitted_run
from pipeline.mapping.run import PreparedRun
from pipeline.point_series.point_file import PointsError
from pipeline.product.example_report import read_example_report
from pipeline.product.report import report_html, summarise
from pipeline.product.report_markdown import summary_markdown
from pipeline.sample.archive import SampleArchive
from tests.pipeline.cell_runs import Prepare, preparing, random_checkpoint

WORDS = {"vocabulary": None, "classes": "wheat field, forest, lake, town"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "random")


@pytest.fixture(scope="module")
def kept(
    sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> PreparedRun:
    """A run of two finished cells that kept its embeddings."""
    out = tmp_path_factory.mktemp("kept") / "run"
    prepared = preparing(sample_archive, checkpoint, out)(keep_embeddings=True, cell_size=64)
    for cell in prepared.cells[:2]:
        cell_graph(cell, prepared.items_of(cell), prepared.run).compute(scheduler="threads")
    return prepared


@pytest.fixture
def prepare(sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path: Path) -> Prepare:
    return preparing(sample_archive, checkpoint, tmp_path / "run")


def places_in(kept: PreparedRun, cell: Cell, count: int) -> Places:
    """Centres of some pixels of a cell that the run maps, drawn at random."""
    rows, columns = np.nonzero(owned_pixels(cell, kept.run.region))
    chosen = np.random.default_rng(0).integers(0, len(rows), count)
    x, y = cell.transform @ (columns[chosen] + 0.5, rows[chosen] + 0.5)
    to_degrees = Transformer.from_crs(cell.epsg, 4326, always_xy=True)
    return Places(*to_degrees.transform(x, y))


def embedded_places(kept: PreparedRun, count: int) -> tuple[Places, np.ndarray]:
    """Places of the finished cells that have an embedding, and the embeddings."""
    drawn = [places_in(kept, cell, 4 * count) for cell in kept.cells[:2]]
    places = Places(*(np.concatenate([getattr(p, axis) for p in drawn]) for axis in ("lon", "lat")))
    stored, inside = embeddings_at(open_embedded_run(kept.run.store.root), places)
    assert inside.all()
    valid = np.flatnonzero(stored.any(axis=1))
    chosen = valid[:: len(valid) // count][:count]
    return Places(places.lon[chosen], places.lat[chosen]), stored[chosen]


def write_points(path: Path, places: Places, labels: list[str]) -> str:
    rows = zip(places.lon, places.lat, labels, strict=True)
    path.write_text("lon,lat,cover\n" + "".join(f"{x:.8f},{y:.8f},{c}\n" for x, y, c in rows))
    return str(path)


def test_embeddings_of_read_points_are_those_of_the_map(
    kept: PreparedRun, prepare: Prepare, tmp_path: Path
) -> None:
    places, stored = embedded_places(kept, 12)
    labels = ["lake", "forest"] * 6
    examples = write_points(tmp_path / "points.csv", places, labels)
    fitted = fitted_run(prepare(**WORDS, cell_size=64, examples=examples, label="cover"))
    tensors = load_file(fitted.run.store.path(EXAMPLES_FILE))
    # The file of embeddings is of int8, and gaps are filled from months instead of observations.
    cosines = (tensors["embeddings"] * stored).sum(axis=1)
    assert np.median(cosines) > 0.99
    assert tensors["classes"].tolist() == [2, 1] * 6


def test_a_run_of_embeddings_takes_its_examples_from_them(
    kept: PreparedRun, prepare: Prepare, tmp_path: Path
) -> None:
    source = kept.run.store.root
    places, stored = embedded_places(kept, 40)
    # The labels follow the embeddings, which words of a random encoder know nothing of.
    labels = np.where(stored @ (stored[0] - stored[1]) > 0, "lake", "town").tolist()
    # One more lies in a cell that is not finished.
    beyond = places_in(kept, kept.cells[-1], 1)
    places = Places(np.append(places.lon, beyond.lon), np.append(places.lat, beyond.lat))
    examples = write_points(tmp_path / "points.csv", places, [*labels, "lake"])
    given = {**WORDS, "cell_size": 64, "embeddings": source}
    prepared = prepare(**given, examples=examples, label="cover")
    with pytest.raises(ValueError, match="must be fitted"):
        prepared.run.classifier(torch.device("cpu"))
    fitted = fitted_run(prepared)
    report = read_example_report(fitted.run.store, fitted.run.manifest.fingerprint)
    assert report is not None
    assert report.by_class == {
        "wheat field": 0, "forest": 0, "lake": labels.count("lake"), "town": labels.count("town"),
    }  # fmt: skip
    assert report.without == ("wheat field", "forest")
    assert report.outside == 1
    assert fitted.run.examples is not None

    # A run that is continued takes what is there, whatever has become of the other run.
    again = fitted_run(replace(prepared, run=replace(prepared.run)))
    assert again.run.examples is not None
    assert again.run.examples.weight == fitted.run.examples.weight
    if fitted.run.examples.cache is not None and again.run.examples.cache is not None:
        assert again.run.examples.cache.values.equal(fitted.run.examples.cache.values)

    # A file of other examples is not used with the report of these.
    file = Path(fitted.run.store.path(EXAMPLES_FILE))
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")
    fitted_run(prepared)
    assert file.read_bytes() == whole
    file.write_bytes(whole[:-1] + b"?")
    cell = prepared.cells[0]
    cell_graph(cell, prepared.items_of(cell), fitted.run).compute(scheduler="threads")
    with pytest.raises(OutputError, match="finished cells were made with that"):
        fitted_run(prepared)
    file.write_bytes(whole)

    summary = summarise(
        fitted.run.store, fitted.run.manifest, [], fitted.run.vocabulary, fitted.run.card, 1
    )
    html = report_html(summary, None, fitted.run.store)
    assert "No example: wheat field, forest." in html
    assert report.summary.split(";")[0] in html
    assert report.summary.split(";")[0] in summary_markdown(summary)
    assert json.loads(fitted.run.store.read(EXAMPLES_REPORT))["label"] == "cover"


def test_examples_are_part_of_the_fingerprint(
    kept: PreparedRun, prepare: Prepare, tmp_path: Path
) -> None:
    places = embedded_places(kept, 4)[0]
    examples = write_points(tmp_path / "a.csv", places, ["lake", "town"] * 2)
    others = write_points(tmp_path / "b.csv", places, ["town", "lake"] * 2)
    plain = prepare(**WORDS, cell_size=64).run.manifest
    assert "examples" not in plain.parts
    one = prepare(**WORDS, cell_size=64, examples=examples, label="cover").run.manifest
    other = prepare(**WORDS, cell_size=64, examples=others, label="cover").run.manifest
    assert len({plain.fingerprint, one.fingerprint, other.fingerprint}) == 3
    moved = tmp_path / "moved.csv"
    moved.write_bytes(Path(examples).read_bytes())
    same = prepare(**WORDS, cell_size=64, examples=str(moved), label="cover").run.manifest
    assert same.fingerprint == one.fingerprint


def test_examples_without_any_embedding_are_a_mistake(
    kept: PreparedRun, prepare: Prepare, tmp_path: Path
) -> None:
    examples = write_points(
        tmp_path / "a.csv", places_in(kept, kept.cells[-1], 2), ["lake", "town"]
    )
    prepared = prepare(
        **WORDS, cell_size=64, embeddings=kept.run.store.root, examples=examples, label="cover"
    )
    with pytest.raises(PointsError, match="2 lie in no cell of the run"):
        fitted_run(prepared)


def test_a_run_that_kept_no_embeddings_gives_no_examples(
    prepare: Prepare, kept: PreparedRun, tmp_path: Path
) -> None:
    examples = write_points(tmp_path / "a.csv", embedded_places(kept, 2)[0], ["lake", "town"])
    with pytest.raises(OutputError, match="there is no run here"):
        prepare(
            **WORDS,
            cell_size=64,
            embeddings=str(tmp_path / "nothing"),
            examples=examples,
            label="cover",
        )
