"""Rasters that only GDAL reads, from a server that fails for a while, goes wrong, or is calm."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.warp import transform
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError
from pipeline.raster import stackstac_reader
from pipeline.raster.read_stats import Fault, FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from tests.faulty_server import FaultyServer, Outcome, faulty_server
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster

SHAPE = (300, 260)
SPEC = RasterSpec(EPSG, (LEFT, TOP - 3000, LEFT + 2600, TOP), (10, 10))
WHOLE = Window(0, 0, 260, 300)
OTHER_ZONE = EPSG + 1

STRIPES: dict[str, Any] = {
    "driver": "GTiff", "compress": None, "blocksize": None, "overviews": None,
    "tiled": False, "blockysize": 16,
}  # fmt: skip
JPEG_2000: dict[str, Any] = {
    "driver": "JP2OpenJPEG", "REVERSIBLE": "YES", "QUALITY": "100", "compress": None,
    "blocksize": None, "overviews": None, "blockxsize": 64, "blockysize": 64,
}  # fmt: skip
RASTERS = ["striped.tif", "other_zone.tif", "tiles.jp2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Noise, much more than a request's worth, so that there is a middle of the file."""
    folder, rng = tmp_path_factory.mktemp("archive"), np.random.default_rng(0)
    values = rng.integers(1, 10000, SHAPE).astype(np.uint16)
    write_raster(folder / "striped.tif", values, **STRIPES)
    write_raster(folder / "tiles.jp2", values, **JPEG_2000)
    (x,), (y,) = transform(f"EPSG:{EPSG}", f"EPSG:{OTHER_ZONE}", [LEFT], [TOP])
    around = rng.integers(1, 10000, (500, 500)).astype(np.uint16)
    write_raster(
        folder / "other_zone.tif",
        around,
        left=round(x) - 1000,
        top=round(y) + 1000,
        epsg=OTHER_ZONE,
    )
    return {f"/{path.name}": path.read_bytes() for path in map(Path, folder.iterdir())}


@pytest.fixture
def faulty(files: dict[str, bytes]) -> Iterator[FaultyServer]:
    with faulty_server(FaultyServer(files)) as server:
        yield server


def read(faulty: FaultyServer, name: str, retry_seconds: float = 60) -> tuple[np.ndarray, FaultLog]:
    faults = FaultLog()
    reader = NativeReader(
        url=f"{faulty.address}/{name}",
        spec=SPEC,
        dtype=np.dtype("uint16"),
        faults=faults,
        settings=ReaderSettings(timeout=10, retry_seconds=retry_seconds),
    )
    return reader.read(WHOLE), faults


@pytest.fixture(scope="module")
def expected(files: dict[str, bytes]) -> dict[str, np.ndarray]:
    """What a calm server gives."""
    found = {}
    with faulty_server(FaultyServer(files)) as calm:
        for name in RASTERS:
            values, faults = read(calm, name)
            assert not faults
            assert faults.retries == 0
            assert values.all()
            # The header is asked for once without GDAL, then by GDAL; then comes the middle.
            assert calm.counts[f"/{name}", 0] > 1
            assert any(each.first and each.path == f"/{name}" for each in calm.requests)
            found[name] = values
    return found


def opening(first: int, before: int) -> bool:
    """Whether a request is one of GDAL's for a file's header."""
    return first == 0 and before > 0


@pytest.mark.parametrize("status", [503, 429])
@pytest.mark.parametrize("name", RASTERS)
def test_each_failure_to_open_is_a_retry(
    faulty: FaultyServer, expected: dict[str, np.ndarray], name: str, status: int
) -> None:
    faulty.how = lambda path, first, before: (
        status if opening(first, before) and before <= 2 else 200
    )
    values, faults = read(faulty, name)
    np.testing.assert_array_equal(values, expected[name])
    assert not faults
    assert faults.retries == faulty.failures == 2


@pytest.mark.parametrize(("name", "status"), zip(RASTERS, [503, 429, 503], strict=True))
def test_a_server_that_fails_in_the_middle_gets_retries(
    faulty: FaultyServer, expected: dict[str, np.ndarray], name: str, status: int
) -> None:
    faulty.how = lambda path, first, before: status if first and faulty.failures < 4 else 200
    values, faults = read(faulty, name)
    np.testing.assert_array_equal(values, expected[name])
    assert not faults
    assert faulty.failures == 4
    assert faults.retries == faulty.failures


def once_each(path: str, first: int, before: int) -> Outcome:
    return "stops short" if first and not before else 200


@pytest.mark.parametrize("name", RASTERS)
def test_responses_that_break_off_in_the_middle_are_requested_again(
    faulty: FaultyServer, expected: dict[str, np.ndarray], name: str
) -> None:
    faulty.how = once_each
    values, faults = read(faulty, name)
    assert faulty.failures > 0
    assert not faults
    np.testing.assert_array_equal(values, expected[name])
    assert 1 <= faults.retries <= faulty.failures


@pytest.mark.parametrize("name", RASTERS)
def test_a_server_that_fails_on_is_no_raster_without_pixels(
    faulty: FaultyServer, name: str
) -> None:
    faulty.how = lambda path, first, before: 503 if first else 200
    with pytest.raises(ReadingError, match=rf"{name}: its server answered HTTP 503\. Start again"):
        read(faulty, name, retry_seconds=0.5)


@pytest.mark.parametrize("name", RASTERS)
def test_a_raster_that_is_gone_when_gdal_opens_it_is_a_fault(
    faulty: FaultyServer, name: str
) -> None:
    faulty.how = lambda path, first, before: 404 if opening(first, before) else 200
    values, faults = read(faulty, name)
    assert not values.any()
    assert list(faults) == [Fault(f"{faulty.address}/{name}", "", "its server answered HTTP 404")]
    assert faults.retries == 0
    assert faulty.failures == 1


@pytest.mark.parametrize("name", RASTERS)
def test_a_raster_that_goes_while_gdal_reads_it_is_a_fault(faulty: FaultyServer, name: str) -> None:
    faulty.how = lambda path, first, before: 404 if first else 200
    values, faults = read(faulty, name)
    assert not values.any()
    assert list(faults) == [Fault(f"{faulty.address}/{name}", "", "its server answered HTTP 404")]
    assert faults.retries == 0


def test_a_pause_before_a_retry_holds_no_slot_of_gdal(
    faulty: FaultyServer, expected: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that waited for a busy server kept all others out of GDAL."""
    monkeypatch.setattr(stackstac_reader, "_gdal_slots", threading.BoundedSemaphore(1))
    busy, calm = RASTERS[:2]
    failed, recovered = threading.Event(), threading.Event()

    def how(path: str, first: int, before: int) -> Outcome:
        if path == f"/{busy}" and opening(first, before) and not recovered.is_set():
            failed.set()
            return 503
        return 200

    faulty.how = how
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(read, faulty, busy, 20)
        assert failed.wait(30)
        np.testing.assert_array_equal(read(faulty, calm)[0], expected[calm])
        recovered.set()
        np.testing.assert_array_equal(waiting.result()[0], expected[busy])
