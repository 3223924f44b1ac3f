"""Validity that is no nodata number: masks in a file and beside it, and alpha bands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.shutil import copy
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.raster.byte_ranges import FileRanges
from pipeline.raster.cog_header import read_header
from pipeline.raster.cog_reader import fetch_window
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader
from tests.faulty_server import FaultyServer, faulty_server
from tests.pipeline.rasters import EPSG, LEFT, TOP

ROWS, COLUMNS = 320, 290
VALID = np.random.default_rng(4).random((ROWS, COLUMNS)) < 0.7
# 9999 is a number that nodata must not be taken for.
STORED = np.where(VALID, np.random.default_rng(5).integers(1, 9000, VALID.shape), 9999).astype(
    np.uint16
)
EXPECTED = np.where(VALID, STORED, 0)


def write(path: Path, *, alpha: bool = False, **options: Any) -> Path:
    profile: dict[str, Any] = {
        "driver": "GTiff", "tiled": True, "blockxsize": 128, "blockysize": 128,
        "compress": "DEFLATE", "crs": f"EPSG:{EPSG}", "dtype": "uint16",
        "transform": Affine(10, 0, LEFT, 0, -10, TOP), "count": 1 + alpha,
        "height": ROWS, "width": COLUMNS,
    }  # fmt: skip
    if alpha:
        profile |= {"alpha": "YES", "photometric": "MINISBLACK"}
    with rasterio.open(path, "w", **profile | options) as raster:
        raster.write(STORED, 1)
        if alpha:
            raster.write(np.where(VALID, 65535, 0).astype(np.uint16), 2)
    return path


def internal(path: Path, **options: Any) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, **options)
        with rasterio.open(path, "r+") as raster:
            raster.write_mask(VALID)


def internal_after_overviews(path: Path) -> None:
    write(path)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "r+") as raster,
    ):
        raster.build_overviews([2, 4], Resampling.nearest)
        raster.write_mask(VALID)


def cog(path: Path, compress: str = "DEFLATE") -> None:
    source = path.with_suffix(".source.tif")
    internal(source)
    copy(source, path, driver="COG", blocksize=128, compress=compress)
    source.unlink()


def sidecar(path: Path, **options: Any) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False):
        write(path, **options)
        with rasterio.open(path, "r+") as raster:
            raster.write_mask(VALID)
    assert path.with_name(path.name + ".msk").is_file()


def alpha(path: Path) -> None:
    write(path, alpha=True)
    with rasterio.open(path) as raster:
        assert raster.colorinterp[1] == ColorInterp.alpha


MASKED: dict[str, Callable[[Path], object]] = {
    "an internal mask": internal,
    "an internal mask, BigTIFF": lambda path: internal(path, BIGTIFF="YES"),
    "an internal mask, and a nodata that no pixel has": lambda path: internal(path, nodata=0),
    "an internal mask behind overviews": internal_after_overviews,
    "an internal mask of a COG": cog,
    "an internal mask of a COG, LZW": lambda path: cog(path, "LZW"),
    "a file of its mask": sidecar,
    "a file of its mask, LZW": lambda path: sidecar(path, compress="LZW"),
    "an alpha band": alpha,
    "an alpha band, and a nodata that no pixel has": lambda path: write(path, alpha=True, nodata=0),
}


def read(href: str, left: float = LEFT) -> tuple[np.ndarray, FaultLog]:
    bounds = (left, TOP - 10 * ROWS, left + 10 * COLUMNS, TOP)
    spec, faults = RasterSpec(EPSG, bounds, (10, 10)), FaultLog()
    reader = NativeReader(url=href, spec=spec, dtype=np.dtype("uint16"), faults=faults)
    whole = reader.read(Window(0, 0, COLUMNS, ROWS))
    part = reader.read(Window(100, 50, 90, 170))
    np.testing.assert_array_equal(part, whole[50:220, 100:190])
    return whole, faults


@pytest.mark.parametrize("name", MASKED)
def test_masked_pixels_are_nodata(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    MASKED[name](path)
    values, faults = read(str(path))
    assert not faults
    np.testing.assert_array_equal(values, EXPECTED)


@pytest.mark.parametrize("name", MASKED)
def test_masked_pixels_are_nodata_where_a_raster_is_warped(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    MASKED[name](path)
    values, faults = read(str(path), left=LEFT + 43)
    assert not faults
    np.testing.assert_array_equal(values[:, :-5], EXPECTED[:, 4:-1])
    assert not values[:, -4:].any()


@pytest.mark.parametrize("name", MASKED)
def test_masked_pixels_are_nodata_on_a_server(tmp_path: Path, name: str) -> None:
    MASKED[name](tmp_path / "a.tif")
    files = {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    with faulty_server(FaultyServer(files)) as server:
        values, faults = read(f"{server.address}/a.tif")
    assert not faults
    np.testing.assert_array_equal(values, EXPECTED)


def test_a_file_of_a_mask_is_sought_once_and_only_beside_a_raster_without_nodata(
    tmp_path: Path,
) -> None:
    write(tmp_path / "stated.tif", nodata=0)
    write(tmp_path / "bare.tif")
    files = {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()}
    with faulty_server(FaultyServer(files)) as server:
        asked: list[str] = []
        server.how = lambda path, first, before: asked.append(path) or 200  # type: ignore[func-returns-value]
        for name in ("stated.tif", "bare.tif"):
            values, faults = read(f"{server.address}/{name}")
            np.testing.assert_array_equal(values, STORED)
            assert not faults
    assert [path for path in asked if path.endswith(".msk")] == ["/bare.tif.msk"]


@pytest.mark.parametrize("name", [name for name in MASKED if name.startswith("an internal")])
def test_an_internal_mask_is_read_without_gdal(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    MASKED[name](path)
    header = read_header(FileRanges(str(path)))
    assert (header is None) == ("LZW" in name)
    if header is not None:
        assert header.mask is not None
        stored = fetch_window(FileRanges(str(path)), header, (13, 300), (120, 290))
        np.testing.assert_array_equal(stored.decoded(), EXPECTED[13:300, 120:290])


def test_a_band_and_two_others_are_no_band(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", alpha=True, count=3, photometric="MINISBLACK")
    values, faults = read(str(path))
    assert not values.any()
    assert {fault.reason for fault in faults} == {"has 2 bands, not one"}
