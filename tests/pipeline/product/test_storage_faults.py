"""Storage that fails while a run is published: the file is named, with what GDAL says of it."""

import http.client
import os
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import rasterio
import s3fs
from rasterio.errors import RasterioIOError

from pipeline.errors import OutputUnreadable
from pipeline.evaluation import map_points
from pipeline.product.cell_report import class_hectares
from pipeline.product.mosaic import write_mosaics
from pipeline.product.preview import write_preview
from pipeline.raster.gdal_errors import gdal_errors_of, gdal_words
from tests.pipeline.made_run import ONE_ZONE, TWO_ZONES, MadeRun, make_run
from tests.s3_server import s3

__all__ = ["s3"]


class _FaultyS3(BaseHTTPRequestHandler):
    """Hands requests on to a real S3 server, but for those that a test lets fail."""

    upstream: ClassVar[str]
    faults: ClassVar[Callable[[str, str], str | int | None]] = lambda method, path: None
    protocol_version = "HTTP/1.1"

    def _hand_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = type(self).faults(self.command, self.path)
        if fault == "resets":
            self.close_connection = True
            return
        if isinstance(fault, int):
            self.send_response(fault)
            text = b"<Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>"
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else text)
            return
        connection = http.client.HTTPConnection(self.upstream.removeprefix("http://"))
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        if fault == "stops short":
            content = content[: len(content) // 2]
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = fault == "stops short"

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _hand_on  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


Faults = Callable[[Callable[[str, str], str | int | None]], None]


@pytest.fixture
def faulty_s3(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Faults]]:
    """The prefix of an S3 server, and how to let its requests fail by method and path."""
    handler = type("Handler", (_FaultyS3,), {"upstream": os.environ["AWS_ENDPOINT_URL"]})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    s3fs.S3FileSystem.clear_instance_cache()

    def let_fail(faults: Callable[[str, str], str | int | None]) -> None:
        handler.faults = staticmethod(faults)  # type: ignore[attr-defined]

    yield s3, let_fail
    s3fs.S3FileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()


def preview(made: MadeRun) -> None:
    write_preview(made.store, made.run, made.vocabulary, class_hectares(made.items))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (503, "Reduce your rate"),
        (403, "Reduce your rate"),
        ("resets", "class.vrt|class.tif|CURL"),
        ("stops short", "Cannot read|class.tif|CURL"),
    ],
)
@pytest.mark.parametrize("part", ["class.vrt", "class.tif"])
def test_a_preview_names_the_mosaic_and_what_gdal_says(
    faulty_s3: tuple[str, Faults],
    fault: str | int,
    words: str,
    part: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prefix, let_fail = faulty_s3
    monkeypatch.setattr("pipeline.io.gdal_s3._PATIENCE", {"GDAL_HTTP_MAX_RETRY": "0"})
    made = make_run(f"{prefix}/{fault}-{part}".replace(" ", "-"), ONE_ZONE)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    let_fail(lambda method, path: fault if f"/{part}" in path and method == "GET" else None)
    with pytest.raises(OutputUnreadable) as caught:
        preview(made)
    place, _, reason = str(caught.value).partition(" cannot be read: ")
    assert place == f"{made.store.root}/class.vrt"
    assert re.match(f".*({words}).*Start again", reason), reason
    assert "previous exception" not in reason
    assert ".." not in reason


def test_storage_that_fails_now_and_then_is_asked_again(
    faulty_s3: tuple[str, Faults],
) -> None:
    prefix, let_fail = faulty_s3
    made = make_run(f"{prefix}/now-and-then", TWO_ZONES)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    seen: set[str] = set()

    def once(method: str, path: str) -> int | None:
        first = path not in seen
        seen.add(path)
        return 503 if first and method == "GET" else None

    let_fail(once)
    preview(made)
    assert seen


def test_points_of_a_map_name_the_raster(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    items = made.items
    for raster in tmp_path.glob("run/cells/*/*/class.tif"):
        raster.write_bytes(raster.read_bytes()[:-2000])
    bounds = items[0]["bbox"]
    lon, lat = (np.array([(bounds[axis] + bounds[axis + 2]) / 2]) for axis in (0, 1))
    with pytest.raises(OutputUnreadable, match=r"class\.tif cannot be read: .*(TIFF|IReadBlock)"):
        map_points.classes_at(made.store, items, lon, lat)


def test_the_words_of_gdal_are_those_of_the_cause(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    raster = next(tmp_path.glob("run/cells/*/*/class.tif"))
    raster.write_bytes(raster.read_bytes()[:-2000])
    with rasterio.open(raster) as file, pytest.raises(RasterioIOError) as caught:
        file.read()
    assert "previous exception" in str(caught.value)
    assert "previous exception" not in gdal_words(caught.value)
    assert made.items


def test_no_secret_and_no_line_break_is_in_them() -> None:
    error = RasterioIOError("no https://user:secret@host/a.tif?sig=secret\n\x1b[2Jat all")
    with pytest.raises(OutputUnreadable) as caught, gdal_errors_of("s3://maps/class.vrt"):
        raise error
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()
