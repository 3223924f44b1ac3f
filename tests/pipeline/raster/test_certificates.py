"""Servers whose certificates a private authority has signed, as behind the proxies of agencies."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import trustme
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError, SettingsError
from pipeline.raster import http_client
from pipeline.raster.http_client import fetch
from pipeline.raster.read_errors import Unreadable
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster
from tests.range_server import RangeHandler

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE")
SPEC = RasterSpec(EPSG, (LEFT, TOP - 640, LEFT + 640, TOP), (10, 10))
VALUES = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) + 1


@dataclass(frozen=True)
class Secure:
    """A server at `address`, and the file of the authority that has signed its certificate."""

    address: str
    authority: Path


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("secure")
    write_raster(folder / "tiled.tif", VALUES)  # of our own reader
    write_raster(folder / "striped.tif", VALUES, tiled=False, blocksize=None, overviews=None,
                 driver="GTiff", blockysize=16)  # fmt: skip  # of GDAL
    files = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}

    class Handler(RangeHandler):
        def get(self) -> None:
            content = files.get(self.path)
            self.answer(404) if content is None else self.answer(*self.part_of(content))

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Secure(f"https://127.0.0.1:{server.server_port}", folder / "authority.pem")
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    http_client._pool.cache_clear()
    yield
    http_client._pool.cache_clear()


def _read(url: str) -> np.ndarray:
    reader = NativeReader(
        url=url,
        spec=SPEC,
        dtype=np.dtype("uint16"),
        faults=FaultLog(),
        settings=ReaderSettings(timeout=10, retry_seconds=0),
    )
    return reader.read(Window(0, 0, 64, 64))


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("name", ["tiled.tif", "striped.tif"])
def test_rasters_behind_a_private_authority_that_the_environment_names(
    secure: Secure, monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    monkeypatch.setenv(variable, str(secure.authority))
    assert np.array_equal(_read(f"{secure.address}/{name}"), VALUES)


def test_a_certificate_that_is_not_trusted_is_said(secure: Secure) -> None:
    with pytest.raises(Unreadable) as raised:
        fetch(f"{secure.address}/tiled.tif", 10)
    assert "certificate of its server is not trusted" in raised.value.failure.reason
    for name in ("tiled.tif", "striped.tif?other"):  # GDAL keeps what it has read of the other
        with pytest.raises(ReadingError, match="not trusted; REQUESTS_CA_BUNDLE names a file"):
            _read(f"{secure.address}/{name}")


def test_a_variable_that_names_no_file(secure: Secure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/none/authority.pem")
    with pytest.raises(SettingsError, match=r"SSL_CERT_FILE=/none/authority.pem: .* no such file"):
        fetch(f"{secure.address}/tiled.tif", 10)
