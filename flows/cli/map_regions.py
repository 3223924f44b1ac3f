"""The command `timesen map-regions`: many regions and years from one file."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.app import argument, command_app
from flows.cli.input_checks import require_cluster, require_inputs
from models.errors import UserError
from pipeline.settings.regions import RegionRun, load_regions

if TYPE_CHECKING:
    from rich.console import Console

map_regions_app = command_app(
    "map-regions",
    examples=(
        "timesen map-regions regions.toml --plan",
        "timesen map-regions maps/belgium.toml",
    ),
)


@map_regions_app.default
def run_map_regions(
    file: Annotated[
        Path,
        argument("REGIONS.toml", "Settings that all share, and a table [regions.NAME] for each."),
    ],
    /,
    *,
    plan: Annotated[
        bool,
        Parameter(negative=(), help="Plan all of them, and map nothing; they then go by the plan."),
    ] = False,
) -> int:
    """Map many regions and years from one file, one after the other.

    All settings are checked before the first begins. A region that fails stops no other. Started
    again, the command goes on with what is left. A file of regions has the settings of
    `timesen map` that all share at its top, and what differs in a table for each region, in which
    `years = [2022, 2023]` makes a map for each year. {name} and {year} in `out` are the region's.
    The file of a single run may have `years`, too. `timesen areas FILE` sums up all of its maps.
    """
    from flows.cli.region_status import RegionsStatus, region_states
    from flows.execution.console import PlainConsole, show_flow

    runs = load_regions(file)
    for run in runs:
        require_region_inputs(file, run)
    console, code = PlainConsole(), 0
    if plan:
        return _plan_all(console, runs)
    with show_flow(console) as wait_for_server, _warnings_shown(console):
        from flows.map_regions import RegionsFailed, map_regions

        wait_for_server()
        try:
            map_regions(file.name, {run.name: run.settings for run in runs})
        except RegionsFailed as failed:
            for failure in failed.failures:
                _say_failure(console, f"{failure.name}: {failure.error}")
            # Where only mistakes are left, starting again is no use: exit code 2, as of `map`.
            code = 2 if all(failure.mistake for failure in failed.failures) else 1
    RegionsStatus(str(file), region_states(runs)).show(console)
    return code


def _plan_all(console: "Console", runs: Sequence[RegionRun]) -> int:
    """Plan all runs and print their plans; gives the exit code, as of mapping."""
    from flows.cli.region_plan import plan_regions, show_plans
    from flows.execution.console import show_progress

    with show_progress(console):
        plans, failures = plan_regions(runs)
    for name, error in failures.items():
        _say_failure(console, f"{name}: {error}")
    if plans:
        show_plans(console, plans)
    if not failures:
        return 0
    return 2 if all(isinstance(error, UserError) for error in failures.values()) else 1


def require_region_inputs(file: Path, run: RegionRun) -> None:
    """Raise UserError, with the region's name, for what its settings name and is not there."""
    try:
        require_inputs(run.settings)
        require_cluster(run.settings)
    except UserError as error:
        given = f"{file}, {run.name}: {error.given}"
        raise UserError(given, error.problem, error.remedy) from None


@contextmanager
def _warnings_shown(console: "Console") -> Iterator[None]:
    """Print the warnings of the flows in this block; Prefect itself shows none on a console."""

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.WARNING:
                run = getattr(record, "flow_run_name", "") if "task" in record.name else ""
                text = f"warning: {run}{': ' if run else ''}{record.getMessage()}"
                console.print(text, style="yellow", markup=False, soft_wrap=True)

    handler = Shown()
    loggers = [logging.getLogger(f"prefect.{kind}_runs") for kind in ("task", "flow")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def _say_failure(console: "Console", text: str) -> None:
    console.print(text, style="red", markup=False, soft_wrap=True)
