"""Heat maps: the cosine of a run's kept embeddings to words, or to a pixel."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from pyproj import Transformer

from models.encoder.checkpoint import Checkpoint
from pipeline.classification.embedding_files import embedding_blocks, read_embeddings
from pipeline.classification.similarity import (
    EmbeddedRun,
    embedding_at,
    open_embedded_run,
    publish_similarity,
    similarities,
    write_similarity,
)
from pipeline.errors import OutputError, RegionError
from pipeline.io.store import Store
from pipeline.layout import cell_key
from pipeline.mapping.cell_graph import cell_graph
from pipeline.product.layers import CLASS, SIMILARITY
from pipeline.sample.archive import SampleArchive
from tests.pipeline.cell_runs import preparing, random_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "random")


@pytest.fixture(scope="module")
def run(
    sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> EmbeddedRun:
    """A run of two finished cells."""
    out = tmp_path_factory.mktemp("kept") / "run"
    prepared = preparing(sample_archive, checkpoint, out)(keep_embeddings=True, cell_size=64)
    for cell in prepared.cells[:2]:
        cell_graph(cell, prepared.items_of(cell), prepared.run).compute(scheduler="threads")
    return open_embedded_run(str(out))


def test_numbers_are_cosines() -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(-127, 128, (16, 70, 30)).astype(np.int8)
    stored[:, 5, 7] = 0
    asked = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=16)), dim=0).float()
    found = similarities(stored, asked)
    assert found[5, 7] == SIMILARITY.nodata
    for row, column in ((0, 0), (69, 29), (33, 3)):
        vector = stored[:, row, column].astype(float)
        cosine = float(vector @ asked.numpy()) / float(np.linalg.norm(vector))
        assert abs(int(found[row, column]) - max(cosine, 0) * 10_000) <= 1


def test_what_is_like_a_pixel_is_most_like_it_there(run: EmbeddedRun, tmp_path: Path) -> None:
    item = run.items[1]
    properties = item["properties"]
    classes = run.store.read(cell_key(properties["timesen:tile"], item["id"], CLASS.file))
    with rasterio.MemoryFile(classes).open() as raster:
        rows, columns = np.nonzero(raster.read(1))
        row, column = rows[len(rows) // 2], columns[len(rows) // 2]
        x, y = raster.xy(row, column)
    lon, lat = Transformer.from_crs(properties["proj:code"], 4326, always_xy=True).transform(x, y)
    wanted = embedding_at(run, lon, lat)
    assert abs(np.linalg.norm(wanted) - 1) < 1e-5
    block, name = next(
        (block, name)
        for block, name in embedding_blocks(item)
        if block.row <= row < block.row + block.height
        and block.column <= column < block.column + block.width
    )
    key = cell_key(properties["timesen:tile"], item["id"], name)
    stored = read_embeddings(run.store, key, block)[:, row - block.row, column - block.column]
    np.testing.assert_allclose(wanted, stored / np.linalg.norm(stored.astype(float)), atol=1e-6)

    out = Store(str(tmp_path / "like"))
    counts = sum((write_similarity(run, it, wanted, out) for it in run.items), np.zeros(1, int))
    low, high = publish_similarity(run, counts, {"like": f"{lon},{lat}"}, out)
    assert 0 <= low < high <= 1
    with rasterio.open(out.path(SIMILARITY.mosaic_file)) as mosaic:
        values = mosaic.read(1)
        assert mosaic.nodata == SIMILARITY.nodata
        assert values[mosaic.index(x, y)] >= 9_999
        assert (values != SIMILARITY.nodata).sum() == counts.sum()
    assert "singlebandpseudocolor" in out.read(SIMILARITY.style_file).decode()
    assert json.loads(out.read("question.json"))["run"] == run.manifest.fingerprint
    with rasterio.open(
        out.path(cell_key(properties["timesen:tile"], item["id"], SIMILARITY.file))
    ) as cog:
        assert list(cog.transform)[:6] == properties["proj:transform"]


def test_a_place_outside_is_refused(run: EmbeddedRun) -> None:
    with pytest.raises(RegionError, match="no embedding of this place"):
        embedding_at(run, 100.0, 10.0)


def test_a_run_without_embeddings_is_refused(
    sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    prepared = preparing(sample_archive, checkpoint, tmp_path / "run")(cell_size=64)
    with pytest.raises(OutputError, match="no cell is finished yet"):
        open_embedded_run(prepared.run.store.root)
    cell = prepared.cells[0]
    cell_graph(cell, prepared.items_of(cell), prepared.run).compute(scheduler="threads")
    with pytest.raises(OutputError, match="kept no embeddings"):
        open_embedded_run(prepared.run.store.root)
