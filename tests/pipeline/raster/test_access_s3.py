"""Rasters on an archive's own S3 server, with keys, as those of the Copernicus Data Space."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError
from pipeline.raster.access import Access
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from tests.catalog_servers import serving
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster
from tests.range_server import RangeHandler

SHAPE = (260, 330)
BOUNDS = (LEFT, TOP - 10 * SHAPE[0], LEFT + 10 * SHAPE[1], TOP)
WINDOWS = [Window(0, 0, 330, 260), Window(100, 50, 77, 131), Window(-20, 200, 60, 100)]
OTHERS = {
    "AWS_ACCESS_KEY_ID": "another", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_SESSION_TOKEN": "hush",
    "AWS_PROFILE": "other", "AWS_NO_SIGN_REQUEST": "YES",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_S3_ENDPOINT": "127.0.0.1:9",
}  # fmt: skip


@dataclass
class Store:
    """An S3 server that looks at no signature: what it serves, and the headers that came."""

    files: dict[str, bytes]
    address: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)


class _S3(RangeHandler):
    def __init__(self, store: Store, *args: Any) -> None:
        self.store = store
        super().__init__(*args)

    def get(self) -> None:
        self.store.headers.append({name.lower(): value for name, value in self.headers.items()})
        content = self.store.files.get(self.path)
        if content is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self.answer(*self.part_of(content))


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    values = np.random.default_rng(6).integers(1, 20000, SHAPE).astype(np.uint16)
    values[:40, 100:] = 0
    return values


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> dict[str, Path]:
    """The same band as a COG and as JPEG 2000 without loss, of 15 bits as ESA's."""
    folder = tmp_path_factory.mktemp("rasters")
    write_raster(folder / "band.tif", values)
    with rasterio.open(folder / "band.tif") as source:
        profile = {**source.profile, "driver": "JP2OpenJPEG", "nodata": None}
    for name in ("compress", "tiled", "interleave"):
        profile.pop(name, None)
    tiles = {"blockxsize": 128, "blockysize": 128}
    lossless = {"REVERSIBLE": "YES", "QUALITY": "100", "NBITS": 15}
    with rasterio.open(folder / "band.jp2", "w", **profile | tiles | lossless) as raster:
        raster.write(values, 1)
    return {path.name: path for path in (folder / "band.tif", folder / "band.jp2")}


@pytest.fixture
def store(rasters: dict[str, Path]) -> Iterator[Store]:
    made = Store({f"/eodata/{name}": path.read_bytes() for name, path in rasters.items()})
    with serving(partial(_S3, made)) as address:
        made.address = address
        yield made


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHIVE_KEY", "the-key")
    monkeypatch.setenv("ARCHIVE_SECRET", "hush-hush")


def access_of(endpoint: str) -> Access:
    return Access(s3_endpoint=endpoint, s3_key="ARCHIVE_KEY", s3_secret="ARCHIVE_SECRET")


def reader_of(href: str, access: Access, resolution: float = 10) -> tuple[NativeReader, FaultLog]:
    faults = FaultLog()
    reader = NativeReader(
        url=href,
        spec=RasterSpec(EPSG, BOUNDS, (resolution, resolution)),
        dtype=np.dtype("uint16"),
        faults=faults,
        settings=ReaderSettings(access=access, retry_seconds=0, timeout=5),
    )
    return reader, faults


def window_of(values: np.ndarray, window: Window) -> np.ndarray:
    padded = np.pad(values, 200)
    return padded[window.row_off + 200 :, window.col_off + 200 :][: window.height, : window.width]


@pytest.mark.parametrize("name", ["band.tif", "band.jp2"])
def test_rasters_of_a_real_s3_server_agree(
    s3: str,
    monkeypatch: pytest.MonkeyPatch,
    rasters: dict[str, Path],
    values: np.ndarray,
    name: str,
) -> None:
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    boto3.client("s3").upload_file(str(rasters[name]), s3.removeprefix("s3://"), f"tile/{name}")
    for variable, value in OTHERS.items():
        if variable != "AWS_PROFILE":  # the server, of this process, would look for it
            monkeypatch.setenv(variable, value)
    reader, faults = reader_of(f"{s3}/tile/{name}", access_of(endpoint))
    for window in WINDOWS:
        np.testing.assert_array_equal(reader.read(window), window_of(values, window))
    assert not faults
    absent, faults = reader_of(f"{s3}/tile/absent-{name}", access_of(endpoint))
    assert not absent.read(WINDOWS[0]).any()
    assert len(faults) == 1


def test_the_archives_keys_are_used_not_those_of_another(
    store: Store, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in OTHERS.items():
        monkeypatch.setenv(variable, value)
    reader, faults = reader_of("s3://eodata/band.jp2", access_of(store.address))
    np.testing.assert_array_equal(reader.read(WINDOWS[0]), values)
    assert store.headers
    for headers in store.headers:
        assert "Credential=the-key/" in headers["authorization"]
        assert "x-amz-security-token" not in headers
        assert "hush" not in str(headers)
    assert not faults


def test_a_store_without_keys_is_read_anonymously(store: Store, values: np.ndarray) -> None:
    reader, _ = reader_of("s3://eodata/band.tif", Access(s3_endpoint=store.address))
    np.testing.assert_array_equal(reader.read(WINDOWS[0]), values)
    assert all("authorization" not in headers for headers in store.headers)


@pytest.mark.parametrize("variable", ["ARCHIVE_KEY", "ARCHIVE_SECRET"])
def test_a_key_that_is_not_there_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch, variable: str, rasters: dict[str, Path]
) -> None:
    monkeypatch.delenv(variable)
    reader, _ = reader_of("s3://eodata/band.jp2", access_of(store.address))
    expected = rf"s3://eodata/band\.jp2: the environment of the worker has no {variable}"
    with pytest.raises(ReadingError, match=expected):
        reader.read(WINDOWS[0])
    assert not store.headers
    copied, faults = reader_of(str(rasters["band.jp2"]), access_of(store.address))
    assert copied.read(WINDOWS[0]).any()  # needs no key
    assert not faults


def test_a_refused_key_is_an_error_without_the_key(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    body = b"<Error><Code>InvalidAccessKeyId</Code><Message>the-key</Message></Error>"
    monkeypatch.setattr(_S3, "part_of", lambda *_: (403, body, {}))
    reader, _ = reader_of("s3://eodata/band.jp2", access_of(store.address))
    with pytest.raises(ReadingError, match="its storage refused the request") as raised:
        reader.read(WINDOWS[0])
    assert not [text for text in (caplog.text, str(raised.value)) if "hush" in text]


def test_jpeg_2000_over_http(store: Store, values: np.ndarray) -> None:
    href = f"{store.address}/eodata/band.jp2"
    reader, faults = reader_of(href, Access())
    for window in WINDOWS:
        np.testing.assert_array_equal(reader.read(window), window_of(values, window))
    finer, _ = reader_of(href, Access(), resolution=5)
    twice = values.repeat(2, axis=0).repeat(2, axis=1)
    found = finer.read(Window(101, 51, 200, 300))
    np.testing.assert_array_equal(found, twice[51:351, 101:301])
    assert not faults
