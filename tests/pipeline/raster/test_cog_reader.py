"""Tiled GeoTIFFs read without GDAL, against GDAL; what is not plain is left to it."""

import struct
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.raster.byte_ranges import FileRanges
from pipeline.raster.cog_header import CogHeader, read_header
from pipeline.raster.cog_reader import fetch_window
from pipeline.raster.read_errors import Unreadable
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader
from pipeline.raster.window import as_unsigned
from tests.fuzz.targets.tiff_fields import Field, first_directory, with_directory
from tests.pipeline.rasters import EPSG, LEFT, TOP

GRID = Affine(10, 0, LEFT, 0, -10, TOP)
_numbers = count()


def write(path: Path, values: np.ndarray, **options: Any) -> Path:
    """Values (rows, columns) as a GeoTIFF of tiles, unless the options say otherwise."""
    profile: dict[str, Any] = {
        "driver": "GTiff", "tiled": True, "blockxsize": 128, "blockysize": 128,
        "compress": "DEFLATE", "crs": f"EPSG:{EPSG}", "transform": GRID, "count": 1,
        "dtype": values.dtype, "height": values.shape[-2], "width": values.shape[-1],
    }  # fmt: skip
    with rasterio.open(path, "w", **profile | options) as raster:
        raster.write(values, None if values.ndim == 3 else 1)
    return path


def header_of(path: Path) -> CogHeader | None:
    return read_header(FileRanges(str(path)))


