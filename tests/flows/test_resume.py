"""A real run, ended at several moments and started again."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import run
from tests.flows.conftest import Shell, end_when, rasters

Options = Callable[..., list[str]]


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

    # between cells, as a cluster's scheduler ends a job
    process = shell.timesen(*command, PREFECT_API_URL=users_server)
    end_when(shell, process, signal.SIGTERM, lambda: len(items(out)) >= len(first) + 1)
    assert process.returncode == 130

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
