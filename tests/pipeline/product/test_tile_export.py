"""Tiles with the cells' own pixels, and indexes over rasters, opened by GDAL's driver GTI."""

import shutil
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from affine import Affine
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from models.errors import UserError
from pipeline.layout import cell_key
from pipeline.product.layers import CLASS, CONFIDENCE, TOP_CLASSES
from pipeline.product.mosaic import write_mosaics
from pipeline.product.tile_export import export_tiles
from pipeline.product.tile_index import IndexedRaster, index_key, tile_index
from pipeline.product.vrt import Band, Frame
from tests.pipeline.made_run import TWO_ZONES, MadeRun, make_run


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = make_run(str(tmp_path_factory.mktemp("two") / "run"), TWO_ZONES, top_k=2)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    return made


def tiles_of(made: MadeRun, target: Path | str, layer=CLASS):  # type: ignore[no-untyped-def]
    given = (made.store, made.run, made.items, made.vocabulary, layer, str(target))
    return export_tiles(*given)


@pytest.mark.parametrize("layer", [CLASS, CONFIDENCE])
def test_tiles_have_the_pixels_of_the_cells(two: MadeRun, tmp_path: Path, layer) -> None:  # type: ignore[no-untyped-def]
    done = tiles_of(two, tmp_path / "tiles", layer)
    assert done.count == len({cell.tile.name for cell in two.cells}) > 1
    for cell in two.cells:
        own = two.store.path(cell_key(cell.tile.name, cell.id, layer.file))
        path = tmp_path / "tiles" / f"{cell.tile.name}.tif"
        with rasterio.open(own) as raster, rasterio.open(path) as tile:
            assert tile.crs == raster.crs
            assert tile.nodata == raster.nodata
            window = tile.window(*raster.bounds).round_offsets().round_lengths()
            known = raster.read() != layer.nodata
            np.testing.assert_array_equal(tile.read(window=window)[known], raster.read()[known])
        assert cog_validate(path, strict=True, quiet=True)[0]
        assert path.with_suffix(".qml").exists()
    assert done.size == sum(path.stat().st_size for path in (tmp_path / "tiles").glob("*.tif"))
    names = tmp_path / "tiles" / f"{two.cells[0].tile.name}.tif.aux.xml"
    assert names.exists() == (layer is CLASS)


def _require_zone(made: MadeRun, index: Path, epsg: int, layer=CLASS) -> None:  # type: ignore[no-untyped-def]
    """Hold an index to the VRT of its zone, pixel for pixel, in all windows."""
    vrt = made.store.path(f"mosaic/{layer.stem}-epsg{epsg}.vrt")
    with rasterio.open(vrt) as mosaic, rasterio.open(index) as opened:
        assert opened.driver == "GTI"
        same = ("shape", "crs", "transform", "nodata", "descriptions", "colorinterp", "dtypes")
        assert [getattr(opened, name) for name in same] == [getattr(mosaic, name) for name in same]
        assert opened.tags() == mosaic.tags()
        assert opened.overviews(1) == mosaic.overviews(1)
        if layer is CLASS:
            assert opened.colormap(1) == mosaic.colormap(1)
        shown = opened.read()
        np.testing.assert_array_equal(shown, mosaic.read())
        assert (shown != opened.nodata).sum() > 50_000
        rng = np.random.default_rng(0)
        for _ in range(40):
            row, column = (int(rng.integers(0, side - 20)) for side in opened.shape)
            part = opened.read(window=Window(column, row, 20, 20))
            np.testing.assert_array_equal(part, shown[:, row : row + 20, column : column + 20])


def test_zones_have_indexes_of_their_own(two: MadeRun, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(two.store.root, moved)
    tiles_of(two, tmp_path / "tiles")
    for epsg in (32631, 32632):
        cells = [cell for cell in two.cells if cell.epsg == epsg]
        for layer in (CLASS, CONFIDENCE, TOP_CLASSES):
            _require_zone(two, moved / index_key(layer.stem, epsg), epsg, layer)
        table = pyogrio.read_dataframe(moved / index_key("class", epsg))
        assert set(table["name"]) == {cell.id for cell in cells}
        keys = {cell_key(cell.tile.name, cell.id, CLASS.file) for cell in cells}
        assert set(table["location"]) == keys
        assert table.crs.to_epsg() == epsg
        index = tmp_path / "tiles" / index_key("tiles", epsg)
        _require_zone(two, index, epsg)
        names = {f"{cell.tile.name}.tif" for cell in cells}
        assert set(pyogrio.read_dataframe(index)["location"]) == names


def test_a_zone_that_went_leaves_no_index(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), TWO_ZONES)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    before = made.store.read(index_key("class", 32631))
    west = [item for item in made.items if item["properties"]["proj:code"] == "EPSG:32631"]
    write_mosaics(made.store, made.run, west, made.vocabulary)
    assert made.store.read(index_key("class", 32631)) == before, "the same rasters, the same bytes"
    assert not made.store.exists(index_key("class", 32632))


def test_tiles_and_indexes_on_object_storage(s3: str, two: MadeRun) -> None:
    done = tiles_of(two, f"{s3}/tiles")
    # The server is a thread of this process. rasterio does not let it answer while GDAL asks for
    # a file of a mask: 30 s each time.
    options = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.gpkg", **done.store.gdal_options()}
    for key in done.indexes:
        with rasterio.Env(**options), rasterio.open(done.store.gdal_path(key)) as index:
            assert (index.read(1) > 0).sum() > 50_000


def test_an_index_names_rasters_that_nobody_opens() -> None:
    frame = Frame(Affine(10, 0, 500_000, 0, -10, 5_500_000), 100, 100)
    bands = [Band("uint16", 0, "Class <1>", {}, {})]
    rasters = [IndexedRaster("a & b/class.tif", "a", frame)]
    content = tile_index(32631, frame, bands, rasters, {"KEY": '"<value>"'})
    with rasterio.MemoryFile(content, ext=".gti.gpkg") as file, file.open() as index:
        assert index.dtypes == ("uint16",)
        assert index.tags()["KEY"] == '"<value>"'
        assert index.descriptions == ("Class <1>",)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("map.tif", "the name of a file"),
        ("file", "this is a file"),
        ("run/cells/31UFR", "its own rasters"),
        ("http://host/tiles", "http"),
    ],
)
def test_targets_that_are_no_folder(tmp_path: Path, target: str, problem: str) -> None:
    made = make_run(str(tmp_path / "run"), "5.30,49.75,5.31,49.755")
    (tmp_path / "file").write_text("")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=problem):
        tiles_of(made, target if "://" in target else tmp_path / target)
    assert set(tmp_path.rglob("*")) == before
