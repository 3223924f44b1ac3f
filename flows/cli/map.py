"""A mapping run from the command line: the flow with its Prefect server, shown on a console."""

from rich.console import Console

from flows.execution.console import show_flow
from flows.execution.progress import RunProgress, report_progress
from pipeline.settings.map import MapSettings


def run_map(settings: MapSettings, console: Console) -> int:
    """Run the flow `map-region` and show how far it is; gives the exit code.

    0 where the map is whole, 1 where cells failed, which is then said. Raises UserError and
    WorldError where the run as a whole cannot go on.
    """
    with show_flow(console) as wait_for_server:
        from flows.map_region import CellsFailed, map_region, prepared_beforehand
        from pipeline.mapping.prepare import prepare_run

        report_progress(RunProgress("planning"))
        prepared = prepare_run(settings)  # mistakes show before the server is up
        for warning in prepared.plan.warnings:
            console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
        wait_for_server()
        try:
            with prepared_beforehand(prepared):
                map_region(settings)
        except CellsFailed as error:
            console.print(str(error), style="red", markup=False, soft_wrap=True)
            return 1
    return 0
