"""The command `timesen deploy`: a deployment on a Prefect server for each region of a file."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.app import argument, command_app
from flows.cli.map_regions import require_region_inputs
from models.errors import UserError
from pipeline.settings.regions import load_regions

deploy_app = command_app(
    "deploy",
    examples=(
        "timesen deploy regions.toml",
        'timesen deploy regions.toml --work-pool maps --cron "0 3 15 1 *"',
        "timesen deploy regions.toml --run",
    ),
)


@deploy_app.default
def run_deploy(
    file: Annotated[Path, argument("REGIONS.toml", "A file of regions, as of map-regions.")],
    /,
    *,
    work_pool: Annotated[
        str, Parameter(metavar="NAME", help="The work pool whose workers map.")
    ] = "timesen",
    cron: Annotated[
        str | None,
        Parameter(metavar="SCHEDULE", help='When each runs, in UTC: "0 3 15 1 *".'),
    ] = None,
    group: Annotated[
        str | None,
        Parameter(
            metavar="NAME", help="What the server knows the file by; default: the file's name."
        ),
    ] = None,
    run: Annotated[
        bool, Parameter(negative=(), help="Have the workers start a run of each now.")
    ] = False,
    prune: Annotated[
        bool,
        Parameter(negative=(), help="Delete deployments of regions that left the file."),
    ] = False,
) -> int:
    """Give each region of a file a deployment on your Prefect server (PREFECT_API_URL).

    Run it again after each change of the file: deployments are brought up to date, and those of
    regions that are no longer in the file are named. Paths in the file are those of the machine
    that maps.
    """
    from flows.execution.console import PlainConsole, say
    from flows.execution.prefect_server import users_prefect_server

    runs, console = load_regions(file), PlainConsole()
    for one in runs:
        try:
            require_region_inputs(file, one)
        except UserError as error:  # the machine that maps may have it
            text = f"warning: {error} Runs will fail unless the worker's machine has it"
            console.print(text, style="yellow", markup=False, soft_wrap=True)
    with users_prefect_server():
        from flows.execution.deployments import (
            DeploymentGroup,
            deploy_regions,
            removed_deployments,
            start_deployments,
        )
        from flows.map_region import map_region

        target = DeploymentGroup(group or file.stem, work_pool, cron)
        ids = deploy_regions(map_region, runs, target)
        for name in ids:
            say(console, f"Deployed  {map_region.name}/{name}")
        for name in removed_deployments(runs, target, delete=prune):
            done = "Deleted   " if prune else "Not in the file any more, delete with --prune: "
            say(console, f"{done}{map_region.name}/{name}")
        if run:
            for started in start_deployments(map_region, runs, ids).values():
                say(console, f"Waiting   {started}")
    say(console, f"Workers map: prefect worker start --pool {work_pool}")
    return 0
