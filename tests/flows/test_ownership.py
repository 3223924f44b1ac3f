"""Several runs in one folder, as real processes that are stopped and killed at stated moments."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import s3fs

from flows.cli.main import run
from models.vocabulary.vocabulary import load_vocabulary
from tests.flows.conftest import Shell, connected, end_when, mapped, rasters
from tests.s3_server import s3

__all__ = ["s3"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
Options = Callable[..., list[str]]
_SECONDS = 400
_REGION = "5.990,49.610,6.000,49.618"  # a few cells


@pytest.fixture(scope="module")
def options(options: Options) -> Options:
    """The options of a run of a few cells."""

    def given(out: Path | str, *more: str) -> list[str]:
        arguments = options(out, *more)
        arguments[arguments.index("--region") + 1] = _REGION
        return arguments

    return given


@pytest.fixture(scope="module")
def whole_run(
    tmp_path_factory: pytest.TempPathFactory, options: Options, users_server: str
) -> Path:
    """The folder of a run that nothing disturbed."""
    return mapped(tmp_path_factory.mktemp("whole") / "run", options, users_server)


@pytest.fixture
def others(options: Options) -> Options:
    """The options of a run of the same words in another order."""
    names = [entry.name for entry in load_vocabulary("sample-landscape").classes]

    def given(out: Path | str, *more: str) -> list[str]:
        arguments = options(out, *more)
        at = arguments.index("--vocabulary")
        arguments[at : at + 2] = ["--classes", ", ".join(reversed(names))]
        return arguments

    return given


def contents(out: Path) -> dict[str, bytes]:
    """All files of a folder but the claims on it."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.parent.name != "owners"
    }


