"""The product opened with the libraries and as the page `docs/open-the-map.md` says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

from pipeline.product.layers import CLASS
from pipeline.product.ledger import write_collection
from pipeline.product.mosaic import write_mosaics
from tests.pipeline.made_run import ONE_ZONE, TWO_ZONES, MadeRun, cell_rasters, make_run

PAGE = Path(__file__).resolve().parents[3] / "docs" / "open-the-map.md"
SNIPPETS = {
    re.findall(r"^import (odc\.stac|stackstac|rioxarray)$", code, re.MULTILINE)[0]: code
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
}


def _made(root: Path, region: str, crs: str | None = None) -> MadeRun:
    made = make_run(str(root / "runs" / "my-region"), region)
    write_collection(made.store, made.run, made.items, made.vocabulary)
    write_mosaics(made.store, made.run, made.items, made.vocabulary, crs)
    return made


def _run(library: str, changes: dict[str, str] | None = None) -> dict[str, Any]:
    pytest.importorskip(library, reason=f"{library} is not installed")
    code = SNIPPETS[library]
    for old, new in (changes or {}).items():
        assert old in code
        code = code.replace(old, new)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def _shown(made: MadeRun) -> np.ndarray:
    with rasterio.open(made.store.path(CLASS.mosaic_file)) as mosaic:
        values: np.ndarray = mosaic.read(1)
    return values


def test_the_page_has_a_snippet_of_each_library() -> None:
    assert set(SNIPPETS) == {"odc.stac", "stackstac", "rioxarray"}


@pytest.mark.parametrize("library", SNIPPETS)
def test_one_zone_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    made = _made(tmp_path, ONE_ZONE)
    monkeypatch.chdir(tmp_path)
    own = {'"EPSG:3035"': '"EPSG:32631"'} if library == "odc.stac" else {}
    values = _run(library, own)["classes"].values
    np.testing.assert_array_equal(values, _shown(made))


@pytest.mark.parametrize("library", SNIPPETS)
def test_two_zones_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    made = _made(tmp_path, TWO_ZONES)
    monkeypatch.chdir(tmp_path)
    own = {"rescale=False": "rescale=False, epsg=3035, resolution=10"}
    classes = _run(library, own if library == "stackstac" else {})["classes"]
    with rasterio.open(made.store.path(CLASS.mosaic_file)) as mosaic:
        assert mosaic.crs.to_epsg() == 3035
        x = mosaic.transform.c + 10 * (np.arange(mosaic.width) + 0.5)
        y = mosaic.transform.f - 10 * (np.arange(mosaic.height) + 0.5)
        expected = mosaic.read(1)
    values = classes.reindex(x=x, y=y, method="nearest", tolerance=5.1, fill_value=0).values
    both = (values > 0) & (expected > 0)
    assert both.sum() > 0.95 * (expected > 0).sum()  # but for the gaps that the mosaic closes
    assert (values == expected)[both].mean() > 0.97


def test_rioxarray_finds_classes_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = _made(tmp_path, ONE_ZONE)
    monkeypatch.chdir(tmp_path)
    found = _run("rioxarray")
    assert found["names"] == {0: "No data"} | {e.value: e.name for e in made.vocabulary.classes}
    np.testing.assert_array_equal(found["forest"].values, _shown(made) == 3)


def test_readers_of_both_fields_find_the_crs(tmp_path: Path) -> None:
    made = _made(tmp_path, ONE_ZONE)
    for item in made.items:
        assert item["properties"]["proj:epsg"] == 32631
        assert item["properties"]["proj:code"] == "EPSG:32631"
    collection = pystac.Collection.from_file(made.store.path("collection.json"))
    read = list(collection.get_items())
    assert len(read) == len(made.cells)
    for item in read:
        assert item.ext.proj.epsg == 32631
        asset = item.assets["class"].get_absolute_href()
        assert asset is not None
        assert Path(asset).is_file()


def test_gdal_opens_a_cell_by_its_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with rasterio.Env() as environment:
        if "STACIT" not in environment.drivers():
            pytest.skip("this build of GDAL has no driver STACIT")
    made = _made(tmp_path, ONE_ZONE)
    cell = made.cells[0]
    monkeypatch.chdir(Path(made.store.path("cells")) / cell.tile.name / cell.id)
    for name, expected in zip(("class", "confidence"), cell_rasters(cell, ONE_ZONE), strict=True):
        with rasterio.open(f'STACIT:"item.json":asset={name}') as raster:
            assert raster.driver == "STACIT"
            assert raster.crs.to_epsg() == cell.epsg
            assert raster.transform == cell.transform
            np.testing.assert_array_equal(raster.read(1), expected)
