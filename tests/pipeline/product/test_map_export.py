"""The map of a run as one file, held to the run's mosaic and to the made landscape."""

import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rio_cogeo.cogeo import cog_validate

from models.errors import UserError
from pipeline.errors import OutputUnreadable, OutputUnwritable
from pipeline.io.store import Store
from pipeline.layout import cell_key
from pipeline.product.layers import CLASS
from pipeline.product.map_export import ExportedMap, export_map, exported_layer
from pipeline.product.mosaic import write_mosaics
from tests.pipeline.made_run import ONE_ZONE, TWO_ZONES, MadeRun, classes_at, make_run

PART = (5.98, 49.76, 6.02, 49.78)
MAP_FILES = {"map.tif", "map.tif.aux.xml", "map.qml", "map.sld"}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = make_run(str(tmp_path_factory.mktemp("two") / "run"), TWO_ZONES)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    return made


def export(
    made: MadeRun, target: Path | str, name: str = "class", **options: object
) -> ExportedMap:
    layer = exported_layer(made.run, name)
    given = (made.store, made.run, made.items, made.vocabulary, layer, str(target))
    return export_map(*given, **options)  # type: ignore[arg-type]


def shown(path: Path | str) -> np.ndarray:
    with rasterio.open(path) as raster:
        values: np.ndarray = raster.read()
    return values


@pytest.mark.parametrize("name", ["class", "confidence", "clear-months"])
def test_the_file_is_the_mosaic(two: MadeRun, tmp_path: Path, name: str) -> None:
    done = export(two, tmp_path / "map.tif", name)
    layer = exported_layer(two.run, name)
    with (
        rasterio.open(tmp_path / "map.tif") as file,
        rasterio.open(two.store.path(layer.mosaic_file)) as mosaic,
    ):
        np.testing.assert_array_equal(file.read(), mosaic.read())
        assert (file.crs, file.transform, file.nodata) == (
            mosaic.crs,
            mosaic.transform,
            mosaic.nodata,
        )
        assert file.crs.to_epsg() == 3035
        assert file.descriptions == mosaic.descriptions
        assert file.tags()["TIFFTAG_COPYRIGHT"] == two.run.attribution
        assert file.tags()["TIMESEN_FINGERPRINT"] == two.run.fingerprint
        assert done.shape == file.shape
    assert done.size == (tmp_path / "map.tif").stat().st_size
    assert cog_validate(tmp_path / "map.tif", strict=True, quiet=True)[0]


