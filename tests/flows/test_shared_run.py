"""Several processes that map one run together: real ones, some of them killed."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from flows.cli.main import run
from tests.faults.commands import Command, Wanted, Zygote, wait_for_end
from tests.faults.places import Folder, Place, Prefix
from tests.faults.product import product_differences, read_product
from tests.flows.conftest import REPOSITORY, Shell, mapped
from tests.flows.slurm_node import slurm
from tests.s3_server import BUCKET, s3

__all__ = ["s3", "slurm"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Options = Callable[..., list[str]]
Said = tuple[int, str, str]
_CELLS = 6
_REGION = "5.995,49.610,6.004,49.614"  # six cells of four tiles, in two zones
_SECONDS = 400
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def options(options: Options) -> Options:
    """The options of a run of six cells, of which a process has one at a time."""

    def given(out: Path | str, *more: str) -> list[str]:
        arguments = options(out, "--cells-in-flight", "1", *more)
        arguments[arguments.index("--region") + 1] = _REGION
        return arguments

    return given


@pytest.fixture(scope="module")
def whole_run(
    tmp_path_factory: pytest.TempPathFactory, options: Options, users_server: str
) -> Path:
    """The folder of a run that one process mapped, undisturbed."""
    return mapped(tmp_path_factory.mktemp("whole") / "run", options, users_server)


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """A process that has imported timesen and forks the others, which saves ten seconds each."""
    folder = tmp_path_factory.mktemp("zygote")
    quiet = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}  # read when it is imported
    process = Zygote({**os.environ, **quiet, "MPLCONFIGDIR": str(folder)}, folder)
    yield process
    process.close()


@pytest.fixture
def start(
    zygote: Zygote, tmp_path: Path, options: Options, users_server: str
) -> Iterator[Callable[..., Command]]:
    """Start a process that maps; whatever runs at the test's end is killed."""
    started: list[Command] = []

    def begin(out: str | Path, *more: str) -> Command:
        name = str(tmp_path / f"process-{len(started)}")
        environment = {**os.environ, "PREFECT_API_URL": users_server}
        arguments = ["map", *options(out, *more)]
        wanted = Wanted(
            "flows.cli", arguments, environment, str(tmp_path), f"{name}.out", f"{name}.err"
        )
        started.append(zygote.start(wanted))
        return started[-1]

    yield begin
    for process in started:
        process.send(signal.SIGKILL, group=True)


def ended(process: Command) -> Said:
    """The exit code of a process, and what it said."""
    code = process.wait(_SECONDS)
    return code, *(Path(f).read_text() for f in (process.wanted.output, process.wanted.errors))


def own_cells(said: str) -> int:
    """How many cells a process says that it mapped itself."""
    found = re.findall(r"(\d+) of 6 cells(?:, (\d+) by other processes)?", said)
    return int(found[-1][0]) - int(found[-1][1] or 0) - int(found[0][0])


def require_same(place: Place, whole_run: Path) -> None:
    """Fail unless a product is that of the undisturbed run, and no claim is left."""
    found, wanted = dict(read_product(place)), dict(read_product(Folder(str(whole_run))))
    if isinstance(place, Prefix):  # it says how to open a map in S3
        del found["report.html"], wanted["report.html"]
    assert product_differences(found, wanted) == ([], [], [])
    left = [name for name in place.names() if name.startswith("owners/run-")]
    assert [name.rpartition("/")[2] for name in left] == ["published.json"]


def published_by(place: Place) -> int:
    """The process that published last."""
    (name,) = (name for name in place.names() if name.endswith("/published.json"))
    return int(json.loads(place.read(name))["process"].split("-")[1])


def has_claimed_a_cell(place: Place, process: Command) -> bool:
    """Whether a process maps a cell now."""
    with contextlib.suppress(OSError, ClientError):  # it is given back meanwhile
        return any(
            f"-{process.pid}-" in place.read(name).decode()
            for name in place.names()
            if re.search(r"owners/run-.*/3\d.*\.\d{6}\.json", name)
        )
    return False