def natively(path: Path, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
    header = header_of(path)
    assert header is not None
    stored = fetch_window(FileRanges(str(path)), header, rows, columns)
    return as_unsigned(stored.decoded(), header.grid.nodata)


def by_gdal(path: Path) -> np.ndarray:
    """The whole band, 0 where it is nodata."""
    with rasterio.open(path) as raster:
        values = raster.read(1)
        if raster.nodata is not None:
            values[values == raster.nodata] = 0
    return values


@dataclass(frozen=True)
class Kind:
    """A raster as an archive may have it."""

    shape: tuple[int, int]
    dtype: str
    block: int
    compress: str
    predictor: int
    nodata: int | None
    bigtiff: str
    layout: str  # overviews none, last (GTiff) or first (COG)
    sparse: bool


KINDS = st.builds(
    Kind,
    shape=st.tuples(st.integers(1, 700), st.integers(1, 700)),
    dtype=st.sampled_from(["uint8", "uint16"]),
    block=st.sampled_from([128, 256, 512, 1024]),
    compress=st.sampled_from(["DEFLATE", "NONE"]),
    predictor=st.sampled_from([1, 2]),
    nodata=st.sampled_from([None, 0, 7, 255]),
    bigtiff=st.sampled_from(["YES", "NO"]),
    layout=st.sampled_from(["none", "last", "first"]),
    sparse=st.booleans(),
).filter(lambda kind: kind.predictor == 1 or kind.compress == "DEFLATE")


def write_kind(folder: Path, kind: Kind, values: np.ndarray) -> Path:
    path = folder / f"{next(_numbers)}.tif"
    options = {"compress": kind.compress, "nodata": kind.nodata, "BIGTIFF": kind.bigtiff}
    tiles = {"blockxsize": kind.block, "blockysize": kind.block}
    if kind.compress == "DEFLATE":
        options["predictor"] = kind.predictor
    if kind.sparse:
        options["SPARSE_OK"] = "TRUE"
        values[: kind.block, : kind.block] = kind.nodata or 0
    write(path, values, **options, **tiles)
    if kind.layout == "last" and max(kind.shape) > 4:  # smaller ones have no such overviews
        with rasterio.open(path, "r+") as raster:
            raster.build_overviews([2, 4], Resampling.nearest)
    if kind.layout == "first":
        options["predictor"] = "YES" if kind.predictor == 2 else "NO"
        source, path = path, path.with_suffix(".cog.tif")
        copy(source, path, driver="COG", blocksize=kind.block, overviews="AUTO", **options)
    return path


@given(KINDS, st.data())
def test_windows_agree_with_gdal(
    tmp_path_factory: pytest.TempPathFactory, kind: Kind, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    most = np.iinfo(kind.dtype).max
    values = rng.integers(0, most + 1, kind.shape).astype(kind.dtype)  # differences that wrap
    values[values < most // 4] = 7
    path = write_kind(tmp_path_factory.getbasetemp(), kind, values)
    expected = by_gdal(path)
    height, width = kind.shape
    windows = [((0, height), (0, width))]
    for _ in range(4):
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        bottom = data.draw(st.integers(top + 1, height))
        windows.append(((top, bottom), (left, data.draw(st.integers(left + 1, width)))))
    for rows, columns in windows:
        found = natively(path, rows, columns)
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, expected[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("bigtiff", ["YES", "NO"])
def test_block_tables_may_lie_beyond_the_first_bytes(tmp_path: Path, bigtiff: str) -> None:
    values = np.random.default_rng(1).integers(1, 9999, (1000, 1010)).astype(np.uint16)
    tiles = {"blockxsize": 16, "blockysize": 16}
    path = write(tmp_path / "small_blocks.tif", values, BIGTIFF=bigtiff, **tiles)
    with path.open("rb") as file:
        assert file.read(16384).find(values[:16, :16].tobytes()) == -1
    assert len(header_of(path).offsets) == 63 * 64  # type: ignore[union-attr]
    np.testing.assert_array_equal(natively(path, (0, 1000), (0, 1010)), values)
    np.testing.assert_array_equal(natively(path, (333, 700), (501, 1010)), values[333:700, 501:])


@pytest.mark.parametrize("text", [b"nan", b"-99", b"1e9", b"0.5"])
def test_a_nodata_that_no_pixel_can_have_is_none(tmp_path: Path, text: bytes) -> None:
    values = np.arange(100, dtype=np.uint16).reshape(10, 10)
    path = write(tmp_path / "a.tif", values, nodata=123)
    tag = struct.pack("<HHI", 42113, 2, 4)
    content = path.read_bytes()
    assert content.count(tag + b"123\0") == 1
    path.write_bytes(content.replace(tag + b"123\0", tag + text.ljust(4, b"\0")))
    np.testing.assert_array_equal(natively(path, (0, 10), (0, 10)), values)


# What is left to GDAL.

NOISE = np.random.default_rng(2).integers(1, 9999, (150, 200)).astype(np.uint16)
FOREIGN = (
    "+proj=tmerc +lat_0=0 +lon_0=3.002 +k=0.9996 +x_0=500000 +y_0=0 +ellps=intl +units=m +no_defs"
)
LEFT_TO_GDAL: dict[str, dict[str, Any]] = {
    "LZW": {"compress": "LZW"},
    "ZSTD": {"compress": "ZSTD"},
    "stripes": {"tiled": False, "blockxsize": None, "blockysize": 16},
    "big-endian": {"ENDIANNESS": "BIG"},
    "12 bits": {"NBITS": 14},
    "pixel is point": {"GEOTIFF_VERSION": "1.1"},
    "a CRS of its own": {"crs": FOREIGN},
    "rotated": {"transform": GRID @ Affine.rotation(4)},
    "JPEG 2000": {
        "driver": "JP2OpenJPEG", "REVERSIBLE": "YES", "QUALITY": "100", "compress": None,
        "tiled": None,
    },
}  # fmt: skip


def reader_of(path: Path, faults: FaultLog, shape: tuple[int, int] = (150, 200)) -> NativeReader:
    bounds = (LEFT, TOP - 10 * shape[0], LEFT + 10 * shape[1], TOP)
    spec = RasterSpec(EPSG, bounds, (10, 10))
    return NativeReader(url=str(path), spec=spec, dtype=np.dtype("uint16"), faults=faults)


@pytest.mark.parametrize("name", LEFT_TO_GDAL)
def test_other_kinds_of_rasters_are_read_by_gdal(tmp_path: Path, name: str) -> None:
    options = {"nodata": 0, **LEFT_TO_GDAL[name]}
    path = tmp_path / ("a.jp2" if name == "JPEG 2000" else "a.tif")
    write(path, NOISE, **{k: v for k, v in options.items() if v is not None})
    if name == "pixel is point":
        with rasterio.open(path, "r+") as raster:
            raster.update_tags(AREA_OR_POINT="Point")
    assert header_of(path) is None
    target = {"crs": f"EPSG:{EPSG}", "transform": GRID, "width": 200, "height": 150}
    with rasterio.open(path) as raster, WarpedVRT(raster, **target) as warped:
        expected = warped.read(1)
    assert (expected > 0).mean() > 0.7
    faults = FaultLog()
    np.testing.assert_array_equal(
        reader_of(path, faults).read(Window(0, 0, 200, 150)), np.where(expected, expected, 0)
    )
    assert not faults


@pytest.mark.parametrize(
    ("options", "values", "reason"),
    [
        ({"count": 3}, np.stack([NOISE] * 3), "has 3 bands, not one"),
        ({}, NOISE.astype(np.float32), "holds float32, not integers"),
        ({"crs": None}, NOISE, "has no coordinate reference system"),
    ],
)
def test_a_raster_that_is_no_band_is_damaged(
    tmp_path: Path, options: dict[str, Any], values: np.ndarray, reason: str
) -> None:
    path = write(tmp_path / "a.tif", values, **options)
    assert header_of(path) is None
    faults = FaultLog()
    assert not reader_of(path, faults).read(Window(0, 0, 200, 150)).any()
    assert [fault.reason for fault in faults] == [reason]


@pytest.mark.parametrize("change", ["a tag twice", "two predictors", "tiles of bytes"])
def test_a_header_that_readers_read_in_other_ways_is_left_to_gdal(
    tmp_path: Path, change: str
) -> None:
    path = write(tmp_path / "a.tif", NOISE, nodata=0, predictor=2)
    assert header_of(path) is not None
    fields, following = first_directory(path.read_bytes())
    places = {field.tag: number for number, field in enumerate(fields)}
    if change == "a tag twice":
        fields.append(Field(257, 3, 1, struct.pack("<H", 100)))
    elif change == "two predictors":
        fields[places[317]] = Field(317, 3, 2, struct.pack("<HH", 2, 2))
    else:
        fields[places[322]] = Field(322, 1, 1, b"\x80")
    path.write_bytes(with_directory(path.read_bytes(), fields, following))
    assert header_of(path) is None
    with rasterio.open(path) as raster:
        expected = raster.read(1)
    faults = FaultLog()
    found = reader_of(path, faults).read(Window(0, 0, 200, 150))
    assert not faults
    np.testing.assert_array_equal(found, np.where(expected == 65535, 0, expected))  # saturated


# Files that are not what they were.


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, CogHeader]:
    path = write(tmp_path_factory.mktemp("sound") / "a.tif", NOISE, nodata=0, predictor=2)
    header = header_of(path)
    assert header is not None
    return path.read_bytes(), header


def same(one: CogHeader | None, other: CogHeader) -> bool:
    return one is not None and all(
        np.array_equal(mine, asdict(other)[name]) for name, mine in asdict(one).items()
    )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@settings(max_examples=4 * settings.default.max_examples)
@given(
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=4),
    st.one_of(st.none(), st.integers(0, 2048)),
)
def test_a_garbled_header_is_a_fault_or_gives_its_pixels(
    tmp_path_factory: pytest.TempPathFactory,
    sound: tuple[bytes, CogHeader],
    changes: list[tuple[int, int]],
    cut: int | None,
) -> None:
    content, header = sound
    garbled = bytearray(content)
    for place, byte in changes:
        garbled[place] = byte
    path = tmp_path_factory.getbasetemp() / f"garbled{next(_numbers)}.tif"
    path.write_bytes(garbled[:cut])
    try:
        unchanged = same(read_header(FileRanges(str(path))), header)
    except Unreadable:
        unchanged = False
    faults = FaultLog()
    found = reader_of(path, faults).read(Window(0, 0, 200, 150))
    path.unlink()
    if faults:
        assert not found.any()
    elif unchanged:
        np.testing.assert_array_equal(found, NOISE)


@given(st.integers(0, 10**9), st.integers(1, 255))
@example(36, 36)
def test_a_changed_byte_of_a_block_is_noticed_or_means_nothing(
    tmp_path_factory: pytest.TempPathFactory, sound: tuple[bytes, CogHeader], at: int, bits: int
) -> None:
    content, header = sound
    block = at % len(header.offsets)
    place = int(header.offsets[block]) + at % int(header.counts[block])
    path = changed(tmp_path_factory, content, place, bits)
    try:
        read = natively(path, (0, 150), (0, 200))
    except Unreadable:
        assert_noticed(path)
    else:  # such as a byte in the code of a symbol that does not occur
        np.testing.assert_array_equal(read, NOISE)
    path.unlink()


def test_a_changed_checksum_of_a_block_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, sound: tuple[bytes, CogHeader]
) -> None:
    content, header = sound
    for end in (header.offsets + header.counts).tolist():
        path = changed(tmp_path_factory, content, end - 1, 1)
        assert_noticed(path)
        path.unlink()


def changed(folders: pytest.TempPathFactory, content: bytes, place: int, bits: int) -> Path:
    """A file of the content with bits of one byte changed."""
    altered = bytearray(content)
    altered[place] ^= bits
    path = folders.getbasetemp() / f"changed{next(_numbers)}.tif"
    path.write_bytes(altered)
    return path


def assert_noticed(path: Path) -> None:
    with pytest.raises(Unreadable, match="is truncated or damaged"):
        natively(path, (0, 150), (0, 200))
    faults = FaultLog()
    assert not reader_of(path, faults).read(Window(0, 0, 200, 150)).any()
    assert [fault.reason for fault in faults] == ["is truncated or damaged"]
