"""Of `timesen map-regions --plan`: the plans of all runs of a file, and what they add up to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.execution.progress import RunProgress, duration, report_progress
from models.errors import UserError, WorldError
from pipeline.settings.regions import RegionRun

if TYPE_CHECKING:
    from pipeline.mapping.plan import Plan


def plan_regions(
    runs: Sequence[RegionRun],
) -> tuple[dict[str, "Plan"], dict[str, UserError | WorldError]]:
    """Plan runs one after the other; gives the plans, and why others have none, by name.

    Each plan is written to its run's folder, and the run then maps what was planned.
    """
    from pipeline.mapping.prepare import prepare_run

    plans: dict[str, Plan] = {}
    failures: dict[str, UserError | WorldError] = {}
    for number, run in enumerate(runs):
        stage = f"planning {run.name}"
        report_progress(RunProgress(stage, total=len(runs), done=number, units="runs"))
        try:
            plans[run.name] = prepare_run(run.settings).plan
        except (UserError, WorldError) as error:
            failures[run.name] = error
    return plans, failures


def show_plans(console: Console, plans: dict[str, "Plan"]) -> None:
    """Print a row for each plan, and one for all."""
    table = Table(box=box.SIMPLE, show_footer=len(plans) > 1)
    every = list(plans.values())
    table.add_column("run", footer="all")
    for header, footer in zip(
        ("cells", "items", "km²", "to read", "output", "time at most"), _cells(every), strict=True
    ):
        table.add_column(header, footer=footer, justify="right")
    for name, plan in plans.items():
        table.add_row(*map(Text, (name, *_cells([plan]))))
    console.print(table)


def _cells(plans: Sequence["Plan"]) -> list[str]:
    """The numbers of plans, added up."""
    return [
        f"{sum(len(plan.cells) for plan in plans):,}",
        f"{sum(tile.items for plan in plans for tile in plan.tiles):,}",
        f"{sum(plan.square_km for plan in plans):,.1f}",
        f"{sum(plan.bytes_to_read for plan in plans) / 1e9:,.2f} GB",
        f"{sum(plan.output_bytes for plan in plans) / 1e9:,.2f} GB",
        duration(sum(plan.seconds[1] for plan in plans)),
    ]