def test_each_cell_is_mapped_once(
    tmp_path: Path,
    start: Callable[..., Command],
    whole_run: Path,
) -> None:
    out = tmp_path / "run"
    drivers = [start(out) for _ in range(2)]
    outcomes = [ended(driver) for driver in drivers]
    assert [(code, errors) for code, _, errors in outcomes] == [(0, "")] * 2, outcomes
    assert sum(own_cells(said) for _, said, _ in outcomes) == _CELLS, outcomes
    assert all(own_cells(said) for _, said, _ in outcomes), outcomes
    place = Folder(str(out))
    require_same(place, whole_run)
    for driver, (_, said, _) in zip(drivers, outcomes, strict=True):
        publisher = re.search(r"Published by process (\d+) on ", said)
        assert (int(publisher[1]) if publisher else driver.pid) == published_by(place), said


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_cells_of_a_killed_process_are_mapped_by_another(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    start: Callable[..., Command],
    whole_run: Path,
    where: str,
) -> None:
    place: Place = Folder(str(tmp_path / "run"))
    if where == "s3":
        request.getfixturevalue("s3")
        place = Prefix(BUCKET, "shared", boto3.client("s3"))
    drivers = [start(place.out) for _ in range(3)]
    until = time.monotonic() + _SECONDS
    while not (killed := [each for each in drivers if has_claimed_a_cell(place, each)]):
        assert time.monotonic() < until, "no cell was claimed"
        time.sleep(0.005)
    killed[0].send(signal.SIGKILL, group=True)
    outcomes = [ended(driver) for driver in drivers if driver is not killed[0]]
    assert [(code, errors) for code, _, errors in outcomes] == [(0, "")] * 2, outcomes
    require_same(place, whole_run)
    # By their sessions: of forked processes, the mark of the environment is the first one's.
    assert not wait_for_end(str(tmp_path), [driver.pid for driver in drivers], 15)


@pytest.mark.parametrize("where", ["folder", "s3"])
def test_shards_are_mapped_at_once_and_joined(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    start: Callable[..., Command],
    whole_run: Path,
    capsys: pytest.CaptureFixture[str],
    where: str,
) -> None:
    place: Place = Folder(str(tmp_path / "run"))
    if where == "s3":
        request.getfixturevalue("s3")
        place = Prefix(BUCKET, "shards", boto3.client("s3"))
    shards = [start(place.out, "--shard", f"{number}/3") for number in (1, 2, 3)]
    killed = shards[:0]
    if where == "folder":
        until = time.monotonic() + _SECONDS
        while not (killed := [each for each in shards if has_claimed_a_cell(place, each)][:1]):
            assert time.monotonic() < until, "no cell was claimed"
            time.sleep(0.005)
        killed[0].send(signal.SIGKILL, group=True)
    outcomes = [ended(shard) for shard in shards if shard not in killed]
    assert [(code, errors) for code, _, errors in outcomes] == [(0, "")] * len(outcomes), outcomes
    cells = [int(re.findall(r"Shard ./3: (\d) of 6 cells", said)[-1]) for _, said, _ in outcomes]
    assert not {"class.vrt", "report.html", "collection.json"} & set(place.names())
    if killed:
        assert run(["publish", place.out]) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert re.search(rf"warning: ({_CELLS - sum(cells)}|1) cells? (is|are) missing", said), said
        assert "class.vrt" in place.names()
        code, said, errors = ended(start(place.out, "--shard", f"{shards.index(killed[0]) + 1}/3"))
        assert (code, errors) == (0, ""), said
    else:
        assert sum(cells) == _CELLS
    assert run(["publish", place.out]) == 0
    assert "6 of 6 cells are mapped" in capsys.readouterr().out
    require_same(place, whole_run)


def test_the_tasks_of_a_slurm_array_share_a_run(
    tmp_path: Path, shell: Shell, options: Options, whole_run: Path, slurm: Path
) -> None:
    out, script = tmp_path / "run", REPOSITORY / "infra" / "slurm" / "map.sbatch"
    job = subprocess.run(
        ["sbatch", "--wait", "--array", "1-2", "--cpus-per-task", "1", "--output", "task-%a.log",
         str(script), *options(out)],
        cwd=tmp_path, capture_output=True, text=True, timeout=_SECONDS,
        env=shell.environment
        | {"SLURM_CONF": str(slurm), "PATH": f"{BIN}:{os.environ['PATH']}"},
    )  # fmt: skip
    said = [path.read_text() for path in sorted(tmp_path.glob("task-*.log"))]
    assert job.returncode == 0, [job.stderr, *said]
    assert sum(own_cells(each) for each in said) == _CELLS, said
    require_same(Folder(str(out)), whole_run)
