"""One cell, whole, against the plain way: rasterio, loops and numpy, one pixel at a time."""

import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from distributed import Client, LocalCluster, Scheduler

from models.encoder.checkpoint import Checkpoint
from models.encoder.preprocessing import AUTHORS
from models.errors import CheckpointError
from models.towers.text_embeddings import embed_vocabulary
from models.towers.text_tower import load_text_tower
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.catalog.item import SCL, Item
from pipeline.grid.cells import Cell, owned_pixels
from pipeline.mapping.cell_graph import cell_graph
from pipeline.mapping.run import PreparedRun
from pipeline.observations.geometric_median import geometric_median, with_gaps_filled
from pipeline.sample.archive import SampleArchive
from tests.pipeline.cell_runs import TOWER, Prepare, preparing, random_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return random_checkpoint(tmp_path_factory.mktemp("checkpoint") / "random")


@pytest.fixture
def prepare(sample_archive: SampleArchive, checkpoint: Checkpoint, tmp_path: Path) -> Prepare:
    return preparing(sample_archive, checkpoint, tmp_path / "run")


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


def test_a_cell_agrees_with_the_plain_way(prepare: Prepare, checkpoint: Checkpoint) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    items = prepared.items_of(cell)
    keep = prepared.run.reading.masking.keep
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

    path = prepared.run.store.path(f"cells/{cell.tile.name}/{cell.id}/true_colour.tif")
    with rasterio.open(path) as raster:
        assert raster.res == (40, 40)
        assert (raster.transform.c, raster.transform.f) == cell.bounds[::3]
        coloured = raster.read()
    at = tuple(np.minimum(np.arange(2, size + 2, 4), size - 1) for size in cell.shape)
    seen = (series > 0).all(axis=(0, 3))[np.ix_(*at)] & (coloured > 0).all(axis=0)
    for colour, band in zip(coloured, ("B04", "B03", "B02"), strict=True):
        middle = np.sort(series[..., bands.index(band)], axis=0)[5][np.ix_(*at)]
        expected = np.round(255 * np.sqrt(middle / 10_000))
        np.testing.assert_array_equal(colour[seen], expected[seen])
    assert (seen >= valid[np.ix_(*at)]).all()

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
        cosine = text.cosines(embedding[None])[0]
        weights = np.exp(20 * (cosine - cosine.max()))
        # Two classes may tie to within float32's rounding: then either is right.
        chosen = classes[row, column] - 1
        assert cosine[chosen] > cosine.max() - 1e-5
        assert abs(int(confidence[row, column]) - 100 * weights.max() / weights.sum()) <= 0.51
    checkpoint.encoder.float()


def test_a_cell_keeps_its_counts_of_clear_observations(prepare: Prepare) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    items, keep = prepared.items_of(cell), prepared.run.reading.masking.keep
    report = cell_graph(cell, items, prepared.run).compute(scheduler="threads")
    months: dict[int, dict[str, np.ndarray]] = {month: {} for month in range(12)}
    for item in items:
        clear = np.isin(_on_cell(item.assets[SCL].href, cell), keep)
        of_month = months[item.datetime.month - 1]
        of_month[item.acquisition] = of_month.get(item.acquisition, False) | clear
    path = prepared.run.store.path(f"cells/{cell.tile.name}/{cell.id}/clear_observations.tif")
    with rasterio.open(path) as raster:
        assert raster.res == (20, 20)
        assert raster.bounds == cell.bounds
        assert raster.descriptions[1] == "Clear observations, February"
        counts = raster.read()
    for month, overpasses in months.items():
        expected = sum(overpasses.values(), np.zeros(cell.shape, int))
        assert len(overpasses) <= prepared.run.settings.reading.most_a_month
        np.testing.assert_array_equal(counts[month].repeat(2, 0).repeat(2, 1), expected)
    with rasterio.open(Path(path).with_name("clear_months.tif")) as raster:
        assert raster.res == (10, 10)
        assert raster.bounds == cell.bounds
        seen_in = (counts > 0).sum(axis=0).repeat(2, 0).repeat(2, 1)
        owned = owned_pixels(cell, prepared.run.region)
        np.testing.assert_array_equal(raster.read(1), np.where(owned, seen_in, 255))
    seen = [100 * float((month > 0).mean()) for month in counts]
    np.testing.assert_allclose(report.coverage, seen, atol=0.01)


