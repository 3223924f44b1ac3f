"""The reader on files: native windows, warps, offsets, and rasters that cannot be read."""

import pickle
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from dask.base import tokenize
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError
from pipeline.raster.harmonised import harmonised
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster


def spec_of(
    size: tuple[int, int], resolution: float = 10, left: float = LEFT, top: float = TOP
) -> RasterSpec:
    """A grid of `size` (rows, columns) from the upper left corner on."""
    bounds = (left, top - size[0] * resolution, left + size[1] * resolution, top)
    return RasterSpec(EPSG, bounds, (resolution, resolution))


make_reader = partial(NativeReader, dtype=np.dtype("uint16"), fill_value=0)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 10000, (300, 260)).astype(np.uint16)


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> str:
    return write_raster(tmp_path_factory.mktemp("cog") / "ten.tif", values).href


@pytest.fixture(scope="module")
def coarse_cog(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> str:
    path = tmp_path_factory.mktemp("cog") / "twenty.tif"
    return write_raster(path, values, resolution=20).href


def padded(values: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
    """The window of an array that is 0 beyond its edges."""
    margin = 700
    return np.pad(values, margin)[row + margin :, column + margin :][:height, :width]


WINDOWS = st.tuples(
    st.integers(-120, 290), st.integers(-120, 250), st.integers(1, 150), st.integers(1, 150)
).filter(lambda w: w[0] + w[2] > 0 and w[1] + w[3] > 0)


@given(WINDOWS)
def test_reads_any_window_of_an_equal_grid(
    cog: str, values: np.ndarray, window: tuple[int, int, int, int]
) -> None:
    row, column, height, width = window
    reader = make_reader(url=cog, spec=spec_of((300, 260)))
    found = reader.read(Window(column, row, width, height))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, padded(values, row, column, height, width))


@given(WINDOWS, st.sampled_from([2, 4]))
def test_repeats_pixels_of_a_coarser_grid(
    coarse_cog: str, values: np.ndarray, window: tuple[int, int, int, int], ratio: int
) -> None:
    row, column, height, width = window
    reader = make_reader(url=coarse_cog, spec=spec_of((600, 520), 20 / ratio))
    repeated = values.repeat(ratio, axis=0).repeat(ratio, axis=1)
    found = reader.read(Window(column, row, width, height))
    np.testing.assert_array_equal(found, padded(repeated, row, column, height, width))


def test_a_grid_may_begin_in_the_middle_of_a_coarser_pixel(
    coarse_cog: str, values: np.ndarray
) -> None:
    spec = spec_of((50, 60), left=LEFT + 10, top=TOP - 30)
    reader = make_reader(url=coarse_cog, spec=spec, offsets={coarse_cog: 100})
    repeated = (values + np.uint16(100)).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(reader.read(Window(0, 0, 60, 50)), padded(repeated, 3, 1, 50, 60))


def test_a_grid_between_the_pixels_takes_the_nearest(cog: str, values: np.ndarray) -> None:
    reader = make_reader(url=cog, spec=spec_of((20, 30), left=LEFT + 43, top=TOP - 28))
    found = reader.read(Window(0, 0, 30, 20))
    np.testing.assert_array_equal(found, values[3:23, 4:34])
    beyond = make_reader(url=cog, spec=spec_of((20, 30), left=LEFT - 103, top=TOP + 98))
    found = beyond.read(Window(0, 0, 30, 20))
    np.testing.assert_array_equal(found, padded(values, -10, -10, 20, 30))


def test_a_finer_raster_gives_its_nearest_pixels(cog: str, values: np.ndarray) -> None:
    found = make_reader(url=cog, spec=spec_of((40, 40), 30)).read(Window(0, 0, 40, 40))
    np.testing.assert_array_equal(found, values[1:120:3, 1:120:3])


def test_another_crs_is_warped_window_by_window(tmp_path: Path, values: np.ndarray) -> None:
    # The neighbouring zone's coordinates of the same place.
    asset = write_raster(tmp_path / "zone32.tif", values, left=183300, top=5709600, epsg=32632)
    spec = spec_of((400, 400), left=600000, top=5701000)
    with (
        rasterio.open(asset.href) as raster,
        WarpedVRT(
            raster,
            crs=f"EPSG:{EPSG}",
            transform=spec.transform,
            height=400,
            width=400,
            resampling=Resampling.nearest,
        ) as warped,
    ):
        whole = warped.read(1)
    assert (whole > 0).mean() > 0.3
    reader = make_reader(url=asset.href, spec=spec)
    # GDAL approximates the transformation within an eighth of a pixel, a window at a time.
    found = reader.read(Window(100, 150, 200, 180))
    assert (found == whole[150:330, 100:300]).mean() > 0.8
    assert ((found > 0) == (whole[150:330, 100:300] > 0)).mean() > 0.99


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "uint32"])
def test_integers_of_any_type_become_uint16(tmp_path: Path, dtype: str) -> None:
    stored = np.array([[0, 1, 200], [255, 77, 3]]).astype(dtype)
    if dtype in ("int16", "int32"):
        stored[0, 1] = -5
    if dtype in ("int32", "uint32"):
        stored[0, 2] = 70000
    asset = write_raster(tmp_path / "a.tif", stored)
    found = make_reader(url=asset.href, spec=spec_of((2, 3))).read(Window(0, 0, 3, 2))
    assert found.dtype == np.uint16
    expected = np.clip(stored.astype(np.int64), 0, 65535)
    np.testing.assert_array_equal(found, np.where(expected == 65535, 0, expected))  # saturated


