"""Claims on cells in a folder and on S3: one process has a cell, and a dead one loses it."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.io.store import Store
from pipeline.product.cell_claims import CellClaims, cell_claims
from pipeline.product.manifest import RunManifest
from tests.s3_server import s3

__all__ = ["s3"]

_RUN = RunManifest("f" * 64, {}, {}, {}, "")
_FOLDER = f"owners/run-{'f' * 12}"
_HOLDS = (
    "import sys\nfrom pipeline.io.store import Store\n"
    "from pipeline.product.cell_claims import cell_claims\n"
    "from pipeline.product.manifest import RunManifest\n"
    "run = RunManifest('f' * 64, {}, {}, {}, '')\n"
    "with cell_claims(Store(sys.argv[1]), run, float(sys.argv[2])) as claims:\n"
    "    print([claims.take(name) for name in sys.argv[3:]], flush=True)\n    sys.stdin.read()\n"
)
Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(str(tmp_path / "run"))
    return Store(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


@pytest.fixture
def hold(start_holder: Callable[..., "subprocess.Popen[str]"]) -> Hold:
    """Start a process that claims two cells, and holds them until its input is closed."""

    def start(store: Store, lease: float) -> "subprocess.Popen[str]":
        arguments = (store.root, str(lease), "one", "two")
        return start_holder(_HOLDS, *arguments, says="[True, True]")

    return start


@pytest.fixture
def claims(store: Store) -> Iterator[CellClaims]:
    with cell_claims(store, _RUN, 60) as claims:
        yield claims


def names(store: Store) -> list[str]:
    """The files of the claims, but for those of processes."""
    keys = [key.removeprefix(f"{_FOLDER}/") for key in store.keys(_FOLDER)]
    return [key for key in keys if not key.startswith("process-")]


def test_a_cell_is_one_processs_until_it_gives_it_back(store: Store, hold: Hold) -> None:
    with cell_claims(store, _RUN, 60) as claims:
        assert claims.take("three")
        assert claims.take("three"), "it stays its own"
        holder = hold(store, 60)
        assert claims.has_company()
        assert [claims.take("one"), claims.take("two")] == [False, False]
        assert claims.held_by_others({"one", "two", "four"}) == {"one", "two"}
        holder.communicate("")
        assert claims.held_by_others({"one", "two"}) == set()
        assert not claims.has_company()
        assert claims.take("one")
        claims.release("one")
        assert names(store) == ["three.000001.json"]
    assert list(store.keys()) == []


def test_a_killed_process_loses_its_cells_at_once(
    store: Store, hold: Hold, claims: CellClaims
) -> None:
    holder = hold(store, 60)
    holder.kill()
    holder.wait()
    assert claims.held_by_others({"one", "two"}) == set()
    assert claims.take("one")
    assert names(store) == ["one.000001.json", "one.000002.json", "two.000001.json"]
    assert claims.take("two")
    claims.release("one")
    claims.release("two")
    assert names(store) == []


def test_a_process_that_stands_still_loses_its_cells_after_its_own_lease(
    store: Store, hold: Hold, claims: CellClaims
) -> None:
    holder = hold(store, 2)
    until = time.monotonic() + 3
    while time.monotonic() < until:  # longer than the lease: it shows that it lives
        assert not claims.take("one")
        time.sleep(0.2)
    holder.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    while not claims.take("one"):
        assert time.monotonic() - began < 30
        time.sleep(0.1)
    assert time.monotonic() - began >= 1.5
    assert claims.take("two"), "the others are lost, too"
    holder.send_signal(signal.SIGCONT)
    holder.communicate("")
    left = names(store)
    assert left == ["one.000002.json", "two.000002.json"], "it gives back what is its own only"


def test_of_many_that_follow_a_dead_process_one_has_the_cell(store: Store, hold: Hold) -> None:
    holder = hold(store, 60)
    holder.kill()
    holder.wait()
    many = [CellClaims(store, _RUN, 60) for _ in range(6)]
    together = threading.Barrier(len(many))

    def take(claims: CellClaims) -> bool:
        together.wait()
        return claims.take("one")

    with ThreadPoolExecutor(len(many)) as pool:
        assert list(pool.map(take, many)).count(True) == 1
    for claims in many:
        claims.end()


def test_a_half_written_claim_runs_out(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.create(f"{_FOLDER}/one.000001.json", b"{")
    with cell_claims(store, _RUN, 1) as claims:
        began = time.monotonic()
        while not claims.take("one"):
            time.sleep(0.05)
        assert time.monotonic() - began >= 1
    assert list(store.keys()) == []


def test_what_dead_processes_left_is_removed(store: Store, hold: Hold, claims: CellClaims) -> None:
    dead, living = hold(store, 60), None
    dead.kill()
    dead.wait()
    assert claims.take("three")
    claims.remove_run_out()
    assert names(store) == ["three.000001.json"]
    living = hold(store, 60)
    claims.remove_run_out()
    assert names(store) == ["one.000001.json", "three.000001.json", "two.000001.json"]
    living.communicate("")


def test_claims_of_another_run_are_no_matter(store: Store, hold: Hold) -> None:
    hold(store, 60)
    with cell_claims(store, RunManifest("e" * 64, {}, {}, {}, ""), 60) as claims:
        assert claims.take("one")
        assert not claims.has_company()


def test_a_folder_that_is_removed_is_not_made_anew(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    with cell_claims(Store(str(root)).once_opened(), _RUN, 0.2) as claims:
        assert claims.take("one")
        process = next(path for path in root.rglob("process-*"))
        before = json.loads(process.read_text())["count"]
        time.sleep(0.5)
        assert json.loads(process.read_text())["count"] > before
        for path in sorted(root.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        root.rmdir()
        time.sleep(0.5)
    assert not root.exists()
