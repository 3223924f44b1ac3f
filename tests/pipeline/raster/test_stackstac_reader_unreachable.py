"""A raster that cannot be reached fails its reading; one that is damaged is left out."""

import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from tests.catalog_servers import serving
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster

SIZE = 500  # pixels of noise a side: its blocks lie far beyond the bytes that opening it takes
SPEC = RasterSpec(EPSG, (LEFT, TOP - 10 * SIZE, LEFT + 10 * SIZE, TOP), (10, 10))
WHOLE = Window(0, 0, SIZE, SIZE)
CORNER = Window(0, 0, 128, 128)
FAR_CORNER = Window(SIZE - 100, SIZE - 100, 100, 100)


@dataclass
class Ill:
    """How a server fails: `how` is a status, or "resets", "hangs up", "stalls" or "stops short".

    With `in_the_middle` it still serves a file's beginning. `body` goes with a status.
    """

    content: bytes
    how: int | str = 200
    in_the_middle: bool = False
    body: bytes = b""
    address: str = ""
    asked: list[str] = field(default_factory=list)


class _Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, ill: Ill, *args: Any) -> None:
        self.ill = ill
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        ill, last = self.ill, len(self.ill.content) - 1
        ill.asked.append(self.path)
        first, status = 0, 200
        if span := self.headers["Range"]:
            start, _, end = span.removeprefix("bytes=").partition("-")
            first, last, status = int(start), min(int(end), last), 206
        fails = first > 0 if ill.in_the_middle else True
        if fails and isinstance(ill.how, int) and ill.how != 200:
            self._answer(ill.how, ill.body)
        elif fails and ill.how == "resets":
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
        elif fails and ill.how == "hangs up":
            self.close_connection = True
        elif fails and ill.how == "stalls":
            time.sleep(2)
            self.close_connection = True
        else:
            ranges = {"Content-Range": f"bytes {first}-{last}/{len(ill.content)}"}
            short = fails and ill.how == "stops short"
            content = ill.content[first : last + 1]
            self._answer(status, content, ranges if span else {}, short=short)

    def _answer(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        *,
        short: bool = False,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if short else content)
        self.close_connection = short


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(4).integers(1, 60000, (SIZE, SIZE)).astype(np.uint16)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> bytes:
    path = tmp_path_factory.mktemp("raster") / "band.tif"
    write_raster(path, values)
    return path.read_bytes()


@pytest.fixture
def ill(content: bytes) -> Iterator[Ill]:
    state = Ill(content)
    with serving(partial(_Server, state)) as address:
        state.address = address
        yield state


def reader_of(url: str, **settings: Any) -> tuple[NativeReader, FaultLog]:
    faults = FaultLog()
    given = ReaderSettings(**({"retry_seconds": 0, "timeout": 1} | settings))
    reader = NativeReader(
        url=url, spec=SPEC, dtype=np.dtype("uint16"), faults=faults, settings=given
    )
    return reader, faults


def unreachable(url: str, window: Window = WHOLE, **settings: Any) -> str:
    """Read a raster that must be said to be unreachable; what the error says."""
    reader, faults = reader_of(url, **settings)
    with pytest.raises(ReadingError) as raised:
        reader.read(window)
    assert not faults
    assert "Start again when it can be reached" in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 502, 503, 504])
def test_a_refused_request_is_not_a_damaged_raster(ill: Ill, status: int) -> None:
    ill.how = status
    said = unreachable(f"{ill.address}/a.tif")
    assert f"its server answered HTTP {status}" in said


@pytest.mark.parametrize("status", [403, 429, 503])
@pytest.mark.parametrize("window", [WHOLE, CORNER])
def test_a_server_that_refuses_in_the_middle_of_a_file(
    ill: Ill, status: int, window: Window
) -> None:
    ill.how, ill.in_the_middle = status, True
    said = unreachable(f"{ill.address}/a.tif", window)
    assert f"its server answered HTTP {status}" in said


