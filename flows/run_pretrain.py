"""A pretraining from the command line: the flow with its Prefect server, shown on a console."""

from rich import box
from rich.console import Console
from rich.table import Table

from flows.on_console import on_console, say
from flows.pretrain_settings import PretrainSettings


def run_pretrain(settings: PretrainSettings, console: Console) -> None:
    """Run the flow `pretrain` and show how far it is, then what the checkpoint measures.

    Raises UserError and WorldError as the flow does.
    """
    with on_console(console) as wait_for_server:
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
        say(console, f"{title:<12} {place}")
