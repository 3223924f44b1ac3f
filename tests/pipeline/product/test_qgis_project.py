"""The project `map.qgz`, opened and drawn by QGIS itself."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from pipeline.io.gdal_s3 import gdal_s3_options
from pipeline.layout import QGIS_PROJECT
from pipeline.product.cog_writer import rgb
from pipeline.product.colour_blind import colour_blind_safe
from pipeline.product.layers import WHITE
from pipeline.product.mosaic import write_mosaics
from pipeline.product.qgis_project import FADED_FILE, write_project
from tests.pipeline.made_run import ONE_ZONE, TWO_ZONES, MadeRun, make_run
from tests.services import DEBIANS_PYTHON, absent

_SCRIPT = Path(__file__).parents[2] / "qgis_render.py"
SAFE = "for the colour-blind"


@pytest.fixture(scope="module")
def qgis() -> str:
    """The Python that has QGIS."""
    try:
        subprocess.run([DEBIANS_PYTHON, "-c", "import qgis.core"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        absent("QGIS (python3-qgis)")
    return DEBIANS_PYTHON


def _made(root: str, region: str) -> MadeRun:
    made = make_run(root, region)
    items = made.items
    write_mosaics(made.store, made.run, items, made.vocabulary)
    write_project(made.store, made.run, items, made.vocabulary)
    return made


def _opened(qgis: str, project: str, out: Path, **environment: str) -> dict[str, Any]:
    out.mkdir()
    home = {"HOME": str(out), "XDG_RUNTIME_DIR": str(out)}
    run = subprocess.run(
        [qgis, "-W", "ignore", str(_SCRIPT), project, str(out)],
        env=os.environ | home | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said: dict[str, Any] = json.loads(run.stdout)
    return said


def _picture(out: Path, name: str) -> np.ndarray:
    with rasterio.open(out / f"{name}.png") as picture:
        return picture.read([1, 2, 3]).astype(int)


def _coloured(classes: np.ndarray, colours: dict[int, str]) -> np.ndarray:
    """Classes in their colours, on white: int (3, y, x)."""
    table = np.full((256, 3), 255)
    for value, colour in colours.items():
        table[value] = rgb(colour)
    return np.moveaxis(table[classes], -1, 0)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_moved_project_is_drawn_pixel_for_pixel(qgis: str, tmp_path: Path) -> None:
    made = _made(str(tmp_path / "run"), TWO_ZONES)
    (tmp_path / "run").rename(tmp_path / "moved")
    out = tmp_path / "out"
    said = _opened(qgis, str(tmp_path / "moved" / QGIS_PROJECT), out)
    assert (said["read"], said["relative"], said["crs"]) == (True, True, "EPSG:3035")
    assert said["title"] == f"{made.vocabulary.title}, 2021"
    names = ["Class", "Class, faded where unsure", "Confidence", "Clear months", "True colour"]
    assert [layer["name"] for layer in said["layers"]] == names
    assert all(layer["valid"] for layer in said["layers"])
    assert [layer["shown"] for layer in said["layers"]] == [True, False, False, False, True]
    assert said["layers"][0]["legend"] == [entry.name for entry in made.vocabulary.legend]
    assert said["layers"][2]["legend"][0] == "0 %"

    rasters = {}
    for name in ("class", "confidence", "true_colour"):
        with rasterio.open(tmp_path / "moved" / f"{name}.vrt") as raster:
            rasters[name] = raster.read()
    classes, confidence = rasters["class"][0], rasters["confidence"][0]
    own = {entry.value: entry.colour for entry in made.vocabulary.legend}
    safe = colour_blind_safe(made.vocabulary)
    assert set(safe.values()) != set(own.values())
    for colours, style in ((own, "default"), (safe, SAFE)):
        expected = _coloured(classes, colours)
        np.testing.assert_array_equal(_picture(out, f"Class, {style}"), expected)
        opaque = np.where(confidence == 255, 0, confidence) / 100
        faded = opaque * expected + (1 - opaque) * 255
        drawn = _picture(out, f"Class, faded where unsure, {style}")
        assert np.abs(drawn - faded).max() < 6  # QGIS rounds opacity and colours on the way
    land = rasters["true_colour"].all(axis=0)
    drawn = _picture(out, "True colour, default")
    bright = np.minimum(rasters["true_colour"] * (255 / WHITE), 255)
    assert np.abs(drawn - bright)[:, land].max() <= 1
    assert (drawn[:, ~land] == 255).all()
    # Of the classes, those within 40 m of another are of the neighbour's pixel.
    light = rasters["true_colour"][0][land & (classes > 0)] / 40
    assert (light == classes[land & (classes > 0)]).mean() > 0.85


def test_on_object_storage_it_names_the_bucket(qgis: str, s3: str, tmp_path: Path) -> None:
    made = _made(f"{s3}/project", ONE_ZONE)
    local = tmp_path / QGIS_PROJECT
    local.write_bytes(made.store.read(QGIS_PROJECT))
    options = gdal_s3_options(os.environ["AWS_ENDPOINT_URL"])
    said = _opened(qgis, str(local), tmp_path / "out", **options)
    assert said["crs"] == "EPSG:32631"
    assert all(layer["valid"] for layer in said["layers"])
    assert said["layers"][1]["source"] == f"/vsis3/maps/project/{FADED_FILE}"


def test_the_same_run_has_the_same_project(tmp_path: Path) -> None:
    made = _made(str(tmp_path / "run"), ONE_ZONE)
    before = made.store.read(QGIS_PROJECT)
    write_project(made.store, made.run, made.items, made.vocabulary)
    assert made.store.read(QGIS_PROJECT) == before