def test_colours_names_and_style_come_with_it(two: MadeRun, tmp_path: Path) -> None:
    export(two, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        table = file.colormap(1)
    for entry in two.vocabulary.classes:
        assert "#{:02x}{:02x}{:02x}".format(*table[entry.value][:3]) == entry.colour
    sidecar = ElementTree.parse(tmp_path / "map.tif.aux.xml")
    names = [element.text for element in sidecar.iterfind(".//Category")]
    assert names == [None, *(entry.name for entry in two.vocabulary.classes)]
    assert two.vocabulary.classes[0].colour in (tmp_path / "map.qml").read_text()
    assert {path.name for path in tmp_path.iterdir()} == MAP_FILES


def test_overviews_are_modes(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    export(made, tmp_path / "map.tif")
    fine = shown(tmp_path / "map.tif")[0]
    with rasterio.open(tmp_path / "map.tif", overview_level=0) as coarse:
        assert coarse.shape == tuple((side + 1) // 2 for side in fine.shape)
        values = coarse.read(1)
    blocks = fine[: 2 * (fine.shape[0] // 2), : 2 * (fine.shape[1] // 2)]
    blocks = blocks.reshape(blocks.shape[0] // 2, 2, -1, 2).swapaxes(1, 2).reshape(-1, 4)
    counts = np.stack([(blocks == value).sum(axis=1) for value in range(1, 6)])
    clear = counts.max(axis=0) >= 3
    most = counts.argmax(axis=0) + 1
    got = values[: fine.shape[0] // 2, : fine.shape[1] // 2].ravel()
    assert clear.mean() > 0.8
    assert (got[clear] == most[clear]).all()


@pytest.mark.parametrize("code", ["EPSG:4326", "EPSG:2154", "EPSG:32632"])
def test_another_crs_shows_the_same_places(two: MadeRun, tmp_path: Path, code: str) -> None:
    export(two, tmp_path / "map.tif", crs=code)
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.crs.to_string() == code
        classes, transform = file.read(1), file.transform
    columns, rows = np.meshgrid(*(np.arange(side) + 0.5 for side in classes.shape[::-1]))
    to_degrees = Transformer.from_crs(code, 4326, always_xy=True)
    lon, lat = map(
        np.asarray,
        to_degrees.transform(transform.c + transform.a * columns, transform.f + transform.e * rows),
    )
    west, south, east, north = map(float, TWO_ZONES.split(","))
    inside = (lon > west + 1e-4) & (lon < east - 1e-4) & (lat > south + 1e-4) & (lat < north - 1e-4)
    assert inside.sum() > 200_000
    assert (classes[inside] > 0).all(), "without a seam between the zones"
    assert (classes[inside] == classes_at(lon, lat)[inside]).mean() > 0.97


@pytest.mark.parametrize("code", [None, "EPSG:4326", "EPSG:2154"])
def test_a_part_has_the_pixels_of_the_whole(two: MadeRun, tmp_path: Path, code: str | None) -> None:
    export(two, tmp_path / "whole.tif", crs=code)
    export(two, tmp_path / "part.tif", crs=code, bbox=PART)
    with (
        rasterio.open(tmp_path / "whole.tif") as whole,
        rasterio.open(tmp_path / "part.tif") as part,
    ):
        window = whole.window(*part.bounds)
        np.testing.assert_allclose(
            [window.col_off, window.row_off], np.round([window.col_off, window.row_off]), atol=1e-3
        )
        np.testing.assert_array_equal(
            part.read(1), whole.read(1, window=window.round_offsets().round_lengths())
        )
        assert part.width < 0.7 * whole.width
        bounds = Transformer.from_crs(4326, whole.crs.to_wkt(), always_xy=True).transform_bounds(
            *PART
        )
        for edge, wanted, sign in zip(part.bounds, bounds, (1, 1, -1, -1), strict=True):
            assert 0 <= sign * (wanted - edge) <= part.res[0] + 1e-9


def test_one_zone_keeps_its_pixels(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    export(made, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.crs.to_epsg() == 32631
    np.testing.assert_array_equal(
        shown(tmp_path / "map.tif"), shown(made.store.path(CLASS.mosaic_file))
    )


def test_all_ranks_of_classes(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), TWO_ZONES, top_k=2)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    export(made, tmp_path / "map.tif", "top-classes")
    values = shown(tmp_path / "map.tif")
    assert len(values) == 2
    np.testing.assert_array_equal(values, shown(made.store.path("top_classes.vrt")))
    seen = values[0] > 0
    np.testing.assert_array_equal(values[1][seen], values[0][seen] % 5 + 1)
    assert (values[1][~seen] == 0).all()
    sidecar = ElementTree.parse(tmp_path / "map.tif.aux.xml")
    assert len(sidecar.findall("PAMRasterBand")) == 2
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.overviews(1) == file.overviews(2) == [2]


def test_the_same_run_gives_the_same_bytes(two: MadeRun, tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        export(two, tmp_path / name)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_from_and_to_object_storage(s3: str, two: MadeRun, tmp_path: Path) -> None:
    made = make_run(f"{s3}/exported", TWO_ZONES)
    export(made, f"{s3}/files/map.tif")
    export(two, tmp_path / "map.tif")
    there = Store(f"{s3}/files")
    assert set(there.keys("")) == MAP_FILES
    with rasterio.Env(**there.gdal_options()):
        np.testing.assert_array_equal(
            shown(there.gdal_path("map.tif")), shown(tmp_path / "map.tif")
        )
    with pytest.raises(OutputUnwritable, match="bucket"):
        export(two, "s3://no-such-bucket/map.tif")


@pytest.mark.parametrize(
    ("target", "options", "problem"),
    [
        ("map.png", {}, "no name of a GeoTIFF"),
        ("folder.tif", {}, "this is a folder"),
        ("run/cells/31UFR/a.tif", {}, "its own rasters"),
        ("http://host/map.tif", {}, "http"),
        ("s3://map.tif", {}, "no bucket"),
        ("map.tif", {"crs": "EPSG:1"}, "PROJ knows no such CRS"),
        ("map.tif", {"crs": "EPSG:3577"}, "is for Australia"),
        ("map.tif", {"bbox": (1.0, 2.0, 3.0, 4.0)}, "nothing there"),
        ("map.tif", {"name": "top-classes"}, "It has class, clear-months, confidence"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, target: str, options: dict[str, object], problem: str
) -> None:
    made = make_run(str(tmp_path / "run"), "5.30,49.75,5.31,49.755")
    (tmp_path / "folder.tif").mkdir()
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=problem):
        export(made, target if "://" in target else tmp_path / target, **options)  # type: ignore[arg-type]
    assert set(tmp_path.rglob("*")) == before


def test_a_raster_that_is_cut_off_leaves_the_earlier_file(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    (tmp_path / "map.tif").write_bytes(b"earlier")
    cell, items = made.cells[0], made.items
    raster = Path(made.store.path(cell_key(cell.tile.name, cell.id, CLASS.file)))
    raster.write_bytes(raster.read_bytes()[:600])
    layer = exported_layer(made.run, "class")
    given = (made.store, made.run, items, made.vocabulary, layer, str(tmp_path / "map.tif"))
    with pytest.raises(OutputUnreadable, match=r"class\.tif"):
        export_map(*given)
    assert (tmp_path / "map.tif").read_bytes() == b"earlier"
    shutil.rmtree(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]


def test_a_full_disk_leaves_no_file(two: MadeRun, tmp_path: Path) -> None:
    done = export(two, tmp_path / "whole.tif", "confidence")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for part in (0.5, 0.97, 0.999):  # GDAL writes the last bytes when it closes the file
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(part * done.size), limits[1]))
        try:
            with pytest.raises(OutputUnwritable, match="full"):
                export(two, tmp_path / "map.tif", "confidence")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert {path.name for path in tmp_path.iterdir()} == {
            "whole.tif",
            "whole.qml",
            "whole.sld",
        }


_VAST = """
import sys
from pathlib import Path
from tests.pipeline.product.test_map_export import export
from tests.pipeline.product.test_zone_seams import CASES, _make
made = _make(Path(sys.argv[1]) / "run", *CASES["wide"][0])
print("begins", flush=True)
export(made.run, Path(sys.argv[1]) / "map.tif")
"""


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    # Tests that run in the background ignore Ctrl-C, and what they start would, too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-c", _VAST, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "begins\n"
    until = time.monotonic() + 60
    while not list(tmp_path.glob(".part-*")) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_without_cells_has_no_map(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), "5.30,49.75,5.31,49.755")
    layer = exported_layer(made.run, "class")
    target = str(tmp_path / "map.tif")
    with pytest.raises(UserError, match="no cell of the run is finished"):
        export_map(made.store, made.run, [], made.vocabulary, layer, target)
    items = made.items
    for item in items:
        del item["assets"]["class"]
    with pytest.raises(UserError, match="an earlier version mapped them"):
        export_map(made.store, made.run, items, made.vocabulary, layer, target)