def test_a_cell_of_geometric_medians(prepare: Prepare, checkpoint: Checkpoint) -> None:
    prepared = prepare(reading={"composite": "geometric-median"})
    cell = prepared.cells[0]
    items, run = prepared.items_of(cell), prepared.run
    bands = checkpoint.card.preprocessing.bands
    report = cell_graph(cell, items, run).compute(scheduler="threads")
    classes = _read(prepared, cell, "class")
    assert report.stats.seconds["composite"] > 0

    # The same from the plain parts, over the whole cell at once.
    clear = [np.isin(_on_cell(i.assets[SCL].href, cell), run.reading.masking.keep) for i in items]
    months = np.zeros((12, len(bands), *cell.shape), np.uint16)
    for month in range(12):
        of_month = [n for n, item in enumerate(items) if item.datetime.month == month + 1]
        values = [
            np.array([_reflectance(items[n], band, cell) for n in of_month]).reshape(
                -1, *cell.shape
            )
            for band in bands
        ]
        mask = np.array([clear[n] for n in of_month], bool).reshape(-1, *cell.shape)
        names = [items[n].acquisition for n in of_month]
        months[month] = geometric_median(
            [v.astype(np.uint16) for v in values], mask, np.array([names.index(a) for a in names])
        )
    series = with_gaps_filled(months).transpose(2, 3, 0, 1)
    valid = (series > 0).all(axis=(2, 3)) & owned_pixels(cell, run.region)
    assert np.array_equal(classes > 0, valid)
    rows, columns = np.nonzero(valid)
    some = np.random.default_rng(2).choice(len(rows), 2000)
    pixels = series[rows[some], columns[some]]
    with torch.inference_mode():
        embeddings = checkpoint.encoder(checkpoint.card.preprocessing.normalise(pixels))
    nearest = run.text.cosines(embeddings.numpy()).argmax(axis=1) + 1
    assert (classes[rows[some], columns[some]] == nearest).mean() > 0.999


def _reflectance(item: Item, band: str, cell: Cell) -> np.ndarray:
    asset = item.assets[band]
    stored = _on_cell(asset.href, cell).astype(int)
    return np.where(stored == 0, 0, np.maximum(stored + asset.offset, 1))


def test_a_cell_in_several_blocks_is_the_same_map(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare()
    cell = whole.cells[0]
    cell_graph(cell, whole.items_of(cell), whole.run).compute(scheduler="threads")
    monkeypatch.setattr("pipeline.mapping.cell_graph.SOURCE_BLOCK", 32)
    blocks = prepare(out=str(tmp_path / "blocks"))
    cell_graph(cell, blocks.items_of(cell), blocks.run).compute(scheduler="threads")
    for name in ("class", "confidence"):
        assert np.array_equal(_read(whole, cell, name), _read(blocks, cell, name))


def test_stages_add_up_to_the_time_that_passed(prepare: Prepare, tmp_path: Path) -> None:
    prepared = prepare(keep_embeddings=True)
    cell = max(prepared.cells, key=lambda cell: cell.height * cell.width)
    shares = []
    for attempt in range(5):  # another load on the machine may stop the clock anywhere
        graph = cell_graph(cell, prepared.items_of(cell), prepared.run)
        began = time.perf_counter()
        report = graph.compute(scheduler="synchronous", optimize_graph=False)
        passed = time.perf_counter() - began
        shares.append(sum(report.stats.seconds.values()) / passed)
        if attempt and 0.9 <= shares[-1] <= 1.1:
            break
    assert 0.9 <= shares[-1] <= 1.1, shares


def test_a_checkpoint_that_changed_meanwhile_is_refused(
    prepare: Prepare,
) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    run = replace(prepared.run, checkpoint_fingerprint="0" * 64)
    with pytest.raises(CheckpointError, match="not the checkpoint that the run began with"):
        cell_graph(cell, prepared.items_of(cell), run).compute(scheduler="threads")


def test_a_cell_without_items_is_nodata(prepare: Prepare) -> None:
    prepared = prepare()
    cell = prepared.cells[0]
    report = cell_graph(cell, (), prepared.run).compute(scheduler="threads")
    assert report.nodata == cell.height * cell.width
    assert not report.pixels


ON_ANY_WORKER = {"tuple", "masked_pixels", "wanted_pixels", "read_clear", "read_series", "commit"}


@pytest.mark.parametrize("readers", [False, True])
def test_encoding_waits_for_a_worker_with_a_gpu(prepare: Prepare, readers: bool) -> None:
    """And all else for one without, where there are such."""
    prepared = prepare()
    cell = prepared.cells[0]
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        graph = cell_graph(cell, prepared.items_of(cell), prepared.run, gpu=True, readers=readers)
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
    assert all(tasks[key] == ({"CPU"} if readers else set()) for key in others)
