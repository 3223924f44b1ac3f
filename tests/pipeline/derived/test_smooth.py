"""Smoothed runs: seamless, whole, and beside the raw one."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from flows.cli.main import run as timesen
from models.errors import UserError
from pipeline.areas.class_areas import class_areas_in
from pipeline.derived.derived_run import open_source_run
from pipeline.derived.lattice import CellLattice
from pipeline.derived.majority import majority_of, without_small_patches
from pipeline.derived.smooth import smooth_run, smoothed_cell
from pipeline.derived.smoothing import (
    BayesianSmoothing,
    MajoritySmoothing,
    Smoothing,
    UnitSmoothing,
)
from pipeline.evaluation.reference_sample import draw_sample
from pipeline.io.store import Store
from pipeline.layout import VOCABULARY_FILE, cell_key
from pipeline.product.committed_cells import finished_items
from pipeline.product.layers import CLASS, CONFIDENCE, TOP_CLASSES
from pipeline.product.ledger import read_run
from pipeline.product.ownership import claimed
from pipeline.product.read_layer import read_layer
from tests.pipeline.derived.conftest import FOUR_TILES
from tests.pipeline.made_run import VOCABULARY, MadeRun, cell_rasters, make_run
from tests.stac_validation import validate

Noisy = Callable[..., MadeRun]
METHODS: list[Smoothing] = [MajoritySmoothing(5), UnitSmoothing(0.06), BayesianSmoothing(5, 2.0)]


def items_of(store: Store) -> list[dict[str, Any]]:
    return finished_items(store, read_run(store).fingerprint)


def in_one_piece(
    items: Sequence[Mapping[str, Any]], values: Sequence[np.ndarray], epsg: int
) -> tuple[np.ndarray, list[float]]:
    """The values of a zone's cells in one array, and its left edge and top in pixels."""
    own = [k for k, item in enumerate(items) if item["properties"]["proj:epsg"] == epsg]
    edges = np.array([items[k]["properties"]["proj:bbox"] for k in own]) / 10
    left, low, right, top = *edges[:, :2].min(axis=0), *edges[:, 2:].max(axis=0)
    whole = np.zeros((round(top - low), round(right - left)), np.uint8)
    for k, (first, _, _, high) in zip(own, edges, strict=True):
        row, column = round(top - high), round(first - left)
        part = whole[row : row + values[k].shape[0], column : column + values[k].shape[1]]
        np.maximum(part, values[k], out=part)
    return whole, [left, top]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.facts["method"])
def test_no_seam_of_cells_tiles_or_zones_shows(noisy: Noisy, method: Smoothing) -> None:
    """Cells of 64 pixels and cells as large as their tiles give the same map, pixel for pixel."""
    maps = []
    for size in (64, 2048):
        source = open_source_run(noisy(size).store.root)
        lattice = CellLattice(source.store, source.items)
        assert len({item["properties"]["timesen:tile"] for item in source.items}) == 4
        cells = [smoothed_cell(source, lattice, item, method, 1) for item in source.items]
        smoothed = [cell.rasters[CLASS.name][0] for cell in cells]
        raws = [read_layer(source.store, item, CLASS)[0] for item in source.items]
        maps.append([])
        for zone in (32631, 32632):
            smooth, corner = in_one_piece(source.items, smoothed, zone)
            raw, _ = in_one_piece(source.items, raws, zone)
            np.testing.assert_array_equal(smooth > 0, raw > 0)
            assert (smooth != raw).mean() > 0.02
            maps[-1].append((smooth, corner))
            if not isinstance(method, BayesianSmoothing):
                require_plain(method, raw, smooth, zone)
    for (few, at_few), (many, at_many) in zip(*maps, strict=True):
        assert at_few == at_many
        np.testing.assert_array_equal(few, many)


