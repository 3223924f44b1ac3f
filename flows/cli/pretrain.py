"""The command `timesen pretrain`."""

from rich import box
from rich.table import Table

from flows.cli.settings_command import settings_command
from flows.execution.console import PlainConsole, say, show_flow
from flows.settings.pretrain import PretrainSettings


@settings_command(
    "pretrain",
    PretrainSettings,
    file="--recipe",
    examples=(
        "timesen pretrain sets/lucas --out my-checkpoint",
        "timesen pretrain sets/lucas --out my-checkpoint --recipe recipe.toml --months 12,4,1",
        "timesen pretrain sets/lucas --out my-checkpoint --processes 4 --cluster tcp://host:8786",
    ),
)
def pretrain_app(settings: PretrainSettings) -> int:
    """Pretrain an encoder on a training set.

    The same command continues from the last state that was saved, whatever ended it.
    """
    console = PlainConsole()
    with show_flow(console) as wait_for_server:
        from flows.pretrain import pretrain

        wait_for_server()
        made = pretrain(settings)
    for steps, measures in made.metrics.items():
        table = Table(f"{steps}, step {made.step}", "", box=box.SIMPLE)
        for name, value in measures.items():
            table.add_row(name.replace("_", " "), f"{value:g}")
        console.print(table)
    say(console, f"Checkpoint   {made.folder}: fingerprint {made.fingerprint}")
    say(console, f"Training     {settings.folder}")
    return 0
