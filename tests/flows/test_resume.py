"""A real run, ended at several moments and started again."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows.cli import run
from tests.flows.conftest import Shell

Options = Callable[..., list[str]]


def rasters(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.glob("cells/*/*/*.tif")}


def items(out: Path) -> dict[str, tuple[int, bytes]]:
    """Committed cells: when their item was written, and what it says."""
    return {
        str(p.relative_to(out)): (p.stat().st_mtime_ns, p.read_bytes())
        for p in out.glob("cells/*/*/item.json")
    }


def half_written(out: Path) -> list[Path]:
    """Cells with a raster, whole or in part, and no item."""
    return [
        cell
        for cell in out.glob("cells/*/*")
        if not (cell / "item.json").exists() and any(cell.iterdir())
    ]


def end_when(
    shell: Shell, process: subprocess.Popen[str], ended: signal.Signals, moment: Callable[[], bool]
) -> None:
    """Send a signal at a moment; the process stands still while the moment is looked at."""
    whole = psutil.Process(process.pid)
    until = time.monotonic() + 120
    while True:
        assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < until, "the moment did not come"
        if moment():
            whole.suspend()
            if moment():
                break
            whole.resume()
        time.sleep(0.001)
    whole.send_signal(ended)
    whole.resume()
    process.communicate(timeout=60)
    shell.require_nothing_left()


@pytest.mark.slow
def test_a_run_goes_on_after_being_killed_at_any_moment(
    tmp_path: Path, shell: Shell, options: Options, whole_run: Path, users_server: str
) -> None:
    out = tmp_path / "run"
    command = ["map", *options(out, "--cells-in-flight", "2")]

    # while it is planned
    process = shell.timesen(*command)
    end_when(shell, process, signal.SIGKILL, lambda: (out / "items.parquet").exists())
    assert process.returncode == -signal.SIGKILL
    assert not items(out)

    # between cells, by Ctrl-C
    process = shell.timesen(*command, PREFECT_API_URL=users_server)
    end_when(shell, process, signal.SIGINT, lambda: len(items(out)) >= 2)
    assert process.returncode == 130
    first = items(out)

    # between cells
    process = shell.timesen(*command, PREFECT_API_URL=users_server)
    end_when(shell, process, signal.SIGKILL, lambda: len(items(out)) >= len(first) + 2)
    assert process.returncode == -signal.SIGKILL
    second = items(out)
    assert first.items() <= second.items()

    # while a cell is written
    process = shell.timesen(*command, PREFECT_API_URL=users_server)
    begun = len(second)
    end_when(
        shell, process, signal.SIGKILL, lambda: len(items(out)) > begun and bool(half_written(out))
    )
    assert half_written(out)
    third = items(out)
    assert second.items() <= third.items()
    assert len(third) < len(items(whole_run))

    process = shell.timesen(*command)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    shell.require_nothing_left()
    assert not (shell.home / ".prefect").exists()
    assert third.items() <= items(out).items(), "a finished cell was computed again"
    assert rasters(out) == rasters(whole_run)
    assert (out / "report.html").exists()


def test_another_run_in_the_folder_is_refused_with_what_differs(
    whole_run: Path, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rasters(whole_run)
    assert run(["map", *options(whole_run, "--keep-scl", "4,5", "--cell-size", "128")]) == 2
    said = capsys.readouterr().err
    assert "cell_size: 64 → 128" in said
    assert "reading.keep_scl: none → [4, 5]" in said
    assert "Traceback" not in said
    assert rasters(whole_run) == before