def require_plain(method: Smoothing, raw: np.ndarray, smooth: np.ndarray, zone: int) -> None:
    """The map of a zone is that of its raw classes in one piece, away from the other zone."""
    padded = np.pad(raw, method.halo)
    if isinstance(method, MajoritySmoothing):
        plain = majority_of(padded, method.window)
    else:
        assert isinstance(method, UnitSmoothing)
        plain = without_small_patches(padded, method.pixels, method.halo)
    owned = np.flatnonzero((raw > 0).any(axis=0))
    border = slice(None, -1 - method.halo) if zone == 32631 else slice(method.halo + 1, None)
    columns = owned[border]
    columns = columns[20:-20]  # the border runs obliquely
    np.testing.assert_array_equal(smooth[:, columns], plain[:, columns])


def test_a_zones_border_counts_its_neighbours(noisy: Noisy, tmp_path: Path) -> None:
    """Without the other zone's pixels, those at the border would differ."""
    made = noisy(2048)
    lattice = CellLattice(made.store, made.items)
    for item in made.items:
        found = lattice.around(item, 3, [CLASS])[CLASS.name][0]
        assert found.shape == tuple(side + 6 for side in item["properties"]["proj:shape"])
        raw = CellLattice(made.store, [item]).around(item, 3, [CLASS])[CLASS.name][0]
        assert (found > 0).sum() > (raw > 0).sum()
        np.testing.assert_array_equal(found[raw > 0], raw[raw > 0])


def test_a_smoothed_run_is_a_run(noisy: Noisy, tmp_path: Path) -> None:
    made = noisy(2048)
    before = {key: made.store.read(key) for key in made.store.keys("")}
    source = open_source_run(made.store.root)
    store = smooth_run(source, MajoritySmoothing(3), str(tmp_path / "smooth"))
    assert {key: made.store.read(key) for key in made.store.keys("")} == before
    run, items = read_run(store), items_of(store)
    assert len(items) == len(made.items)
    assert run.parts["derived"]["of"][0]["run"] == made.run.fingerprint
    item = json.loads(
        store.read(cell_key(items[0]["properties"]["timesen:tile"], items[0]["id"], "item.json"))
    )
    validate(item)
    validate(json.loads(store.read("collection.json")))
    assert "the majority of 3 × 3 pixels" in item["properties"]["processing:lineage"]
    assert "before its neighbours counted" in item["assets"]["confidence"]["description"]
    path = store.path(cell_key(item["properties"]["timesen:tile"], item["id"], CLASS.file))
    assert cog_validate(path)[0]
    with rasterio.open(store.path("class.vrt")) as mosaic:
        assert mosaic.read(1).any()
    assert store.exists("preview.png")
    assert TOP_CLASSES.name not in item["assets"]
    raw_areas = class_areas_in(made.store, made.items, VOCABULARY).mapped
    areas = class_areas_in(store, items, VOCABULARY).mapped
    assert areas.sum() == pytest.approx(raw_areas.sum())
    assert np.abs(areas - raw_areas).max() > 0
    assert len(draw_sample(store, items, VOCABULARY, 60).lon) == 60
    # Started again, it goes on; with another method the folder is another run's.
    stamp = Path(path).stat().st_mtime_ns
    smooth_run(source, MajoritySmoothing(3), str(tmp_path / "smooth"))
    assert Path(path).stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match=r"another run, whose results would differ .*window: 3 → 5"):
        smooth_run(source, MajoritySmoothing(5), str(tmp_path / "smooth"))
    with pytest.raises(UserError, match="this is the run itself"):
        smooth_run(source, MajoritySmoothing(5), made.store.root)


def test_a_folder_that_another_process_holds_is_left_alone(noisy: Noisy, tmp_path: Path) -> None:
    source, out = open_source_run(noisy(2048).store.root), Store(str(tmp_path / "held"))
    with claimed(out, "another plan"):
        before = {key: out.read(key) for key in out.keys("")}
        with pytest.raises(UserError, match="another process plans or maps in it"):
            smooth_run(source, MajoritySmoothing(3), out.root)
        assert {key: out.read(key) for key in out.keys("")} == before