def test_into_uint8_large_values_do_not_wrap(tmp_path: Path) -> None:
    asset = write_raster(tmp_path / "a.tif", np.array([[4, 260, 65534]], np.uint16))
    reader = NativeReader(url=asset.href, spec=spec_of((1, 3)), dtype=np.dtype("uint8"))
    assert reader.read(Window(0, 0, 3, 1)).tolist() == [[4, 255, 255]]


@pytest.mark.parametrize("shift", [0, 3])
def test_the_rasters_own_nodata_is_0(tmp_path: Path, shift: float) -> None:
    stored = np.full((6, 6), 500, np.uint16)
    stored[2, 2], stored[4, 4] = 65535, 0
    asset = write_raster(tmp_path / "a.tif", stored, nodata=65535)
    spec = spec_of((8, 8), left=LEFT - 10 + shift, top=TOP + 10)
    found = make_reader(url=asset.href, spec=spec, offsets={asset.href: -100}).read(
        Window(0, 0, 8, 8)
    )
    expected = np.zeros((8, 8), int)
    expected[1:7, 1:7] = 400
    expected[3, 3] = expected[5, 5] = 0
    np.testing.assert_array_equal(found, expected)


@given(
    st.lists(st.integers(0, 65535), min_size=1, max_size=8),
    st.one_of(st.integers(-70000, 70000), st.sampled_from([-65536, -65535, -65534, 65535])),
)
def test_offsets_agree_with_plain_arithmetic(numbers: list[int], offset: int) -> None:
    plain = [0 if n in (0, 65535) else min(max(n + offset, 1), 65535) for n in numbers]
    found = harmonised(np.array([numbers], np.uint16), offset)
    assert found.dtype == np.uint16
    assert found.tolist() == [plain]


