"""What a file that calls itself a raster can make GDAL open."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.errors import ReadingError
from pipeline.io.network_rules import NetworkRules
from pipeline.raster.access import Access
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from tests.catalog_servers import folder_server
from tests.faulty_server import FaultyServer, faulty_server
from tests.hostile_server import HostileServer, Say, hostile_server, plain_answer
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster

SIDE = 64
VALUES = np.full((SIDE, SIDE), 7, np.uint16)
SECRET = np.full((SIDE, SIDE), 99, np.uint16)
STRIPES: dict[str, Any] = {"driver": "GTiff", "tiled": False, "blocksize": None, "overviews": None}
JPEG_2000: dict[str, Any] = {
    "driver": "JP2OpenJPEG", "REVERSIBLE": "YES", "QUALITY": "100", "compress": None,
    "blocksize": None, "overviews": None, "blockxsize": 32, "blockysize": 32,
}  # fmt: skip
NO_PICTURE = "is neither a GeoTIFF nor a JPEG 2000 file"


def read(
    url: str, rules: NetworkRules | None = None, resolution: int = 10
) -> tuple[np.ndarray, FaultLog]:
    faults = FaultLog()
    size = SIDE * 10 // resolution
    access = Access() if rules is None else Access(rules=rules)
    reader = NativeReader(
        url=url,
        spec=RasterSpec(EPSG, (LEFT, TOP - SIDE * 10, LEFT + SIDE * 10, TOP), (resolution,) * 2),
        dtype=np.dtype("uint16"),
        faults=faults,
        settings=ReaderSettings(timeout=5, retry_seconds=0, access=access),
    )
    return reader.read(Window(0, 0, size, size)), faults


@pytest.fixture
def inside() -> Iterator[HostileServer]:
    with hostile_server(lambda head, say: plain_answer(say, b"secret"), "127.0.0.2") as server:
        yield server


def vrt(source: str) -> str:
    return f"""<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}">
  <SRS>EPSG:{EPSG}</SRS><GeoTransform>{LEFT}, 10, 0, {TOP}, 0, -10</GeoTransform>
  <VRTRasterBand dataType="UInt16" band="1"><SimpleSource>
    <SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand>
  </SimpleSource></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("over_http", [False, True], ids=["file", "http"])
def test_a_vrt_that_is_called_tif_opens_nothing(
    tmp_path: Path, inside: HostileServer, over_http: bool
) -> None:
    """It delivered the pixels of a local file, or made GDAL ask a server of the network."""
    write_raster(tmp_path / "secret.tif", SECRET)
    (tmp_path / "a.tif").write_text(vrt(str(tmp_path / "secret.tif")))
    (tmp_path / "b.tif").write_text(vrt(f"/vsicurl/{inside.address}/x.tif"))
    with folder_server(tmp_path) as server:
        for name in ("a.tif", "b.tif"):
            values, faults = read(f"{server}/{name}" if over_http else str(tmp_path / name))
            assert not values.any()
            assert [fault.reason for fault in faults] == [NO_PICTURE]
    assert not inside.heads


@pytest.mark.parametrize("over_http", [False, True], ids=["file", "http"])
def test_overviews_and_masks_in_other_files_are_not_opened(
    tmp_path: Path, inside: HostileServer, over_http: bool
) -> None:
    """A GeoTIFF's own metadata may name a file of its overviews; a mask beside it may be a VRT."""
    write_raster(tmp_path / "a.tif", VALUES, nodata=None, **STRIPES)
    with rasterio.open(tmp_path / "a.tif", "r+") as raster:
        raster.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{inside.address}/x.tif")
    (tmp_path / "a.tif.msk").write_text(vrt(f"/vsicurl/{inside.address}/mask.tif"))
    (tmp_path / "a.tif.ovr").write_text(vrt(f"/vsicurl/{inside.address}/overview.tif"))
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
        f"/vsicurl/{inside.address}/aux.tif</MDI></Metadata></PAMDataset>"
    )
    with folder_server(tmp_path) as server:
        url = f"{server}/a.tif" if over_http else str(tmp_path / "a.tif")
        for resolution in (10, 40, 7):
            values, _ = read(url, resolution=resolution)
            assert set(np.unique(values).tolist()) <= {0, 7}
    assert not inside.heads


