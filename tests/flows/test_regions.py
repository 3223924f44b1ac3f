"""Many regions from one file: on this machine, as deployments, and the table of their states."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    LogFilter,
    LogFilterFlowRunId,
)

from flows.cli.main import run
from pipeline.grid.region import read_region
from pipeline.sample.archive import SampleArchive
from tests.flows.conftest import CELL_SIZE, Shell, connected

POOL = "timesen-regions"


@pytest.fixture
def client(users_server: str) -> Iterator[SyncPrefectClient]:
    with connected(users_server), get_client(sync_client=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def regions(
    tmp_path_factory: pytest.TempPathFactory,
    sample_archive: SampleArchive,
    http_server: Callable[[Path], str],
    tiny_checkpoint: Path,
) -> Path:
    """A file of two regions: a corner of the sample, and a place of which there are no items."""
    file = tmp_path_factory.mktemp("regions") / "sample.toml"
    middle = read_region(sample_archive.region).geometry.centroid
    west, south = middle.x + 0.003, middle.y + 0.003
    corner = f"{west},{south},{west + 0.0005},{south + 0.0005}"
    file.write_text(
        f'year = {sample_archive.year}\nvocabulary = "sample-landscape"\n'
        f'checkpoint = "{tiny_checkpoint}"\ncell_size = {CELL_SIZE}\nout = "{{name}}/{{year}}"\n'
        f'[catalog]\nurl = "{http_server(sample_archive.folder)}/catalog.json"\n'
        f'[regions.nowhere]\nregion = "{west + 40},{south},{west + 40.001},{south + 0.001}"\n'
        f'[regions.corner]\nregion = "{corner}"\n'
    )
    return file


def log_of(client: SyncPrefectClient, flow_run: UUID) -> list[str]:
    """The messages of a run's log."""
    of_run = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run]))
    return [entry.message for entry in client.read_logs(log_filter=of_run)]


def require_one_line(client: SyncPrefectClient, flow_run: UUID, mistake: str) -> None:
    """Require that the log of a run tells a mistake, without a traceback; logs come late."""
    until = time.monotonic() + 60
    while True:
        messages = log_of(client, flow_run)
        over = any("Encountered exception during execution" in message for message in messages)
        if over or time.monotonic() > until:
            break
        time.sleep(0.5)
    assert [message for message in messages if mistake in message], messages
    assert not [message for message in messages if "Traceback" in message or "Error(" in message]


def test_one_that_fails_stops_no_other(
    regions: Path,
    sample_archive: SampleArchive,
    client: SyncPrefectClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["status", str(regions), "--json"]) == 0
    before = json.loads(capsys.readouterr().out)["runs"]
    assert [one["state"] for one in before] == ["not begun", "not begun"]

    assert run(["map-regions", str(regions), "--plan"]) == 2, "one of them has no items"
    planned = capsys.readouterr().out
    assert "nowhere: " in planned
    assert re.search(r"corner +\d+ +\d+ +0\.0 +", planned)
    assert run(["status", str(regions), "--json"]) == 0
    states = [one["state"] for one in json.loads(capsys.readouterr().out)["runs"]]
    assert states == ["not begun", "incomplete"]

    limit = "timesen-catalog-127.0.0.1"
    client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=limit, limit=1))
    assert run(["map-regions", str(regions)]) == 2, "what is left is a mistake"
    client.delete_global_concurrency_limit_by_name(limit)
    said = capsys.readouterr()
    assert "nowhere: " in said.out
    assert "corner: mapping: " in said.out
    assert "warning: corner: " in said.out
    assert "have months without any acquisition" in said.out
    assert "Traceback" not in said.out + said.err

    assert run(["status", str(regions), "--json"]) == 0
    nowhere, corner = json.loads(capsys.readouterr().out)["runs"]
    assert nowhere["state"] == "not begun"
    assert (corner["state"], corner["left"], corner["failed"]) == ("done", 0, 0)
    assert corner["done"] == corner["cells"] > 0
    assert corner["map"] == str(regions.parent / f"corner/{sample_archive.year}/class.vrt")
    assert re.match(r"20\d\d-\d\d-\d\dT", corner["last"])

    (parent,) = [one for one in client.read_flow_runs() if one.name == regions.name]
    assert parent.state_name == "Failed"
    within = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent.id]))
    subflows = {one.name: one for one in client.read_flow_runs(flow_run_filter=within)}
    assert {name: one.state_name for name, one in subflows.items()} == {
        "nowhere": "Failed",
        "corner": "Completed",
    }
    assert f"Holds a slot of {limit}" in log_of(client, subflows["corner"].id)
    require_one_line(client, subflows["nowhere"].id, "reaches into the region. Check the region")


