"""The flow on the user's own Prefect server, on a temporary one, and as a scheduled deployment."""

import base64
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled

from flows.cli.main import run
from flows.execution.prefect_server import PrefectUnavailable, prefect_server
from pipeline.sample.archive import SampleArchive
from tests.flows.conftest import REPOSITORY, Shell, connected, rasters

Options = Callable[..., list[str]]


@pytest.fixture
def client(users_server: str) -> Iterator[SyncPrefectClient]:
    with connected(users_server), get_client(sync_client=True) as opened:
        yield opened


def run_of(client: SyncPrefectClient, out: Path) -> FlowRun:
    (found,) = [
        flow_run
        for flow_run in client.read_flow_runs()
        if flow_run.parameters.get("settings", {}).get("out") == str(out)
    ]
    return found


def artifacts(client: SyncPrefectClient, flow_run: FlowRun) -> dict[str | None, Any]:
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
    return {
        artifact.key: artifact.data for artifact in client.read_artifacts(artifact_filter=of_run)
    }


def task_states(client: SyncPrefectClient, flow_run: FlowRun) -> dict[str, str | None]:
    """States of the run's tasks by name, once the server has recorded them all as ended."""
    until = time.monotonic() + 20
    while True:
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
        found = client.read_task_runs(flow_run_filter=of_run)
        states = {task.name: task.state_name for task in found}
        over = all(task.state is not None and task.state.is_final() for task in found)
        if (over and states) or time.monotonic() > until:
            return states
        time.sleep(0.2)


def test_on_the_users_server(
    client: SyncPrefectClient, whole_run: Path, sample_archive: SampleArchive
) -> None:
    flow_run = run_of(client, whole_run)
    assert flow_run.state_name == "Completed"
    assert flow_run.name == f"2021 {sample_archive.region} → {whole_run}"
    states = task_states(client, flow_run)
    assert {name: states[name] for name in states if name.startswith("tile")} == {
        f"tile {tile}": "Completed" for tile in sample_archive.tiles
    }
    found = artifacts(client, flow_run)
    assert found["map-progress"] == 100
    report = found["map-report"]
    assert "| class | hectares | share |" in report
    picture = re.search(r"!\[The map\]\(data:image/png;base64,(\S+)\)", report)
    assert picture is not None
    assert base64.b64decode(picture[1]) == (whole_run / "preview.png").read_bytes()
    for name in ("class.vrt", "report.html"):
        assert f"[{whole_run}/{name}]({(whole_run / name).as_uri()})" in report
    assert "failed-cells" not in found