def stop_when(process: "subprocess.Popen[str]", moment: Callable[[], bool]) -> psutil.Process:
    """Stop a process (SIGSTOP) once a moment has come."""
    until = time.monotonic() + _SECONDS
    while not moment():
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < until, "the moment did not come"
        time.sleep(0.001)
    stopped = psutil.Process(process.pid)
    stopped.suspend()
    return stopped


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit code of a process, and what it said of errors."""
    _, errors = process.communicate(timeout=_SECONDS)
    return process.returncode, errors


def test_words_of_a_killed_plan_are_not_used_for_another(
    tmp_path: Path,
    shell: Shell,
    options: Options,
    others: Options,
    whole_run: Path,
    users_server: str,
) -> None:
    out = tmp_path / "run"
    assert run(["plan", *options(out)]) == 0
    text = (out / "text.safetensors").read_bytes()
    process = shell.timesen("plan", *others(out))

    def between() -> bool:
        written = (out / "text.safetensors").read_bytes() != text
        return written and not (out / "run.json").exists()

    end_when(shell, process, signal.SIGKILL, between)
    assert process.returncode == -signal.SIGKILL
    with connected(users_server):
        assert run(["map", *options(out)]) == 0
    assert rasters(out) == rasters(whole_run)


def test_changed_words_of_a_run_with_cells_are_refused(
    tmp_path: Path, options: Options, others: Options, whole_run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(whole_run, out)
    assert run(["plan", *others(other)]) == 0
    shutil.copy(other / "text.safetensors", out)
    before = contents(out)
    assert run(["map", *options(out)]) == 2
    assert "text.safetensors: the file is changed" in capsys.readouterr().err
    assert contents(out) == before


def test_a_second_driver_is_refused_before_it_has_written(
    tmp_path: Path,
    shell: Shell,
    options: Options,
    others: Options,
    whole_run: Path,
    users_server: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    process = shell.timesen("map", *options(out), PREFECT_API_URL=users_server)
    stopped = stop_when(process, (out / "run.json").exists)
    before = contents(out)
    assert run(["map", *others(out)]) == 2
    said = capsys.readouterr().err
    assert f"another process plans or maps in it (process {process.pid} on " in said
    assert contents(out) == before
    stopped.resume()
    assert ended(process) == (0, "")
    assert rasters(out) == rasters(whole_run)


def test_a_driver_that_lost_its_folder_writes_nothing(
    tmp_path: Path,
    shell: Shell,
    options: Options,
    others: Options,
    users_server: str,
) -> None:
    out = tmp_path / "run"
    process = shell.timesen("map", *options(out), PREFECT_API_URL=users_server)
    stopped = stop_when(process, (out / "run.json").exists)
    shutil.rmtree(out)
    with connected(users_server):
        assert run(["map", *others(out)]) == 0
    before = {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    stopped.resume()
    code, said = ended(process)
    assert code == 2, said
    assert "another run began in this folder meanwhile" in said
    assert {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kept", [[], ["--keep-embeddings"]])
def test_a_folder_that_is_removed_is_not_made_anew(
    tmp_path: Path, shell: Shell, options: Options, users_server: str, kept: list[str]
) -> None:
    out = tmp_path / "run"
    process = shell.timesen(
        "map", *options(out, *kept, "--cells-in-flight", "1"), PREFECT_API_URL=users_server
    )
    stopped = stop_when(process, lambda: any(out.glob("cells/*/*/item.json")))
    shutil.rmtree(out)
    stopped.resume()
    code, said = ended(process)
    assert code == 2, said
    assert "run.json has gone: somebody removed or emptied the folder" in said
    assert not out.exists()


def test_of_drivers_of_other_runs_on_s3_one_maps(
    s3: str, shell: Shell, options: Options, others: Options, users_server: str
) -> None:
    out = f"{s3}/contested"
    drivers = [
        shell.timesen("map", *given(out), PREFECT_API_URL=users_server)
        for given in (options, others)
    ]
    outcomes = [ended(driver) for driver in drivers]
    assert sorted(code for code, _ in outcomes) == [0, 2], outcomes
    won = (options, others)[[code for code, _ in outcomes].index(0)]
    bucket = s3fs.S3FileSystem(use_listings_cache=False)
    made = {name: bucket.cat(name) for name in bucket.glob(f"{out}/cells/*/*/*.tif")}
    with connected(users_server):
        assert run(["map", *won(f"{s3}/alone")]) == 0
    for name, content in made.items():
        assert bucket.cat(name.replace("contested", "alone")) == content
    assert len(made) == len(bucket.glob(f"{s3}/alone/cells/*/*/*.tif"))


def test_what_a_killed_run_left_is_removed_by_the_next(
    tmp_path: Path,
    shell: Shell,
    options: Options,
    whole_run: Path,
    users_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, scratch, shared = tmp_path / "run", tmp_path / "scratch", Path("/dev/shm")
    scratch.mkdir()
    command = ["map", *options(out, "--cluster", "local", "--workers", "1")]
    process = shell.timesen(*command, TMPDIR=str(scratch))
    stop_when(process, lambda: any(out.glob("cells/*/*/item.json")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    shell.require_nothing_left()
    assert [path for path in shared.iterdir() if f"-{process.pid}-" in path.name]
    dead = next(iter(shared.glob(f"sem.mp-timesen-*-{process.pid}-*"))).name
    mark = dead.removeprefix("sem.mp-timesen-").rpartition("-")[0]
    half_written = out / "cells" / f".part-{mark}-0a1b2c"
    half_written.write_bytes(b"half")
    (scratch / f"timesen-prefect-{mark}-x").mkdir()
    with subprocess.Popen(["sleep", "600"]) as living:
        start = Path(f"/proc/{living.pid}/stat").read_text().rpartition(")")[2].split()[19]
        other = half_written.with_name(f".part-{mark.split('-')[0]}-{living.pid}-{start}-0a")
        other.write_bytes(b"of a process that lives")
        process = shell.timesen(*command, TMPDIR=str(scratch))
        assert ended(process) == (0, "")
        assert other.exists()
        living.kill()
    assert not half_written.exists()
    assert not list(shared.glob("sem.mp-timesen-*")) or not (shared / dead).exists()
    assert not list(scratch.glob("timesen-*"))
    assert rasters(out) == rasters(whole_run)
