"""`timesen export`, and the CRS of a run's map, on a run that was mapped."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from flows.cli.main import run
from tests.flows.conftest import connected, rasters

Options = Callable[..., list[str]]


def epsg_of(path: Path) -> int | None:
    with rasterio.open(path) as raster:
        code: int | None = raster.crs.to_epsg()
    return code


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/*")}


def test_a_run_is_exported(
    whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "map.tif"
    assert run(["export", str(whole_run), str(target), "--crs", "EPSG:3035"]) == 0
    said = capsys.readouterr()
    assert f"Map  {target}" in said.out
    assert "EPSG:3035" in said.out
    assert "warning" not in said.out
    assert epsg_of(target) == 3035
    assert run(["export", str(whole_run), str(tmp_path / "plain.tif")]) == 0
    with (
        rasterio.open(tmp_path / "plain.tif") as file,
        rasterio.open(whole_run / "class.vrt") as mosaic,
    ):
        np.testing.assert_array_equal(file.read(), mosaic.read())
        assert file.crs == mosaic.crs


def test_blocks_are_computed_by_threads_and_by_a_cluster(whole_run: Path, tmp_path: Path) -> None:
    """Coarse classes: the most frequent of the fine ones, wherever they are computed."""
    (tmp_path / "run.toml").write_text('[cluster]\nkind = "local"\nworkers = 1\nthreads = 1\n')
    coarse = ["export", str(whole_run), "--resolution", "40"]
    assert run([*coarse, str(tmp_path / "here.tif")]) == 0
    assert run([*coarse, str(tmp_path / "there.tif"), "--cluster", str(tmp_path / "run.toml")]) == 0
    assert (tmp_path / "here.tif").read_bytes() == (tmp_path / "there.tif").read_bytes()
    with (
        rasterio.open(tmp_path / "here.tif") as file,
        rasterio.open(whole_run / "class.vrt") as mosaic,
    ):
        assert file.res == (40, 40)
        window = mosaic.window(*file.bounds).round_offsets().round_lengths()
        fine = mosaic.read(1, window=window, boundless=True, fill_value=0)
        of = fine.reshape(file.height, 4, file.width, 4).swapaxes(1, 2)
        of = of.reshape(*file.shape, 16)
        most = np.stack([(of == value).sum(axis=2) for value in range(1, of.max() + 1)])
        got = file.read(1)
    known = got > 0
    assert known.any()
    votes = (of == got[..., None]).sum(axis=2)
    assert (votes == most.max(axis=0))[known].all()


def test_tiles_are_exported(
    whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(whole_run), str(tmp_path / "tiles"), "--tiles"]) == 0
    tiles = {path.name for path in (tmp_path / "tiles").glob("*.tif")}
    assert tiles == {f"{path.name}.tif" for path in (whole_run / "cells").iterdir()}
    indexes = [*(tmp_path / "tiles").glob("tiles-epsg*.gti.gpkg")]
    assert indexes
    said = capsys.readouterr().out
    assert all(f"Index  {path}" in said for path in indexes)


def test_cells_that_are_left_are_told(
    whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    next(out.glob("cells/*/*/item.json")).unlink()
    assert run(["export", str(out), str(tmp_path / "map.tif")]) == 0
    assert "1 of its cells is not finished" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["map.jpg"], "no name of a GeoTIFF"),
        (["map.tif", "--crs", "3035"], "no code of a CRS"),
        (["map.tif", "--bbox", "5.9,49.5"], "a bbox is four numbers"),
        (["map.tif", "--bbox=-60,-10,-59,-9"], "the map has nothing there"),
        (["map.tif", "--layer", "colour"], "It has class, clear-months, confidence"),
        (["map.tif", "--resolution", "5"], "the map's own pixels have 10"),
        (["map.tif", "--resampling", "average"], "class has classes"),
        (["tiles", "--tiles", "--crs", "EPSG:3035"], "tiles have the pixels of the cells"),
        (["map.tif", "--tiles"], "the name of a file"),
        (["map.tif", "--cluster", "ours"], "it must be threads, local"),
        (["map.tif", "--cluster", "run.toml"], "there is no such file"),
        (["map.tif", "--cluster", "tcp://127.0.0.1:1", "--resolution", "1"], "nothing finer"),
    ],
)
def test_mistakes_exit_with_2(
    whole_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["export", str(whole_run), *more]) == 2
    assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(tmp_path), str(tmp_path / "map.tif")]) == 2
    assert "there is no run here" in capsys.readouterr().err


def test_another_crs_makes_no_cell_anew(
    whole_run: Path, tmp_path: Path, options: Options, users_server: str
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    before = times(out), rasters(out), json.loads((out / "run.json").read_text())["fingerprint"]
    for code in (4326, 2169):
        with connected(users_server):
            assert run(["map", *options(out, "--crs", f"EPSG:{code}")]) == 0
        assert epsg_of(out / "class.vrt") == code
        assert epsg_of(out / "clear_months.vrt") == code
    after = times(out), rasters(out), json.loads((out / "run.json").read_text())["fingerprint"]
    assert after == before


def test_a_crs_that_cannot_show_the_region_is_told_before_anything_is_done(
    tmp_path: Path, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run(["plan", *options(out, "--crs", "EPSG:3577")]) == 2
    assert "the map does not lie there" in capsys.readouterr().err
    assert not out.exists()


def test_a_run_of_an_earlier_version_goes_on(
    whole_run: Path, tmp_path: Path, options: Options, users_server: str
) -> None:
    """Cells without `clear-months`, with version 2.0.0 of the projection extension."""
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    items = sorted(out.glob("cells/*/*/item.json"))
    for path in items:
        item = json.loads(path.read_text())
        del item["assets"]["clear-months"], item["properties"]["proj:epsg"]
        item["stac_extensions"] = [
            url.replace("projection/v1.2.0", "projection/v2.0.0") for url in item["stac_extensions"]
        ]
        path.write_text(json.dumps(item))
        path.with_name("clear_months.tif").unlink()
    items[0].unlink()
    (out / "clear_months.vrt").unlink()
    kept = times(out)
    with connected(users_server):
        assert run(["map", *options(out)]) == 0
    assert {path: time for path, time in times(out).items() if path.parent != items[0].parent} == {
        path: time for path, time in kept.items() if path.parent != items[0].parent
    }
    assert items[0].with_name("clear_months.tif").exists()
    with (
        rasterio.open(out / "class.vrt") as classes,
        rasterio.open(whole_run / "class.vrt") as all_,
    ):
        np.testing.assert_array_equal(classes.read(), all_.read())
    with rasterio.open(out / "clear_months.vrt") as months:
        assert (months.read(1) <= 12).any()
