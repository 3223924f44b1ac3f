"""Blocks of a map: held to plain counts and means, and to the memory that they may take."""

import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyproj import CRS
from rasterio.windows import Window

from pipeline.errors import OutputUnreadable, SettingsError
from pipeline.io.store import Store
from pipeline.layout import cell_key
from pipeline.product import map_blocks
from pipeline.product.layers import CLASS, CONFIDENCE
from pipeline.product.map_blocks import MapBlocks, coarser, read_block, read_blocks_here
from pipeline.product.map_export import export_map
from pipeline.product.map_grid import PixelGrid, map_grid, resampling_for
from tests.pipeline.made_run import ONE_ZONE, TWO_ZONES, MadeRun, make_run


def squares(values: np.ndarray, across: int) -> np.ndarray:
    """The small pixels of each pixel: (y, x, across²)."""
    rows, columns = (side // across for side in values.shape)
    cut = values[: rows * across, : columns * across].reshape(rows, across, columns, across)
    return cut.swapaxes(1, 2).reshape(rows, columns, -1)


@pytest.mark.parametrize(("dtype", "largest"), [("uint8", 6), ("uint16", 6), ("uint16", 3000)])
@pytest.mark.parametrize("across", [2, 3, 10])
def test_a_majority_is_the_most_frequent_value(dtype: str, largest: int, across: int) -> None:
    rng = np.random.default_rng(across)
    fine = rng.integers(1, largest + 1, (2, 30 * across, 20 * across)).astype(dtype)
    fine[rng.random(fine.shape) < 0.3] = 0
    fine[:, : 5 * across, : 4 * across] = 0
    for band, most in zip(fine, coarser(fine, across, 0, "majority"), strict=True):
        assert most.dtype == fine.dtype
        of = squares(band, across)
        known = (of > 0).any(axis=2)
        assert ((most > 0) == known).all()
        votes = np.stack([(of == value).sum(axis=2) for value in np.unique(band[band > 0])])
        assert ((of == most[..., None]).sum(axis=2) == votes.max(axis=0))[known].all()


@pytest.mark.parametrize("across", [2, 3, 10])
def test_an_average_is_rounded_and_leaves_nodata_out(across: int) -> None:
    rng = np.random.default_rng(across)
    fine = rng.integers(0, 101, (1, 30 * across, 20 * across)).astype(np.uint8)
    fine[rng.random(fine.shape) < 0.3] = 255
    fine[:, : 5 * across, : 4 * across] = 255
    of = squares(fine[0], across).astype(int)
    known = (of != 255).sum(axis=2)
    total = np.where(of == 255, 0, of).sum(axis=2)
    expected = np.where(known, (2 * total + known) // np.maximum(2 * known, 1), 255)
    np.testing.assert_array_equal(coarser(fine, across, 255, "average")[0], expected)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return make_run(str(tmp_path_factory.mktemp("two") / "run"), TWO_ZONES)


def export(made: MadeRun, path: Path, layer=CLASS, **options: object):  # type: ignore[no-untyped-def]
    given = (made.store, made.run, made.items, made.vocabulary, layer, str(path))
    return export_map(*given, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("resolution", "across"), [(25, 3), (100, 10), (410, 41)])
def test_any_resolution_has_whole_squares(
    two: MadeRun, tmp_path: Path, resolution: float, across: int
) -> None:
    done = export(two, tmp_path / "map.tif", resolution=resolution)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.res == (resolution, resolution)
        assert file.transform.c % resolution == file.transform.f % resolution == 0
        assert file.shape == done.shape
        assert set(np.unique(file.read(1))) == {0, 1, 2, 3, 4, 5}
    assert map_grid(CRS.from_epsg(3035), resolution, "majority") == PixelGrid(
        resolution / across, across
    )


def test_one_zone_is_made_coarser_from_its_own_pixels(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    export(made, tmp_path / "fine.tif", CONFIDENCE)
    export(made, tmp_path / "coarse.tif", CONFIDENCE, resolution=100)
    with (
        rasterio.open(tmp_path / "fine.tif") as fine,
        rasterio.open(tmp_path / "coarse.tif") as coarse,
    ):
        window = fine.window(*coarse.bounds).round_offsets().round_lengths()
        inside = fine.read(1, window=window, boundless=True, fill_value=255)[None]
        expected = coarser(inside.astype(np.uint8), 10, 255, "average")
        np.testing.assert_array_equal(coarse.read(), expected)


def test_few_blocks_are_held_however_many_there_are(
    two: MadeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(two, tmp_path / "at-once.tif")
    monkeypatch.setattr(map_blocks, "_AT_ONCE", 64 * 64)
    held, most, lock = 0, 0, threading.Lock()

    def counted(blocks: MapBlocks, window: Window) -> np.ndarray | None:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return read_block(blocks, window)

    def read(blocks: MapBlocks, windows: list[Window], write: map_blocks.WriteBlock) -> None:
        def write_one(window: Window, values: np.ndarray | None) -> None:
            nonlocal held
            write(window, values)
            assert values is None or values.size <= 64 * 64
            with lock:
                held -= 1

        assert len(windows) > 40
        monkeypatch.setattr(map_blocks, "read_block", counted)
        read_blocks_here(pickle.loads(pickle.dumps(blocks)), windows, write_one, 3)

    export(two, tmp_path / "by-block.tif", read_blocks=read)
    assert 3 <= most <= 5
    assert (tmp_path / "by-block.tif").read_bytes() == (tmp_path / "at-once.tif").read_bytes()


def test_blocks_without_cells_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_run(str(tmp_path / "run"), "5.30,49.75,5.31,49.755")
    far = make_run(str(tmp_path / "run"), "5.60,49.95,5.61,49.955")
    both = MadeRun(made.store, made.run, (*made.cells, *far.cells), made.vocabulary)
    monkeypatch.setattr(map_blocks, "_AT_ONCE", 256 * 256)
    seen = []

    def read(blocks: MapBlocks, windows: list[Window], write: map_blocks.WriteBlock) -> None:
        seen.extend(windows)
        assert len(windows) < len(blocks.windows()) / 4
        read_blocks_here(blocks, windows, write)

    export(both, tmp_path / "map.tif", read_blocks=read)
    assert seen
    monkeypatch.undo()
    export(both, tmp_path / "whole.tif")
    assert (tmp_path / "map.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_a_raster_that_is_gone_is_named_by_whatever_thread_reads_it(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), "5.30,49.75,5.31,49.755")
    items, cell = made.items, made.cells[0]
    Store(made.store.root).remove(cell_key(cell.tile.name, cell.id, CLASS.file))
    given = (made.store, made.run, items, made.vocabulary, CLASS, str(tmp_path / "map.tif"))
    with pytest.raises(OutputUnreadable, match=r"class\.tif"):
        export_map(*given, resolution=100)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("code", "resolution", "problem"),
    [
        (3035, 5.0, "the map's own pixels have 10, .*metre.* Give 10 or more"),
        (3035, float("nan"), "nothing finer"),
        (3035, 50_000.0, "Give 40960 at most"),
        (4326, 100.0, "the unit of EPSG:4326 is degrees"),
        (4326, 0.00001, r"nothing finer is in it .*degrees"),
        (2263, 10.0, "US survey foot"),
    ],
)
def test_resolutions_that_cannot_be(code: int, resolution: float, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        map_grid(CRS.from_epsg(code), resolution, "majority")


def test_rounded_degrees_are_the_maps_own() -> None:
    assert map_grid(CRS.from_epsg(4326), 0.00008333, "majority").across == 1
    assert map_grid(CRS.from_epsg(4326), 0.001, "majority").across == 12
    assert map_grid(CRS.from_epsg(4326), 0.001, "nearest") == PixelGrid(0.001)
    assert map_grid(CRS.from_epsg(2263), 328.083333, "average").across == 10


def test_classes_are_counted_and_numbers_averaged() -> None:
    assert (resampling_for(CLASS), resampling_for(CONFIDENCE)) == ("majority", "average")
    with pytest.raises(SettingsError, match="class has classes"):
        resampling_for(CLASS, "average")
    with pytest.raises(SettingsError, match="confidence has numbers"):
        resampling_for(CONFIDENCE, "majority")
