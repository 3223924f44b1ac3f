"""Rasters behind signatures that expire, as Planetary Computer's, on servers that demand them."""

import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window
from stackstac.raster_spec import RasterSpec

from pipeline.catalog.description import AccessDescription, CatalogDescription
from pipeline.catalog.item_snapshot import make_snapshot, read_snapshot
from pipeline.errors import ReadingError
from pipeline.raster.read_stats import FaultLog
from pipeline.raster.stackstac_reader import NativeReader, ReaderSettings
from tests.catalog_servers import serving
from tests.pipeline.rasters import EPSG, LEFT, TOP, write_raster
from tests.range_server import RangeHandler
from tests.signed_archive import SignedArchive, signed_archive
from tests.stac_items import earth_search_item

SIZE = 300
SPEC = RasterSpec(EPSG, (LEFT, TOP - 10 * SIZE, LEFT + 10 * SIZE, TOP), (10, 10))
WHOLE = Window(0, 0, SIZE, SIZE)
NAMES = [f"{n}.tif" for n in range(8)]


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(5).integers(1, 60000, (SIZE, SIZE)).astype(np.uint16)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, values: np.ndarray) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("archive")
    write_raster(folder / "plain.tif", values)
    write_raster(folder / "lzw.tif", values, compress="LZW")
    plain = (folder / "plain.tif").read_bytes()
    return {**dict.fromkeys(NAMES, plain), "lzw.tif": (folder / "lzw.tif").read_bytes()}


@pytest.fixture
def archive(files: dict[str, bytes]) -> Iterator[SignedArchive]:
    with signed_archive(files) as made:
        yield made


def reader_of(
    archive: SignedArchive, name: str = "0.tif", retry_seconds: float = 20, **changes: Any
) -> tuple[NativeReader, FaultLog]:
    faults = FaultLog()
    access = archive.access(**changes)
    reader = NativeReader(
        url=f"{archive.storage}/container/{name}",
        spec=SPEC,
        dtype=np.dtype("uint16"),
        faults=faults,
        settings=ReaderSettings(access=access, retry_seconds=retry_seconds, timeout=5),
    )
    return reader, faults


def in_threads(tasks: list[Callable[[], Any]]) -> list[Any]:
    """What the tasks give or raise, begun at the same moment."""
    results: list[Any] = [None] * len(tasks)
    barrier = threading.Barrier(len(tasks))

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = tasks[number]()
        except ReadingError as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_many_readers_of_a_container_share_one_signature(
    archive: SignedArchive, values: np.ndarray
) -> None:
    readers = [reader_of(archive, name) for name in (*NAMES, "lzw.tif")]
    for found in in_threads([partial(reader.read, WHOLE) for reader, _ in readers]):
        np.testing.assert_array_equal(found, values)
    assert archive.containers == ["/token/127/container"]
    assert archive.refused == 0
    assert not [fault for _, faults in readers for fault in faults]


def test_a_signature_is_renewed_before_it_expires(
    archive: SignedArchive, values: np.ndarray
) -> None:
    archive.life = 4
    reader, faults = reader_of(archive)
    reader.read(WHOLE)
    time.sleep(max(archive.issued[0][0] + 3.1 - time.time(), 0))  # of four seconds, three are used
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert len(archive.issued) == 2
    assert archive.issued[1][0] < archive.issued[0][1]
    assert (archive.refused, faults.retries) == (0, 0)


def test_a_signature_that_arrives_expired_means_a_wrong_clock(
    archive: SignedArchive, values: np.ndarray
) -> None:
    archive.stated_life = -7200
    reader, _ = reader_of(archive)
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert len(archive.issued) == 1


@pytest.mark.parametrize("name", ["0.tif", "lzw.tif"])
def test_one_that_is_refused_in_the_middle_of_a_file_is_renewed(
    archive: SignedArchive, values: np.ndarray, name: str
) -> None:
    archive.refuses = lambda number, first: number == 0 and first > 0
    reader, faults = reader_of(archive, name)
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert len(archive.issued) == 2
    assert archive.refused >= 1
    assert faults.retries >= 1
    assert not faults


def test_readers_that_are_refused_together_renew_once(
    archive: SignedArchive, values: np.ndarray
) -> None:
    readers = [reader_of(archive, name)[0] for name in NAMES]
    for reader in readers:
        reader.read(Window(0, 0, 8, 8))
    archive.refuses = lambda number, first: number == 0
    for found in in_threads([partial(reader.read, WHOLE) for reader in readers]):
        np.testing.assert_array_equal(found, values)
    assert len(archive.issued) == 2


@pytest.mark.parametrize("name", ["0.tif", "lzw.tif"])
def test_a_second_refusal_is_believed(archive: SignedArchive, name: str) -> None:
    archive.refuses = lambda number, first: True
    reader, faults = reader_of(archive, name)
    with pytest.raises(ReadingError, match=rf"{name}: its server answered HTTP 403\. Start again"):
        reader.read(WHOLE)
    assert len(archive.issued) == 2
    assert not faults


