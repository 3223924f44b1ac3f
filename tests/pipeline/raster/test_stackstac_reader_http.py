"""The reader over real sockets: ranges, servers that misbehave, S3."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import numpy as np
import pytest
import uvicorn
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from pipeline.errors import ReadingError
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster

SIZE = (300, 260)
SPEC = RasterSpec(EPSG, (LEFT, TOP - 3000, LEFT + 2600, TOP), (10, 10))
WHOLE = Window(0, 0, 260, 300)


@dataclass
class Archive:
    """A folder served over HTTP by a server that can misbehave, with its log of requests.

    `/files/NAME` serves properly; `/answers/CODE/TIMES/ANY` answers the first requests with the
    code, `/stalls/ANY` never, both then as the COG; the log holds (path, range).
    """

    folder: Path
    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)

    async def answers(self, request: Request) -> Response:
        self.answered[request.url.path] += 1
        if self.answered[request.url.path] <= int(request.path_params["times"]):
            return Response("not now", status_code=int(request.path_params["code"]))
        return FileResponse(self.folder / "band.tif")

    async def stalls(self, request: Request) -> Response:
        await asyncio.sleep(20)
        return Response("late")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            ranges = dict(scope["headers"]).get(b"range", b"")
            self.requests.append((scope["path"], ranges.decode()))
        await self._app(scope, receive, send)

    def __post_init__(self) -> None:
        self._app = Starlette(
            routes=[
                Route("/answers/{code}/{times}/{rest:path}", self.answers),
                Route("/stalls/{rest:path}", self.stalls),
                Mount("/files", StaticFiles(directory=self.folder)),
            ]
        )


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 10000, SIZE).astype(np.uint16)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> Iterator[Archive]:
    archive = Archive(tmp_path_factory.mktemp("archive"))
    write_raster(archive.folder / "band.tif", values)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        archive.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(archive, log_level="error", lifespan="off"))
        server.config.timeout_graceful_shutdown = 1
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield archive
        server.should_exit = True
        thread.join()


def reader_of(url: str, **settings: float | bool) -> tuple[NativeReader, FaultLog]:
    faults = FaultLog()
    reader = NativeReader(
        url=url,
        spec=SPEC,
        dtype=np.dtype("uint16"),
        bands={url: "B02"},
        faults=faults,
        settings=ReaderSettings(**settings),  # type: ignore[arg-type]
    )
    return reader, faults


def test_only_the_blocks_of_the_window_are_fetched(archive: Archive, values: np.ndarray) -> None:
    archive.requests.clear()
    (archive.folder / "once.tif").write_bytes((archive.folder / "band.tif").read_bytes())
    reader, faults = reader_of(f"{archive.url}/files/once.tif")
    np.testing.assert_array_equal(reader.read(Window(128, 128, 128, 128)), values[128:256, 128:256])
    assert not faults
    fetched = 0
    for path, span in archive.requests:
        assert path == "/files/once.tif"  # no listing, no side files
        if span:
            first, last = span.removeprefix("bytes=").split("-")
            fetched += int(last) - int(first) + 1
    header = 16384
    assert 0 < fetched <= header * 3 + 128 * 128 * 2
    assert len(archive.requests) <= 3


def test_an_absent_raster_is_a_fault(archive: Archive) -> None:
    reader, faults = reader_of(f"{archive.url}/files/absent.tif")
    assert not reader.read(WHOLE).any()
    (fault,) = faults
    assert fault.asset == f"{archive.url}/files/absent.tif"
    assert fault.reason == "its server answered HTTP 404"


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_recovers_gets_retries(
    archive: Archive, values: np.ndarray, code: int
) -> None:
    reader, faults = reader_of(f"{archive.url}/answers/{code}/2/a.tif")
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert not faults


def test_access_denied_gets_no_retry(archive: Archive) -> None:
    archive.requests.clear()
    reader, _ = reader_of(f"{archive.url}/answers/403/100/a.tif")
    with pytest.raises(ReadingError, match=r"a\.tif: its server answered HTTP 403"):
        reader.read(WHOLE)
    assert len(archive.requests) == 1


def test_a_failure_is_not_remembered(archive: Archive, values: np.ndarray) -> None:
    reader, faults = reader_of(f"{archive.url}/answers/503/3/b.tif", retry_seconds=0)
    with pytest.raises(ReadingError, match="its server answered HTTP 503"):
        reader.read(WHOLE)
    for _ in range(3):
        with contextlib.suppress(ReadingError):
            found = reader.read(WHOLE)
            break
    np.testing.assert_array_equal(found, values)
    assert not faults


def test_a_server_that_stalls_is_left(archive: Archive) -> None:
    reader, _ = reader_of(f"{archive.url}/stalls/a.tif", timeout=1, retry_seconds=2)
    with pytest.raises(ReadingError, match="its server did not answer in time"):
        reader.read(WHOLE)


def test_a_truncated_raster_is_noticed_wherever_it_ends(archive: Archive) -> None:
    whole = (archive.folder / "band.tif").read_bytes()
    for length in (0, 8, 300, 2000, *(len(whole) * n // 5 for n in range(1, 5)), len(whole) - 5):
        (archive.folder / f"cut{length}.tif").write_bytes(whole[:length])
        reader, faults = reader_of(f"{archive.url}/files/cut{length}.tif", retry_seconds=0)
        assert not reader.read(WHOLE).any(), length
        assert [fault.reason for fault in faults] == ["is truncated or damaged"], length


SECRET = "sv=2026&sig=Tr0ub4dor%26hush"


@pytest.mark.parametrize(
    "path",
    ["answers/404/99/s.tif", "answers/503/99/s.tif", "stalls/s.tif", "files/junk.tif",
     "files/half.tif"],
)  # fmt: skip
def test_signed_urls_appear_nowhere(
    archive: Archive,
    path: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    whole = (archive.folder / "band.tif").read_bytes()
    (archive.folder / "junk.tif").write_text("<html>no</html>")
    (archive.folder / "half.tif").write_bytes(whole[: len(whole) // 2])
    url = f"{archive.url}/{path}?{SECRET}"
    caplog.set_level(logging.DEBUG)
    shown = []
    reader, faults = reader_of(url, retry_seconds=0, timeout=1)
    if "503" in path or "stalls" in path:  # unreachable, strict or not
        with pytest.raises(ReadingError) as unreachable:
            reader.read(WHOLE)
        shown.append(str(unreachable.value))
    else:
        reader.read(WHOLE)
        (fault,) = faults
        assert fault.asset == f"{archive.url}/{path}"
        shown.append(repr(fault))
    strict, _ = reader_of(url, retry_seconds=0, timeout=1, strict=True)
    with pytest.raises(ReadingError) as raised:
        strict.read(WHOLE)
    assert f"{archive.url}/{path}: " in str(raised.value)
    shown += [caplog.text, *capfd.readouterr()]
    error: BaseException | None = raised.value
    while error is not None:
        shown.append(str(error))
        error = error.__cause__ or error.__context__
    assert not [text for text in shown if "hush" in text]


def test_a_signed_raster_is_read(archive: Archive, values: np.ndarray) -> None:
    reader, faults = reader_of(f"{archive.url}/files/band.tif?{SECRET}")
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert not faults


def test_reads_from_s3(s3: str, archive: Archive, values: np.ndarray) -> None:
    bucket = s3.removeprefix("s3://")
    boto3.client("s3").upload_file(str(archive.folder / "band.tif"), bucket, "tiles/band.tif")
    reader, faults = reader_of(f"{s3}/tiles/band.tif")
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert not faults
    absent, faults = reader_of(f"{s3}/tiles/absent.tif", retry_seconds=0)
    assert not absent.read(WHOLE).any()
    (fault,) = faults
    assert fault.asset == f"{s3}/tiles/absent.tif"