@pytest.mark.slow
def test_deployments_follow_the_file(
    regions: Path,
    sample_archive: SampleArchive,
    client: SyncPrefectClient,
    users_server: str,
    shell: Shell,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "sample.toml"
    file.write_text(regions.read_text().replace(f"year = {sample_archive.year}", 'year = "last"'))
    command = ["deploy", str(file), "--work-pool", POOL]
    assert run(command) == 2
    assert f"Create it (`prefect work-pool create {POOL}" in capsys.readouterr().err
    client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))

    assert run([*command, "--cron", "every day"]) == 2
    assert "it is no schedule of cron" in capsys.readouterr().err
    assert run([*command, "--cron", "0 3 15 1 *"]) == 0
    first = client.read_deployment_by_name("map-region/corner")
    assert first.parameters["settings"]["year"] == "last"
    assert first.parameters["settings"]["out"] == str(tmp_path / "corner/{year}")
    assert (first.work_pool_name, first.entrypoint) == (POOL, "flows.map_region.map_region")
    assert first.global_concurrency_limit is not None
    assert first.global_concurrency_limit.limit == 1
    assert [one.schedule.cron for one in first.schedules] == ["0 3 15 1 *"]  # type: ignore[union-attr]

    # A run of a worker: its mistake is a line in the log of the run, and in the worker's.
    made = client.create_flow_run_from_deployment(
        client.read_deployment_by_name("map-region/nowhere").id,
        parameters={"settings": first.parameters["settings"] | {"checkpoint": "real-lnd"}},
    )
    execute = ("-m", "prefect", "flow-run", "execute", str(made.id))
    process = shell.start(sys.executable, *execute, PREFECT_API_URL=users_server)
    said = "".join(process.communicate(timeout=240))
    state = client.read_flow_run(made.id).state
    assert state is not None
    assert state.name == "Failed"
    assert "did you mean real-land?" in str(state.message)
    assert "Traceback" not in said
    require_one_line(client, made.id, "did you mean real-land?")

    # The same command again, with a region less: nothing twice, and the other one is named.
    file.write_text(re.sub(r"(?s)\[regions\.nowhere\].*?(?=\[)", "", file.read_text()))
    capsys.readouterr()
    assert run([*command, "--run"]) == 0
    said = capsys.readouterr().out
    assert "delete with --prune: map-region/nowhere" in said
    again = client.read_deployment_by_name("map-region/corner")
    assert (again.id, again.schedules) == (first.id, [])
    (waiting,) = [one for one in client.read_flow_runs() if one.deployment_id == first.id]
    assert waiting.state_name == "Scheduled"
    assert re.fullmatch(rf"20\d\d .* → {tmp_path}/corner/20\d\d", waiting.name)
    client.delete_flow_run(waiting.id)

    assert run([*command, "--group", "another"]) == 2
    assert "that is not of the file of regions another" in capsys.readouterr().err
    assert run([*command, "--prune"]) == 0
    assert "Deleted   map-region/nowhere" in capsys.readouterr().out
    assert "nowhere" not in {one.name for one in client.read_deployments()}


def test_deployments_need_a_server(
    regions: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert run(["deploy", str(regions)]) == 2
    assert "PREFECT_API_URL: it is not set" in capsys.readouterr().err