def test_a_cell_that_fails_stops_no_other(
    tmp_path: Path,
    sample_archive: SampleArchive,
    options: Options,
    client: SyncPrefectClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive, out = tmp_path / "archive", tmp_path / "strict"
    shutil.copytree(sample_archive.folder, archive)
    clear = next(
        item
        for item in sorted(archive.rglob("*_32UKV_*.json"))
        if json.loads(item.read_text())["properties"]["eo:cloud_cover"] < 50
    )
    broken = clear.parent / "SCL.tif"
    broken.write_bytes(broken.read_bytes()[:100])

    assert run(["map", *options(out, "--strict", "--dashboard", archive=archive)]) == 1
    said = capsys.readouterr()
    assert "cells failed, such as 32UKV-" in said.out
    assert "Traceback" not in said.out + said.err
    assert str(out / "report.html") in said.out

    cells = {path.parent.name for path in out.glob("cells/*/*/item.json")}
    failures = {path.stem: json.loads(path.read_text()) for path in out.glob("failures/*.json")}
    assert failures
    assert all(failure["kind"] == "ReadingError" for failure in failures.values())
    assert all(cell.startswith("32UKV") for cell in failures)
    assert not cells & failures.keys()
    assert {cell[:5] for cell in cells} >= set(sample_archive.tiles) - {"32UKV"}

    flow_run = run_of(client, out)
    assert flow_run.state_name == "Failed"
    states = task_states(client, flow_run)
    assert states["tile 32UKV"] == "Failed"
    assert states["tile 31UGQ"] == states["publish"] == "Completed"
    found = artifacts(client, flow_run)
    link = re.search(r"http://127\.0\.0\.1:\d+/status", found["dask-dashboard"])
    assert link is not None
    assert f"Dask's dashboard: {link[0]}" in said.err
    assert {row["cell"] for row in json.loads(found["failed-cells"])} == set(failures)
    assert "| failed cell | why |" in found["map-report"]

    assert run(["status", str(out), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["done"], len(status["failed"]), status["left"]) == (len(cells), len(failures), 0)

    assert run(["status", str(out)]) == 0
    assert f"{len(failures)} failed" in capsys.readouterr().out


# A process that may write no file above a size finds what one finds on a full disk, with "File
# too large" in place of "No space left on device"; it needs no privilege.
ON_A_FULL_DISK = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from flows.cli.main import main
main()
"""


def test_an_unexpected_error_of_a_tile_ends_the_run(
    tmp_path: Path,
    options: Options,
    client: SyncPrefectClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def defect(*_: object) -> bool:
        raise RuntimeError("a defect")

    monkeypatch.setattr("flows.execution.cell_work.has_gpu_workers", defect)
    with pytest.raises(RuntimeError, match="a defect"):
        run(["map", *options(tmp_path / "map")])
    assert run_of(client, tmp_path / "map").state_name == "Failed"


@pytest.mark.slow
def test_a_full_disk_ends_the_run_which_then_goes_on(
    planned: Path,
    whole_run: Path,
    shell: Shell,
    options: Options,
    client: SyncPrefectClient,
    users_server: str,
) -> None:
    smallest = min(item.stat().st_size for item in whole_run.glob("cells/*/*/item.json"))
    process = shell.start(
        *(sys.executable, "-c", ON_A_FULL_DISK, str(smallest - 1), "map", *options(planned)),
        PREFECT_API_URL=users_server,
    )
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 1, out + errors
    told = errors[errors.index("Error: ") :]  # matplotlib may say that it keeps no list of fonts
    assert told.startswith(f"Error: {planned}/cells/")
    assert "item.json: File too large. Finished work is kept; free some space" in told
    assert told.count("\n") == 1
    assert "Map " not in out
    flow_run = run_of(client, planned)
    assert flow_run.state_name == "Failed"
    assert "publish" not in task_states(client, flow_run)
    assert list(planned.glob("cells/*/*/class.tif")), "rasters are written before the item"
    assert not list(planned.glob("cells/*/*/item.json"))
    assert not list(planned.rglob(".part-*"))
    assert not list(planned.glob("failures/*")), "no cell is to blame"

    assert run(["map", *options(planned)]) == 0
    assert rasters(planned) == rasters(whole_run)


def test_a_server_that_does_not_answer() -> None:
    with (
        connected("http://somebody:secret@127.0.0.1:9/api?key=secret"),
        prefect_server() as wait,
        pytest.raises(PrefectUnavailable, match=r"http://127\.0\.0\.1:9/api does not answer"),
    ):
        wait()


@pytest.mark.slow
def test_a_temporary_server_leaves_nothing(
    planned: Path, shell: Shell, options: Options, whole_run: Path, tmp_path: Path
) -> None:
    """Offline too: nothing but this machine can be reached."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = shell.timesen(
        "map",
        *options(planned, "--cluster", "local", "--workers", "1", "--threads", "2"),
        http_proxy="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
        no_proxy="127.0.0.1,localhost",
        TMPDIR=str(scratch),
    )
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors == ""
    assert "publishing" in out
    shell.require_nothing_left()
    assert {path.name for path in shell.home.iterdir()} <= {"matplotlib", ".cache", ".config"}
    assert not list(scratch.glob("timesen-prefect-*"))
    assert rasters(planned) == rasters(whole_run)


@pytest.mark.slow
def test_a_worker_picks_up_a_scheduled_run(
    planned: Path,
    shell: Shell,
    client: SyncPrefectClient,
    users_server: str,
    sample_archive: SampleArchive,
    tiny_checkpoint: Path,
) -> None:
    prefect = (sys.executable, "-m", "prefect")
    for command in (
        ("work-pool", "create", "timesen", "--type", "process"),
        ("--no-prompt", "deploy", "--all", "--prefect-file", f"{REPOSITORY}/infra/prefect.yaml"),
    ):
        process = shell.start(*prefect, *command, PREFECT_API_URL=users_server, DO_NOT_TRACK="1")
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, out + errors

    deployment = client.read_deployment_by_name("map-region/yearly")
    of_deployment = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
    )
    until = time.monotonic() + 30
    while not (yearly := client.read_flow_runs(flow_run_filter=of_deployment)):
        assert time.monotonic() < until, "the schedule has led to no run"
        time.sleep(0.3)
    for scheduled in yearly:
        assert scheduled.auto_scheduled
        assert scheduled.expected_start_time is not None
        assert f"{scheduled.expected_start_time:%m-%d %H:%M}" == "01-15 03:00"

    settings = {
        "region": sample_archive.region,
        "year": sample_archive.year,
        "vocabulary": "sample-landscape",
        "checkpoint": str(tiny_checkpoint),
        "catalog": {"url": str(sample_archive.folder)},
        "cell_size": 64,
        "out": str(planned),
    }
    due = datetime.now(UTC) + timedelta(seconds=2)
    flow_run = client.create_flow_run_from_deployment(
        deployment.id, parameters={"settings": settings}, state=Scheduled(scheduled_time=due)
    )
    worker = shell.start(
        *(
            *prefect,
            "worker",
            "start",
            "--pool",
            "timesen",
            "--run-once",
            "--prefetch-seconds",
            "60",
        ),
        PREFECT_API_URL=users_server,
        DO_NOT_TRACK="1",
    )
    _, log = worker.communicate(timeout=180)
    shell.require_nothing_left()
    ended = client.read_flow_run(flow_run.id)
    assert ended.state_name == "Completed", log
    assert artifacts(client, ended)["map-progress"] == 100
    assert (planned / "report.html").exists()