def test_confidence_after_a_majority_is_the_raw_one_of_that_class(
    noisy: Noisy, tmp_path: Path
) -> None:
    made = noisy(2048)
    store = smooth_run(open_source_run(made.store.root), MajoritySmoothing(5), str(tmp_path / "s"))
    (item, *_), raw_store = items_of(store), made.store
    tile, cell = item["properties"]["timesen:tile"], item["id"]

    def read(of: Store, name: str) -> np.ndarray:
        with rasterio.open(of.path(cell_key(tile, cell, name))) as raster:
            return raster.read()

    classes, percents = read(store, "class.tif")[0], read(store, "confidence.tif")[0]
    ranks, shares = read(raw_store, "top_classes.tif"), read(raw_store, "top_confidences.tif")
    for rank in (0, 1):
        same = (classes > 0) & (ranks[rank] == classes)
        assert same.any()
        assert (percents[same] == shares[rank][same]).all()
    other = (classes > 0) & (ranks != classes).all(axis=0)
    rest = (100 - shares[:2].sum(axis=0, dtype=int)) / 3  # three classes of five are not ranked
    assert other.any()
    assert np.abs(percents[other] - rest[other]).max() <= 0.5


def test_bayes_keeps_ranks_and_mends_noise(noisy: Noisy, tmp_path: Path) -> None:
    made = noisy(2048)
    source = open_source_run(made.store.root)
    store = smooth_run(source, BayesianSmoothing(5, 10.0), str(tmp_path / "bayes"))
    (item, *_) = items_of(store)
    assert {"top-classes", "top-confidences"} <= set(item["assets"])
    right: Mapping[str, list[float]] = {"raw": [], "smooth": []}
    for of, name in ((made.store, "raw"), (store, "smooth")):
        for one in items_of(of):
            cell = next(cell for cell in made.cells if cell.id == one["id"])
            truth, _ = cell_rasters(cell, FOUR_TILES)
            with rasterio.open(of.path(cell_key(cell.tile.name, cell.id, CLASS.file))) as raster:
                right[name].append(float((raster.read(1) == truth)[truth > 0].mean()))
    assert np.mean(right["raw"]) == pytest.approx(0.85, abs=0.01)
    assert np.mean(right["smooth"]) > 0.95


def test_bayes_needs_ranks(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"))
    made.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    source = open_source_run(made.store.root)
    with pytest.raises(UserError, match=r"keeps only that of the class shown\. Map with --top-k 8"):
        smooth_run(source, BayesianSmoothing(), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command(noisy: Noisy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, out = noisy(2048), str(tmp_path / "out")
    given = ["smooth", made.store.root, "--out", out]
    assert timesen([*given, "--min-unit", "0.1"]) == 0
    assert f"{out}/class.vrt" in capsys.readouterr().out
    assert timesen(["status", out]) == 0
    assert "4 of 4 cells done" in capsys.readouterr().out
    assert timesen(["rerun", out]) == 2
    assert "timesen smooth made this run" in capsys.readouterr().err
    other = ["--classes", "field, lake", "--out", str(tmp_path / "other")]
    assert timesen(["classify", out, *other]) == 2
    assert "this run was made of others" in capsys.readouterr().err
    for wrong, told in (
        ([], "it takes one way to smooth"),
        (["--majority", "3", "--bayes"], "--majority and --bayes: it takes one way"),
        (["--majority", "4"], "a window has an odd number of pixels"),
        (["--min-unit", "100"], "at most 25 ha"),
        (["--majority", "3", "--window", "5"], "it belongs to --bayes"),
        (["--bayes", "--fraction", "2"], "it is a share"),
        (["--bayes", "--smoothness", "0"], "a variance is above 0"),
    ):
        assert timesen([*given, *wrong]) == 2
        assert told in capsys.readouterr().err


def test_on_object_storage(s3: str) -> None:
    made = make_run(f"{s3}/raw", "5.30,49.75,5.33,49.76")
    made.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    source = open_source_run(made.store.root)
    store = smooth_run(source, MajoritySmoothing(3), f"{s3}/smooth")
    assert CONFIDENCE.name in items_of(store)[0]["assets"]
    assert store.exists("class.vrt")