def test_a_raster_that_gdal_reads_leads_to_no_other_server(inside: HostileServer) -> None:
    """GDAL's own client follows redirects; the first answer may be an honest one."""
    rules = NetworkRules(of_web=True, allowed=("127.0.0.1",))
    answers = 0

    def answer(head: str, say: Say) -> None:
        nonlocal answers
        answers += 1
        if answers == 1:  # neither kind of TIFF that is read without GDAL
            plain_answer(
                say, b"MM\0*" + bytes(16), "206 Partial Content", "Content-Range: bytes 0-19/20"
            )
        else:
            plain_answer(say, b"", "302 Found", f"Location: {inside.address}/x.tif")

    with (
        hostile_server(answer) as server,
        pytest.raises(ReadingError, match="redirects to an address that is not allowed"),
    ):
        read(f"{server.address}/x.tif", rules)
    assert answers > 1
    assert not inside.heads


@pytest.mark.parametrize(
    ("href", "said"),
    [
        ("{folder}/secret.tif", r"http\(s\):// and s3:// addresses only"),
        ("file://{folder}/secret.tif", r"http\(s\):// and s3:// addresses only"),
        ("/vsicurl/http://127.0.0.2/x.tif", r"http\(s\):// and s3:// addresses only"),
        ("s3://x@2130706434#/x.tif", "it names no bucket"),
        ("http://127.0.0.2/x.tif", r"allowed_hosts under \[network\]"),
    ],
)
def test_what_a_catalogue_of_the_web_must_not_open(tmp_path: Path, href: str, said: str) -> None:
    write_raster(tmp_path / "secret.tif", SECRET)
    with pytest.raises(ReadingError, match=said):
        read(href.format(folder=tmp_path), NetworkRules(of_web=True))


def test_pipes_and_devices_are_no_rasters(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    for path in (tmp_path / "pipe.tif", Path("/dev/zero")):
        values, faults = read(str(path))
        assert not values.any()
        assert [fault.reason for fault in faults] == ["it is a pipe or a device, not a file"]
    write_raster(tmp_path / "a.tif", VALUES, nodata=None, **STRIPES)
    os.mkfifo(tmp_path / "a.tif.msk")
    assert (read(str(tmp_path / "a.tif"))[0] == 7).all()


def test_gdal_gets_no_more_than_it_asks_for() -> None:
    """Each answer is 100 GB long by its own words, and has no end."""

    def answer(head: str, say: Say) -> None:
        say(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 100000000000\r\n")
        say(b"Content-Range: bytes 0-99999999999/100000000000\r\n\r\nMM\0*")
        for _ in range(100_000):
            say(bytes(65536))

    with hostile_server(answer) as server:
        values, faults = read(f"{server.address}/x.tif")
    assert not values.any()
    assert len(faults) == 1


def test_rasters_are_read_by_many_threads_at_once(tmp_path: Path) -> None:
    """GDAL opens a file through Python several times in a thread, in many threads."""
    rng = np.random.default_rng(0)
    stored = {}
    for number in range(8):
        name, kind = (f"/{number}.tif", STRIPES) if number % 2 else (f"/{number}.jp2", JPEG_2000)
        stored[name] = rng.integers(1, 9999, (SIDE, SIDE)).astype(np.uint16)
        write_raster(tmp_path / name[1:], stored[name], **kind)
    files = {name: (tmp_path / name[1:]).read_bytes() for name in stored}
    with faulty_server(FaultyServer(files)) as server, ThreadPoolExecutor(8) as threads:
        names = sorted(stored) * 12
        results = list(threads.map(lambda name: read(server.address + name), names))
    for name, (values, faults) in zip(names, results, strict=True):
        assert list(faults) == [], name
        np.testing.assert_array_equal(values, stored[name])