def test_a_signing_service_that_is_down_for_a_while(
    archive: SignedArchive, values: np.ndarray
) -> None:
    archive.failing = [503, 500, 429]
    reader, faults = reader_of(archive)
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert faults.retries == 3


def test_readers_that_wait_for_a_signature_share_its_failure(archive: SignedArchive) -> None:
    archive.failing, archive.delay = [503] * 99, 1.0
    readers = [reader_of(archive, name, retry_seconds=0)[0] for name in NAMES]
    found = in_threads([partial(reader.read, WHOLE) for reader in readers])
    assert all("its signing service answered HTTP 503" in str(error) for error in found)
    assert len(archive.containers) < len(readers)


@pytest.mark.parametrize(
    "rubbish",
    [b"<html>", b"[]", b'{"token": "a=b"}', b'{"token": 5, "msft:expiry": "2999-01-01T00:00:00Z"}',
     b'{"token": "", "msft:expiry": "2999-01-01T00:00:00Z"}',
     b'{"token": "a=hush", "msft:expiry": "soon"}', b"\xff"],
)  # fmt: skip
def test_a_signing_service_with_a_useless_response(archive: SignedArchive, rubbish: bytes) -> None:
    archive.rubbish = rubbish
    reader, _ = reader_of(archive)
    with pytest.raises(ReadingError, match="its signing service's answer is no token") as raised:
        reader.read(WHOLE)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("status", [401, 404])
def test_a_signing_service_that_refuses(archive: SignedArchive, status: int) -> None:
    archive.failing = [status]
    reader, _ = reader_of(archive)
    with pytest.raises(ReadingError, match=f"its signing service answered HTTP {status}"):
        reader.read(WHOLE)
    assert len(archive.containers) == 1


def test_other_hosts_get_no_signature(archive: SignedArchive, values: np.ndarray) -> None:
    reader, _ = reader_of(archive)
    reader.url = f"{archive.storage}/free/0.tif".replace("127.0.0.1", "localhost")
    np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert set(archive.queries) == {""}
    assert not archive.containers


def test_the_key_to_the_service_comes_from_the_environment(
    archive: SignedArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader_of(archive, token_key="SIGNING_KEY")[0].read(WHOLE)
    monkeypatch.setenv("SIGNING_KEY", "hush")
    archive.refuses = lambda number, first: number == 0
    reader_of(archive, token_key="SIGNING_KEY")[0].read(WHOLE)
    assert archive.keys == [None, "hush"]


class _Elsewhere(RangeHandler):
    def __init__(self, to: str, *args: Any) -> None:
        self.to = to
        super().__init__(*args)

    def get(self) -> None:
        self.answer(302, b"", {"Location": f"{self.to}{self.path}"})


def test_the_key_does_not_follow_a_redirection(
    archive: SignedArchive, values: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNING_KEY", "hush")
    reader, _ = reader_of(archive)
    with serving(partial(_Elsewhere, archive.service)) as address:
        template = f"{address.replace('127.0.0.1', 'localhost')}/token/{{account}}/{{container}}"
        access = archive.access(token_key="SIGNING_KEY")
        access = replace(access, token_url=template)
        reader.settings = ReaderSettings(access=access)
        np.testing.assert_array_equal(reader.read(WHOLE), values)
    assert archive.keys == [None]


@pytest.mark.parametrize("name", ["0.tif", "lzw.tif", "absent.tif"])
def test_signatures_appear_nowhere(
    archive: SignedArchive,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIGNING_KEY", "hush")
    caplog.set_level(logging.DEBUG)
    reader, faults = reader_of(archive, name, token_key="SIGNING_KEY", retry_seconds=0)
    if name != "absent.tif":
        reader.read(WHOLE)
        archive.refuses = lambda number, first: True
    with pytest.raises(ReadingError) as raised:
        reader.read(WHOLE)
    assert any("hush" in query for query in archive.queries)
    error: BaseException | None = raised.value
    shown = [caplog.text, *capfd.readouterr(), repr(list(faults))]
    while error is not None:
        shown += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    shown += [repr(pickle.dumps(each)) for each in (reader, reader.settings, faults, raised.value)]
    assert not [text for text in shown if "hush" in text]


def test_the_items_of_a_run_hold_no_signature(archive: SignedArchive, tmp_path: Path) -> None:
    description = CatalogDescription(
        url="https://example.com",
        access=AccessDescription(
            kind="signed", token_url=archive.access().token_url, hosts="127.0.0.*"
        ),
    )
    published = earth_search_item(base=archive.storage)
    for asset in published["assets"].values():
        asset["href"] += "?sig=hush" if asset["href"].startswith("http") else ""
    content = make_snapshot([published], description)
    assert b"hush" not in content
    (item,) = read_snapshot(content, "items")
    assert item.assets["B02"].href.startswith(f"{archive.storage}/")
    assert "hush" not in repr(item)
