import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from rio_cogeo.cogeo import cog_validate

from pipeline.product.cog_writer import BLOCK, categories_xml, cog_bytes

GRID = Affine(10, 0, 300000, 0, -10, 5500020)
COLOURS = {1: "#ff0000", 2: "#00ff7f", 7: "#102030"}


def _classes(rows: int, columns: int) -> np.ndarray:
    patches = np.random.default_rng(3).choice([0, 1, 2, 7], (rows // 8 + 1, columns // 8 + 1))
    return np.kron(patches, np.ones((8, 8))).astype(np.uint8)[:rows, :columns]


def _written(
    tmp_path: Path,
    array: np.ndarray,
    categories: Mapping[int, str] = MappingProxyType({}),
    **options: Any,
) -> Path:
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "class.tif"
    path.write_bytes(cog_bytes(array, GRID, 32631, 0, description="class", **options))
    if names := categories_xml(categories):
        path.with_name("class.tif.aux.xml").write_text(names)
    return path


@pytest.mark.parametrize("shape", [(64, 64), (511, 700), (1030, 2048), (2, 2)])
def test_is_a_strict_cog_on_its_grid(tmp_path: Path, shape: tuple[int, int]) -> None:
    array = _classes(*shape)
    path = _written(tmp_path, array, colours=COLOURS, overview="mode", tags={"A": "b"})
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), array)
        assert raster.transform == GRID
        assert raster.crs.to_epsg() == 32631
        assert raster.nodata == 0
        assert raster.descriptions == ("class",)
        assert raster.tags()["A"] == "b"
        assert raster.block_shapes == [(BLOCK, BLOCK)]
        assert raster.compression.value == "DEFLATE"
        table = raster.colormap(1)
        assert {v: table[v] for v in COLOURS} == {
            1: (255, 0, 0, 255),
            2: (0, 255, 127, 255),
            7: (16, 32, 48, 255),
        }


def test_overviews_of_classes_are_modes_without_nodata() -> None:
    array = np.zeros((1024, 1024), np.uint8)
    array[0::2, 0::2] = 7  # one pixel of four has a class
    array[:, 512:] = 1
    array[1::2, 513::2] = 2  # one of four differs
    content = cog_bytes(array, GRID, 32631, 0, description="class", overview="mode")
    with MemoryFile(content) as file, file.open() as raster:
        assert raster.overviews(1) == [2]
        coarse = raster.read(1, out_shape=(512, 512))
    assert (coarse[:, :256] == 7).all()
    assert (coarse[:, 256:] == 1).all()


def test_overviews_of_confidence_are_means_without_nodata() -> None:
    array = np.full((1024, 1024), 255, np.uint8)
    array[0::2, 0::2], array[1::2, 1::2] = 40, 60
    content = cog_bytes(array, GRID, 32631, 255, description="confidence", overview="average")
    with MemoryFile(content) as file, file.open() as raster:
        assert (raster.read(1, out_shape=(512, 512)) == 50).all()


def test_many_classes_are_uint16_without_colour_table(tmp_path: Path) -> None:
    array = (np.arange(600 * 600) % 400).astype(np.uint16).reshape(600, 600)
    path = _written(tmp_path, array, colours=COLOURS, overview="mode")
    assert cog_validate(path, strict=True, quiet=True)[0]
    with rasterio.open(path) as raster:
        assert raster.dtypes == ("uint16",)
        np.testing.assert_array_equal(raster.read(1), array)
        with pytest.raises(ValueError, match="color table"):
            raster.colormap(1)


def test_counts_of_months_are_smaller_as_zstd() -> None:
    random = np.random.default_rng(0)
    blocks = [random.integers(0, 7, (12, 16, 16)).repeat(16, 1).repeat(16, 2) for _ in range(2)]
    array = np.concatenate(blocks, axis=2).astype(np.uint8)
    names = [str(month) for month in range(12)]
    sizes = {}
    for compression in ("DEFLATE", "ZSTD"):
        content = cog_bytes(
            array,
            GRID,
            32631,
            None,
            description=names,
            compression=compression,  # type: ignore[arg-type]
        )
        with MemoryFile(content) as file, file.open() as raster:
            assert raster.compression.name.lower() == compression.lower()
            np.testing.assert_array_equal(raster.read(), array)
        sizes[compression] = len(content)
    assert sizes["ZSTD"] < sizes["DEFLATE"]


def test_names_go_into_gdals_sidecar(tmp_path: Path) -> None:
    path = _written(tmp_path, _classes(64, 64), categories={1: "lake & pond", 3: "<wood>"})
    sidecar = ElementTree.parse(f"{path}.aux.xml")
    names = [element.text for element in sidecar.iterfind(".//Category")]
    assert names == [None, "lake & pond", None, "<wood>"]


@given(st.dictionaries(st.integers(1, 300), st.text("aé<&>\"' ", min_size=1), min_size=1))
def test_any_name_survives_the_sidecar(names: dict[int, str]) -> None:
    root = ElementTree.fromstring(categories_xml(names))
    read = [element.text or "" for element in root.iterfind(".//Category")]
    assert {value: read[value] for value in names} == names


def test_names_of_high_values_are_left_to_style_and_item(tmp_path: Path) -> None:
    array = _classes(64, 64).astype(np.uint16)
    path = _written(tmp_path, array, categories={1: "lake", 1023: "wood"})
    sidecar = ElementTree.parse(f"{path}.aux.xml")
    assert [e.text for e in sidecar.iterfind(".//Category")] == [
        None,
        "lake",
        *[None] * 1021,
        "wood",
    ]
    path = _written(tmp_path / "high", array, categories={1: "lake", 1024: "wood"})
    assert not Path(f"{path}.aux.xml").exists()


def test_other_arrays_are_refused() -> None:
    for array in (np.zeros((4, 4), np.float32), np.zeros((1, 1, 4, 4), np.uint8)):
        with pytest.raises(ValueError, match="uint8 or uint16"):
            cog_bytes(array, GRID, 32631, 0, description="class")


_SCRIPT = """
import hashlib, numpy as np
from tests.pipeline.product.test_cog_writer import COLOURS, GRID, _classes
from pipeline.product.cog_writer import cog_bytes
print(hashlib.sha256(cog_bytes(_classes(1100, 900), GRID, 32631, 0, description="class",
    colours=COLOURS, overview="mode", tags={"B": "2", "A": "1"})).hexdigest())
"""


def test_two_processes_write_the_same_bytes() -> None:
    root = Path(__file__).resolve().parents[3]
    other = subprocess.run(
        [sys.executable, "-c", _SCRIPT], cwd=root, capture_output=True, text=True, check=True
    )
    here = cog_bytes(
        _classes(1100, 900),
        GRID,
        32631,
        0,
        description="class",
        colours=COLOURS,
        overview="mode",
        tags={"A": "1", "B": "2"},
    )
    assert other.stdout.strip() == hashlib.sha256(here).hexdigest()
