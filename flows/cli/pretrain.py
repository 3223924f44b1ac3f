"""The command `timesen pretrain`."""

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from flows.cli.options import explained
from flows.cli.pretrain_options import takes_pretrain_settings
from flows.execution.console import say, show_flow

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from flows.settings.pretrain import PretrainSettings


def run_pretrain(settings: "PretrainSettings", console: Console) -> None:
    """Run the flow `pretrain` and show how far it is, then what the checkpoint measures.

    Raises UserError and WorldError as the flow does.
    """
    with show_flow(console) as wait_for_server:
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


@explained
@takes_pretrain_settings
def pretrain(settings: "PretrainSettings") -> int:
    """Pretrain an encoder on a training set. Stopped and started again, it goes on.

    SET is what `timesen dataset pack` makes. The same command goes on from the last state that was
    saved, whatever ended it.
    """
    from rich.console import Console

    run_pretrain(settings, Console())
    return 0
