"""A year read from servers that fail for a while: every pixel is right, and each retry counted."""

import random
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.catalog.item import SCL, Item
from pipeline.errors import ReadingError
from pipeline.grid.cell_blocks import Block
from pipeline.grid.cells import Cell
from pipeline.grid.mgrs import parse_tile
from pipeline.observations.clear_mask import ClearMask, Masking
from pipeline.observations.read_band import BandSeries, read_clear, read_series
from pipeline.raster.stackstac_reader import ReaderSettings
from tests.faulty_server import FaultyServer, Outcome, faulty_server
from tests.pipeline.rasters import LEFT, TOP, make_item, write_raster

CELL = Cell(parse_tile("31UFS"), 0, 0, 0, 0, 300, 260)
WHOLE = Block(0, 0, 300, 260)
KEEP = Masking((4, 5))
DATES = 20  # of two rasters each


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Forty rasters in a folder, whose blocks lie beyond what opening them takes."""
    folder, rng = tmp_path_factory.mktemp("archive"), np.random.default_rng(8)
    items = []
    for n in range(DATES):
        scenes = rng.choice([4, 5, 9], (150, 130)).astype(np.uint8)
        band = rng.integers(1, 9000, (300, 260)).astype(np.uint16)
        assets = {
            SCL: write_raster(folder / f"{n}_scl.tif", scenes, resolution=20),
            "B02": write_raster(folder / f"{n}_b02.tif", band),
        }
        day = datetime(2021, 1, 4, 10, 50, tzinfo=UTC) + timedelta(days=18 * n)
        items.append(make_item(f"item{n}", assets, day))
    assert CELL.bounds == (LEFT, TOP - 3000, LEFT + 2600, TOP)
    return items


@pytest.fixture(scope="module")
def files(local: list[Item]) -> dict[str, bytes]:
    paths = [Path(asset.href) for item in local for asset in item.assets.values()]
    return {f"/{path.name}": path.read_bytes() for path in paths}


@pytest.fixture
def faulty(files: dict[str, bytes]) -> Iterator[FaultyServer]:
    with faulty_server(FaultyServer(files)) as server:
        yield server


def moved(local: list[Item], address: str) -> list[Item]:
    """The items with their rasters on a server."""
    return [
        replace(
            item,
            assets={
                band: replace(asset, href=f"{address}/{Path(asset.href).name}")
                for band, asset in item.assets.items()
            },
        )
        for item in local
    ]


def read(items: list[Item], **settings: Any) -> tuple[ClearMask, BandSeries]:
    given = ReaderSettings(**({"timeout": 2, "retry_seconds": 60} | settings))
    clear = read_clear(items, CELL, KEEP, given)
    return clear, read_series(items, "B02", CELL, WHOLE, clear, given)


@pytest.fixture(scope="module")
def expected(local: list[Item]) -> tuple[ClearMask, BandSeries]:
    return read(local)


def assert_same(
    found: tuple[ClearMask, BandSeries],
    expected: tuple[ClearMask, BandSeries],
    retries: int | None = None,
) -> None:
    np.testing.assert_array_equal(found[0].bits, expected[0].bits)
    np.testing.assert_array_equal(found[1].series, expected[1].series)
    assert not found[0].stats.faults
    assert not found[1].stats.faults
    if retries is not None:
        assert (found[0].stats + found[1].stats).retries == retries


def half_of_all(path: str, first: int, before: int) -> Outcome:
    """Every other answer fails, by chance, but the same in each run whatever the threads do."""
    chance = random.Random(zlib.crc32(f"{path} {first} {before}".encode()))
    if before >= 4 or chance.random() < 0.5:
        return 200
    return chance.choice([*2 * (503, 500, 429, "resets", "hangs up", "stops short"), "stalls"])


def test_half_of_all_requests_fail(
    faulty: FaultyServer, local: list[Item], expected: tuple[ClearMask, BandSeries]
) -> None:
    faulty.how, faulty.stall = half_of_all, 3
    found = read(moved(local, faulty.address))
    assert faulty.failures > 0.4 * len(faulty.requests)
    assert {each.how for each in faulty.requests} >= {
        503,
        "resets",
        "hangs up",
        "stalls",
        "stops short",
    }
    assert_same(found, expected, faulty.failures)


def test_a_server_that_stalls(
    faulty: FaultyServer, local: list[Item], expected: tuple[ClearMask, BandSeries]
) -> None:
    faulty.how = lambda path, first, before: 200 if before or first else "stalls"
    found = read(moved(local, faulty.address), timeout=1)
    assert faulty.failures == 2 * DATES  # the first request of each raster
    assert_same(found, expected, faulty.failures)


@pytest.mark.parametrize(("status", "form"), [(429, "seconds"), (503, "date")])
def test_a_pause_that_the_server_names_is_kept(
    faulty: FaultyServer,
    local: list[Item],
    expected: tuple[ClearMask, BandSeries],
    status: int,
    form: str,
) -> None:
    ends = int(time.time()) + 2
    date = format_datetime(datetime.fromtimestamp(ends, UTC), usegmt=True)
    faulty.headers = {"Retry-After": "1" if form == "seconds" else date}
    faulty.how = lambda path, first, before: 200 if before or first else status
    found = read(moved(local[:3], faulty.address))
    assert faulty.failures == 6
    assert (found[0].stats + found[1].stats).retries == 6
    for failed in faulty.requests:
        if failed.how == status:
            after = next(
                each.at for each in faulty.requests if (each.path, each.how) == (failed.path, 200)
            )
            assert after >= (failed.at + 1 if form == "seconds" else ends)
    np.testing.assert_array_equal(found[1].series, read(local[:3])[1].series)


def test_a_pause_beyond_the_limit_is_not_waited_for(
    faulty: FaultyServer, local: list[Item]
) -> None:
    faulty.headers = {"Retry-After": "3600"}
    faulty.how = lambda path, first, before: 429
    with pytest.raises(ReadingError, match="its server answered HTTP 429"):
        read(moved(local[:1], faulty.address))
    assert len(faulty.requests) == 1


def test_a_name_that_is_unknown_for_a_while(
    faulty: FaultyServer,
    local: list[Item],
    expected: tuple[ClearMask, BandSeries],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The one thing here that is not real: this machine's resolver cannot be taken away.
    known, failures = socket.getaddrinfo, iter(range(30))

    def unknown(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "localhost" and next(failures, None) is not None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return known(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = read(moved(local, faulty.address.replace("127.0.0.1", "localhost")))
    assert_same(found, expected, 30)


def test_a_server_that_goes_and_comes_back(
    files: dict[str, bytes], local: list[Item], expected: tuple[ClearMask, BandSeries]
) -> None:
    with faulty_server(FaultyServer(files)) as first:
        items = moved(local, first.address)
        clear = read_clear(items, CELL, KEEP)
    with ExitStack() as stack:
        returning = threading.Timer(
            1.0, lambda: stack.enter_context(faulty_server(FaultyServer(files), first.port))
        )
        returning.start()
        given = ReaderSettings(timeout=2, retry_seconds=60)
        series = read_series(items, "B02", CELL, WHOLE, clear, given)
        returning.join()
    assert series.stats.retries >= DATES
    assert_same((clear, series), expected)


def test_a_server_that_stays_away_is_no_empty_map(
    files: dict[str, bytes], local: list[Item]
) -> None:
    with faulty_server(FaultyServer(files)) as server:
        items = moved(local, server.address)
        clear = read_clear(items, CELL, KEEP)
    with pytest.raises(ReadingError, match=r"b02\.tif: no connection to its server\. Start again"):
        read_series(items, "B02", CELL, WHOLE, clear, ReaderSettings(retry_seconds=1))