@pytest.mark.parametrize(
    ("how", "in_the_middle", "reason"),
    [
        ("resets", False, "no connection to its server"),
        ("resets", True, "no connection to its server"),
        ("hangs up", False, "no connection to its server"),
        ("hangs up", True, "no connection to its server"),
        ("stalls", False, "its server did not answer in time"),
        ("stalls", True, "its server did not answer in time"),
        ("stops short", False, "its server's answer broke off"),
        ("stops short", True, "its server's answer broke off"),
    ],
)
def test_a_lost_connection_is_not_a_damaged_raster(
    ill: Ill, how: str, in_the_middle: bool, reason: str
) -> None:
    ill.how, ill.in_the_middle = how, in_the_middle
    assert reason in unreachable(f"{ill.address}/a.tif")


def test_a_signature_that_expires_between_two_blocks(ill: Ill, values: np.ndarray) -> None:
    url = f"{ill.address}/a.tif?sig=hush"
    reader, _ = reader_of(url)
    np.testing.assert_array_equal(reader.read(CORNER), values[:128, :128])
    ill.how = 403
    said = unreachable(url, FAR_CORNER)
    assert "its server answered HTTP 403" in said
    assert "hush" not in said
    ill.how = 200
    np.testing.assert_array_equal(reader.read(FAR_CORNER), values[-100:, -100:])


def test_a_response_that_breaks_off_once_is_requested_again(ill: Ill, values: np.ndarray) -> None:
    ill.how, ill.in_the_middle = "stops short", True
    reader, faults = reader_of(f"{ill.address}/a.tif", retry_seconds=20)

    class Recovering(list[str]):
        def append(self, path: str) -> None:
            super().append(path)
            if len(self) > 3:
                ill.how = 200

    ill.asked = Recovering()
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert not faults


@pytest.mark.parametrize("status", [404, 410])
def test_a_missing_raster_is_left_out(ill: Ill, status: int) -> None:
    ill.how = status
    reader, faults = reader_of(f"{ill.address}/a.tif")
    assert not reader.read(WHOLE).any()
    assert [fault.reason for fault in faults] == [f"its server answered HTTP {status}"]


def test_a_damaged_raster_is_left_out(ill: Ill) -> None:
    for number, kept in enumerate((0, 300, len(ill.content) // 2)):
        ill.content = ill.content[:kept]
        reader, faults = reader_of(f"{ill.address}/{number}.tif")
        assert not reader.read(WHOLE).any()
        assert [fault.reason for fault in faults] == ["is truncated or damaged"]


def test_no_server_no_name_no_encryption(ill: Ill) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        said = unreachable(f"http://127.0.0.1:{unused.getsockname()[1]}/a.tif")
    assert "no connection to its server" in said
    assert "its server's name is unknown" in unreachable("http://no-such-host.invalid/a.tif")
    secure = ill.address.replace("http://", "https://")
    assert "no secure connection to its server" in unreachable(f"{secure}/a.tif")


@pytest.fixture
def ill_s3(ill: Ill, monkeypatch: pytest.MonkeyPatch) -> Ill:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", ill.address)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return ill


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "AccessDenied", "access to it is denied"),
        (403, "SignatureDoesNotMatch", "access to it is denied"),
        (403, "InvalidAccessKeyId", "its storage refused the request"),
        (400, "ExpiredToken", "its storage refused the request"),
        (503, "SlowDown", "its storage refused the request"),
        (404, "NoSuchBucket", "there is no such bucket"),
    ],
)
def test_an_object_store_that_refuses(ill_s3: Ill, status: int, code: str, reason: str) -> None:
    ill_s3.how = status
    ill_s3.body = f"<Error><Code>{code}</Code><Message>hush</Message></Error>".encode()
    said = unreachable(f"s3://{code.lower()}/a.tif")
    assert said.startswith(f"s3://{code.lower()}/a.tif: {reason}")
    assert "hush" not in said


def test_an_absent_object_is_left_out(ill_s3: Ill) -> None:
    ill_s3.how = 404
    ill_s3.body = b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
    reader, faults = reader_of("s3://absent/a.tif")
    assert not reader.read(WHOLE).any()
    (fault,) = faults
    assert fault.reason in ("there is no such file", "its server answered HTTP 404")


def test_an_object_store_without_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "YES")
    assert "there are no credentials" in unreachable("s3://private/a.tif")