def test_is_pickled_and_shared_by_threads(cog: str, values: np.ndarray) -> None:
    reader = pickle.loads(
        pickle.dumps(make_reader(url=cog, spec=spec_of((300, 260)), offsets={cog: -1000}))
    )
    expected = harmonised(values.copy(), -1000)
    wrong = []

    def read(number: int) -> None:
        for i in range(10):
            row = (number * 17 + i * 23) % 200
            found = reader.read(Window(5, row, 100, 80))
            if not np.array_equal(found, expected[row : row + 80, 5:105]):
                wrong.append((number, i))

    threads = [threading.Thread(target=read, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_fault_logs_are_pickled_with_their_faults_and_tokenised() -> None:
    log = FaultLog()
    make_reader(url="/nowhere/a.tif", spec=spec_of((2, 2)), faults=log).read(Window(0, 0, 2, 2))
    assert list(pickle.loads(pickle.dumps(log))) == list(log)
    assert tokenize(log) == tokenize(log)


@pytest.mark.parametrize("wrong", [{"fill_value": 1}, {"scale_offset": (0.0001, 0)}])
def test_refuses_options_that_it_does_not_support(cog: str, wrong: dict) -> None:
    with pytest.raises(ValueError, match="does not rescale"):
        make_reader(url=cog, spec=spec_of((2, 2)), **wrong)


# Rasters that cannot be read.


def fault_of(href: str, size: tuple[int, int] = (300, 260)) -> str:
    """Read all of a raster that cannot be read; the reason that is noted."""
    log = FaultLog()
    reader = make_reader(url=href, spec=spec_of(size), bands={href: "B04"}, faults=log)
    found = reader.read(Window(0, 0, size[1], size[0]))
    assert found.shape == size
    assert not found.any()
    (fault,) = log
    assert (fault.asset, fault.band) == (href, "B04")
    strict = make_reader(url=href, spec=spec_of(size), settings=ReaderSettings(strict=True))
    with pytest.raises(ReadingError) as raised:
        strict.read(Window(0, 0, size[1], size[0]))
    assert href in str(raised.value)
    assert fault.reason in str(raised.value)
    return fault.reason


@pytest.mark.parametrize("compress", ["DEFLATE", "LZW", "ZSTD", "NONE"])
def test_a_truncated_file_is_noticed_wherever_it_ends(
    tmp_path: Path, values: np.ndarray, compress: str
) -> None:
    asset = write_raster(tmp_path / "whole.tif", values, compress=compress)
    whole = Path(asset.href).read_bytes()
    cut = tmp_path / "cut.tif"
    # The last four bytes of a COG repeat the last block's length; nobody needs them.
    lengths = [0, 3, 8, 200, 500, len(whole) - 5, len(whole) - 40]
    lengths += [len(whole) * part // 16 for part in range(1, 16)]
    for length in lengths:
        cut.write_bytes(whole[:length])
        reason = fault_of(str(cut))
        assert reason in ("is truncated or damaged", "has no coordinate reference system"), length


def test_a_truncated_file_serves_the_blocks_that_it_has(tmp_path: Path, values: np.ndarray) -> None:
    asset = write_raster(tmp_path / "whole.tif", values)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(Path(asset.href).read_bytes()[:-10])
    log = FaultLog()
    reader = make_reader(url=str(cut), spec=spec_of((300, 260)), faults=log)
    np.testing.assert_array_equal(reader.read(Window(0, 0, 128, 128)), values[:128, :128])
    assert not log
    assert not reader.read(Window(200, 200, 60, 100)).any()
    assert len(log) == 1


def test_a_file_that_was_never_filled_is_noticed(tmp_path: Path, values: np.ndarray) -> None:
    asset = write_raster(tmp_path / "whole.tif", values)
    content = Path(asset.href).read_bytes()
    half = len(content) // 2
    Path(asset.href).write_bytes(content[:half] + bytes(len(content) - half))
    assert fault_of(asset.href) == "is truncated or damaged"


def test_other_files_that_are_no_band_are_faults(tmp_path: Path, values: np.ndarray) -> None:
    assert fault_of(str(tmp_path / "absent.tif")) == "there is no such file"
    text = tmp_path / "error.tif"
    text.write_text("<html>not found</html>")
    assert fault_of(str(text)) == "is neither a GeoTIFF nor a JPEG 2000 file"
    plain = write_raster(tmp_path / "plain.tif", values, epsg=None)
    assert fault_of(plain.href) == "has no coordinate reference system"
    real = write_raster(tmp_path / "float.tif", values.astype(np.float32))
    assert fault_of(real.href) == "holds float32, not integers"
    elsewhere = write_raster(tmp_path / "elsewhere.tif", values, left=LEFT + 50000)
    assert fault_of(elsewhere.href) == "lies elsewhere than its item says"
    colour = tmp_path / "colour.tif"
    with rasterio.open(
        colour,
        "w",
        driver="GTiff",
        dtype="uint8",
        count=3,
        width=4,
        height=4,
        crs=f"EPSG:{EPSG}",
        transform=Affine(10, 0, LEFT, 0, -10, TOP),
    ) as raster:
        raster.write(np.ones((3, 4, 4), np.uint8))
    assert fault_of(str(colour)) == "has 3 bands, not one"


def test_file_urls_and_names_with_spaces(tmp_path: Path, values: np.ndarray) -> None:
    asset = write_raster(tmp_path / "a band?.tif", values)
    for href in (asset.href, Path(asset.href).as_uri()):
        found = make_reader(url=href, spec=spec_of((4, 4))).read(Window(0, 0, 4, 4))
        np.testing.assert_array_equal(found, values[:4, :4])


def test_a_file_that_is_replaced_while_its_header_is_known(
    tmp_path: Path, values: np.ndarray
) -> None:
    asset = write_raster(tmp_path / "a.tif", values)
    reader = make_reader(url=asset.href, spec=spec_of((300, 260)))
    whole = Window(0, 0, 260, 300)
    np.testing.assert_array_equal(reader.read(whole), values)
    other = values[::-1].copy()
    write_raster(tmp_path / "a.tif", other, blocksize=256, compress="LZW")
    np.testing.assert_array_equal(reader.read(whole), other)
    write_raster(tmp_path / "a.tif", values, blocksize=512)
    np.testing.assert_array_equal(reader.read(whole), values)
    assert not len(reader.faults)
