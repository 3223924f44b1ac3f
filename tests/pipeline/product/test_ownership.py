"""Claims on a folder and on S3: of several processes one holds, and a dead one is followed."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.files.process_mark import process_mark
from pipeline.errors import OutputError
from pipeline.io.store import Store
from pipeline.layout import owner_key
from pipeline.product import ownership
from pipeline.product.ownership import claimed
from tests.s3_server import s3

__all__ = ["s3"]

_HOLDS = (
    "import sys, time\nfrom pipeline.io.store import Store\n"
    "from pipeline.product.ownership import claimed\n"
    "with claimed(Store(sys.argv[1]), sys.argv[2], shared=len(sys.argv) > 3):\n"
    "    print('held', flush=True)\n    sys.stdin.read()\n"
)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "run"))
    return Store(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


@pytest.fixture
def hold(
    start_holder: Callable[..., "subprocess.Popen[str]"],
) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a process that holds a folder until its input is closed."""
    return lambda store, *arguments: start_holder(_HOLDS, store.root, *arguments, says="held")


def test_a_held_folder_is_refused_to_another_plan(
    store: Store, hold: Callable[..., "subprocess.Popen[str]"]
) -> None:
    holder = hold(store, "a")
    before = list(store.keys())
    with pytest.raises(OutputError, match=rf"another process plans or maps.*process {holder.pid}"):
        _take(store, "b")
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(OutputError, match="another process plans or maps"):
        _take(store, "b", shared=True)
    assert list(store.keys()) == before
    holder.send_signal(signal.SIGCONT)
    holder.communicate("")
    _take(store, "b")


def test_a_killed_process_is_followed_at_once(
    store: Store, hold: Callable[..., "subprocess.Popen[str]"]
) -> None:
    holder = hold(store, "a")
    holder.kill()
    holder.wait()
    began = time.monotonic()
    _take(store, "b")
    assert time.monotonic() - began < 10
    assert list(store.keys()) == [owner_key(2)]


def test_processes_of_one_plan_share_a_folder_or_wait(
    store: Store, hold: Callable[..., "subprocess.Popen[str]"]
) -> None:
    holder = hold(store, "a", "shared")
    _take(store, "a", shared=True)
    ended = threading.Timer(1, lambda: holder.communicate(""))
    ended.start()
    _take(store, "a")
    ended.join()
    assert list(store.keys()) == [owner_key(2)]


def test_of_many_that_come_at_once_one_holds(store: Store) -> None:
    inside, most = [], []

    def take(number: int) -> str:
        try:
            with claimed(store, f"plan {number}"):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.2)
                inside.remove(number)
        except OutputError:
            return "refused"
        return "held"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(take, range(8)))
    assert set(most) == {1}
    assert outcomes.count("held") == len(most) >= 1


def test_of_many_of_one_plan_each_holds_in_its_turn(store: Store) -> None:
    inside, most = [], []

    def take(number: int) -> None:
        with claimed(store, "plan"):
            inside.append(number)
            most.append(len(inside))
            inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(take, range(4)))
    assert most == [1] * 4


def test_a_process_of_another_machine_is_watched(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "_SILENT_SECONDS", 3)
    claim = {
        "plan": "a",
        "process": f"{'0' * 12}-{os.getpid()}-1",
        "host": "elsewhere",
        "when": "2099-01-01T00:00:00Z",  # clocks are not compared
        "count": 0,
        "ended": False,
    }
    store.create(owner_key(1), json.dumps(claim).encode())
    lives = threading.Event()

    def live() -> None:
        while not lives.wait(0.3):
            claim["count"] = int(str(claim["count"])) + 1
            store.overwrite(owner_key(1), json.dumps(claim).encode())

    other = threading.Thread(target=live)
    other.start()
    with pytest.raises(OutputError, match="on elsewhere"):
        _take(store, "b")
    lives.set()
    other.join()
    _take(store, "a", shared=True)  # at once
    began = time.monotonic()
    _take(store, "b")
    assert time.monotonic() - began >= 3


@pytest.mark.parametrize("content", [b"", b'{"plan": "a"', b"[]", b'{"plan": 1, "process": "x"}'])
def test_a_half_written_claim_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(ownership, "_SILENT_SECONDS", 1)
    store = Store(str(tmp_path))
    store.create(owner_key(1), content)
    _take(store, "a")
    assert list(store.keys()) == [owner_key(2)]


def test_a_claim_is_renewed_and_its_folder_not_made_anew(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownership, "_BEAT_SECONDS", 0.1)
    with claimed(store, "a"):
        seen = {store.read(owner_key(1))}
        until = time.monotonic() + 20
        while len(seen) < 3 and time.monotonic() < until:
            seen.add(store.read(owner_key(1)))
        assert len(seen) >= 3
        claim = json.loads(store.read(owner_key(1)))
        assert (claim["process"], claim["ended"]) == (process_mark(), False)
        store.remove(owner_key(1))
        time.sleep(0.5)
        store.remove(owner_key(1))  # a renewal that was under way
    assert list(store.keys()) == []


def _take(store: Store, plan: str, *, shared: bool = False) -> None:
    with claimed(store, plan, shared=shared):
        pass


def test_a_process_that_fails_before_it_writes_leaves_nothing(store: Store) -> None:
    with pytest.raises(ValueError, match="mistake"), claimed(store, "a"):
        raise ValueError("mistake")
    assert list(store.keys()) == []
    assert not store.has_folder()
    _take(store, "a")
    store.write("run.json", b"{}")
    with pytest.raises(ValueError, match="mistake"), claimed(store, "a"):
        raise ValueError("mistake")
    assert list(store.keys()) == [owner_key(2), "run.json"]


def test_a_process_waits_until_another_has_done_what_it_needs(
    store: Store, hold: Callable[..., "subprocess.Popen[str]"]
) -> None:
    hold(store, "a")
    done = threading.Event()
    threading.Timer(1, done.set).start()
    with claimed(store, "a", enough=done.is_set) as own:
        assert done.is_set()
        assert not own
    with pytest.raises(OutputError, match="another process plans"):
        _take(store, "b")
