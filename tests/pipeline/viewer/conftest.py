"""Runs to look at: one made of places in two zones, and one of the sample with all it can keep."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from starlette.testclient import TestClient

from models.encoder.checkpoint import load_checkpoint
from pipeline.layout import VOCABULARY_FILE
from pipeline.mapping.cell_graph import cell_graph
from pipeline.product.layers import OutputLayer
from pipeline.sample.archive import SampleArchive
from pipeline.viewer.app import viewer_app
from pipeline.viewer.protection import own_names
from pipeline.viewer.viewed_run import ViewedCell, ViewedRun, open_viewed_run
from tests.pipeline.cell_runs import preparing
from tests.pipeline.made_run import TWO_ZONES, make_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> ViewedRun:
    """A run over the border of zones 31 and 32: classes by coordinates, two ranks, 12 cells."""
    folder = tmp_path_factory.mktemp("viewed") / "made"
    run = make_run(str(folder), TWO_ZONES, cell_size=256, top_k=2)
    run.store.write(VOCABULARY_FILE, run.vocabulary.model_dump_json().encode())
    return open_viewed_run(str(folder))


@pytest.fixture(scope="session")
def kept_folder(sample_archive: SampleArchive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the sample landscape with its own checkpoint, embeddings and three ranks."""
    out = tmp_path_factory.mktemp("viewed") / "kept"
    make = preparing(sample_archive, load_checkpoint("sample"), out)
    prepared = make(keep_embeddings=True, top_k=3, checkpoint="sample")
    for cell in prepared.cells:
        cell_graph(cell, prepared.items_of(cell), prepared.run).compute(scheduler="threads")
    return out


@pytest.fixture(scope="session")
def kept(kept_folder: Path) -> ViewedRun:
    return open_viewed_run(str(kept_folder))


@pytest.fixture(scope="session")
def client(made: ViewedRun) -> Iterator[TestClient]:
    """A client of the viewer of the run of two zones."""
    app = viewer_app([made], own_names("127.0.0.1"))
    with TestClient(app, base_url="http://127.0.0.1:8000") as opened:
        yield opened


def place_of(cell: ViewedCell, row: int, column: int) -> tuple[float, float]:
    """The middle of a cell's pixel, in degrees."""
    x, y = cell.transform @ (column + 0.5, row + 0.5)
    lon, lat = Transformer.from_crs(cell.epsg, 4326, always_xy=True).transform(x, y)
    return float(lon), float(lat)


def band_values(run: ViewedRun, cell: ViewedCell, layer: OutputLayer) -> np.ndarray:
    """The numbers of a layer in a cell: (band, y, x)."""
    with rasterio.open(run.store.path(cell.key(layer))) as raster:
        values: np.ndarray = raster.read()
    return values
