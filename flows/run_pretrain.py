"""A pretraining from the command line: the flow with its Prefect server, shown on a console."""

import os

from rich import box
from rich.console import Console
from rich.table import Table

from flows.prefect_local import prefect_server
from flows.pretrain_settings import PretrainSettings
from flows.progress import RunProgress, shown_on, tell


def run_pretrain(settings: PretrainSettings, console: Console) -> None:
    """Run the flow `pretrain` and show how far it is, then what the checkpoint measures.

    Raises UserError and WorldError as the flow does.
    """
    # What Prefect logs goes to its server; on the console, only we speak.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with prefect_server() as wait_for_server, shown_on(console):
        tell(RunProgress("starting"))
        from flows.pretrain import pretrain

        wait_for_server()
        made = pretrain(settings)
    for steps, measures in made.metrics.items():
        table = Table(f"{steps}, step {made.step}", "", box=box.SIMPLE)
        for name, value in measures.items():
            table.add_row(name.replace("_", " "), f"{value:g}")
        console.print(table)
    for title, place in (
        ("Checkpoint", f"{made.folder}: fingerprint {made.fingerprint}"),
        ("Training", settings.folder),
    ):
        console.print(f"{title:<12} {place}", markup=False, highlight=False, soft_wrap=True)
