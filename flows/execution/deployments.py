"""Deployments of a flow on the user's Prefect server: one for each run of a file of regions.

A tag says which file a deployment is of, so that one of another origin is never touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from flows.execution.prefect_api import (
    CronSchedule,
    DeploymentFilter,
    DeploymentFilterTags,
    DeploymentResponse,
    DeploymentScheduleCreate,
    Flow,
    ObjectNotFound,
    PrefectHTTPStatusError,
    SyncPrefectClient,
    get_client,
    parameter_schema,
)
from models.errors import UserError, WorldError
from pipeline.errors import SettingsError
from pipeline.io.store import public_text
from pipeline.settings.regions import RegionRun

_TAG = "timesen"
_PAGE = 200  # deployments that the server gives at once
# As infra/prefect.yaml: what a worker starts sends nothing to Prefect's makers.
_WORKERS_ENVIRONMENT = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


@dataclass(frozen=True)
class DeploymentGroup:
    """Where the deployments of a file of regions belong on the server, and when they run.

    Attributes:
        name: What the server knows the file by.
        work_pool: The work pool whose workers map.
        cron: When each runs, in UTC, "0 3 15 1 *"; None for no schedule.
    """

    name: str
    work_pool: str
    cron: str | None = None

    @property
    def tag(self) -> str:
        """The tag of all deployments of the group."""
        return f"{_TAG}-regions:{self.name}"


def deploy_regions(
    flow: Flow[..., Any], runs: Sequence[RegionRun], group: DeploymentGroup
) -> dict[str, UUID]:
    """Create the deployments of these runs, or bring them up to date; returns their ids by name.

    They are `map-region/NAME`, with the settings as the file has them. What is deployed depends on
    the runs and the group alone: a schedule that is no longer given is removed.

    Raises:
        UserError: There is no such work pool, the schedule is none, or the server has a deployment
            of this name that is not of this group. Nothing is changed then.
        WorldError: The server refuses one.
    """
    schedules = _schedules(group.cron)
    schema = parameter_schema(flow).model_dump(exclude_unset=True)
    with get_client(sync_client=True) as client:
        _require_pool(client, group.work_pool)
        for run in runs:
            _require_own(client, f"{flow.name}/{run.name}", group)
        flow_id = client.create_flow_from_name(flow.name)
        ids = {}
        for run in runs:
            try:
                ids[run.name] = client.create_deployment(
                    flow_id=flow_id,
                    name=run.name,
                    description=f"Map {run.name}, of the file of regions {group.name}",
                    entrypoint=f"{flow.fn.__module__}.{flow.fn.__name__}",
                    pull_steps=[],  # the flow is imported from the installed package
                    parameters={"settings": dict(run.written)},
                    parameter_openapi_schema=schema,
                    enforce_parameter_schema=True,
                    schedules=schedules,
                    concurrency_limit=1,
                    tags=[_TAG, group.tag],
                    work_pool_name=group.work_pool,
                    job_variables={"env": _WORKERS_ENVIRONMENT},
                )
            except PrefectHTTPStatusError as error:
                raise _refused(run.name, error) from error
    return ids


def start_deployments(
    flow: Flow[..., Any], runs: Sequence[RegionRun], ids: dict[str, UUID]
) -> dict[str, str]:
    """Have the workers start a run of each deployment; returns the runs' names by deployment.

    A run has the name from now on that the flow gives it when it starts.
    """
    names = {}
    with get_client(sync_client=True) as client:
        for run in runs:
            names[run.name] = _run_name(flow, run)
            client.create_flow_run_from_deployment(ids[run.name], name=names[run.name])
    return names


def removed_deployments(
    runs: Sequence[RegionRun], group: DeploymentGroup, *, delete: bool = False
) -> list[str]:
    """The deployments of the group that are of none of these runs; deleted if so wanted."""
    names = {run.name for run in runs}
    with get_client(sync_client=True) as client:
        removed = [one for one in _of_group(client, group) if one.name not in names]
        if delete:
            for one in removed:
                client.delete_deployment(one.id)
    return [one.name for one in removed]


def _run_name(flow: Flow[..., Any], run: RegionRun) -> str:
    template = flow.flow_run_name
    return template.format(settings=run.settings) if isinstance(template, str) else run.name


def _schedules(cron: str | None) -> list[DeploymentScheduleCreate]:
    if cron is None:
        return []
    try:
        schedule = CronSchedule(cron=cron, timezone="UTC")
    except ValidationError:
        raise SettingsError(
            f"--cron {cron!r}",
            "it is no schedule of cron",
            'Write minute, hour, day, month and weekday: "0 3 15 1 *" is every 15 January, 3:00',
        ) from None
    return [DeploymentScheduleCreate(schedule=schedule, active=True)]


def _require_pool(client: SyncPrefectClient, name: str) -> None:
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        raise UserError(
            f"work pool {name}",
            "the Prefect server has none of this name",
            f"Create it (`prefect work-pool create {name} --type process`), or name another with "
            "--work-pool",
        ) from None


def _require_own(client: SyncPrefectClient, name: str, group: DeploymentGroup) -> None:
    try:
        found = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return
    if group.tag not in found.tags:
        raise UserError(
            f"deployment {name}",
            f"the Prefect server has one that is not of the file of regions {group.name}",
            "Name the region otherwise, or delete that deployment first "
            f"(`prefect deployment delete {name}`)",
        )


def _of_group(client: SyncPrefectClient, group: DeploymentGroup) -> list[DeploymentResponse]:
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[group.tag]))
    found: list[DeploymentResponse] = []
    while page := client.read_deployments(deployment_filter=tagged, limit=_PAGE, offset=len(found)):
        found += page
    return found


def _refused(name: str, error: PrefectHTTPStatusError) -> WorldError:
    said = " ".join(error.response.text.split())
    return WorldError(
        f"The Prefect server refuses the deployment {name}: {public_text(said)}. Deployments "
        "before it in the file are up to date."
    )
