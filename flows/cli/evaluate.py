"""The command `timesen evaluate`."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.settings_command import settings_command
from flows.execution.console import PlainConsole, say, show_flow
from flows.settings.evaluate import CheckpointEvaluation, MapEvaluation
from pipeline.io.store import Store


@settings_command(
    "evaluate",
    CheckpointEvaluation,
    MapEvaluation,
    examples=(
        "timesen evaluate sets/lucas --checkpoint my-checkpoint --vocabulary lucas-land-cover "
        "--label lc1",
        "timesen evaluate runs/a --points reference.gpkg --label cover",
        "timesen evaluate runs/a --points lucas.csv --label lc1 --labels classes.csv",
        "timesen evaluate runs/a --points sample.gpkg",
    ),
)
def evaluate_app(settings: CheckpointEvaluation | MapEvaluation) -> int:
    """Measure a checkpoint on labelled series, or a finished map at reference points."""
    if isinstance(settings, MapEvaluation):
        _evaluate_map(settings, PlainConsole())
    else:
        _evaluate_checkpoint(settings, PlainConsole())
    return 0


def _evaluate_checkpoint(settings: CheckpointEvaluation, console: Console) -> None:
    with show_flow(console) as wait_for_server:
        from flows.evaluate import evaluate_checkpoint
        from pipeline.evaluation.checkpoint_report import main_numbers
        from pipeline.evaluation.tables import REPORT

        wait_for_server()
        found = evaluate_checkpoint(settings)
    about = found.about
    title = f"{about['checkpoint']}, {about['part']}: {about['rows']} rows"
    table = Table(title, *(f"T = {m.steps}" for m in found.measured), box=box.SIMPLE)
    columns = [main_numbers(measured) for measured in found.measured]
    for name in columns[0]:
        table.add_row(name, *(column.get(name, "") for column in columns))
    console.print(table)
    say(console, f"Report   {Store(settings.out).path(REPORT)}")


def _evaluate_map(settings: MapEvaluation, console: Console) -> None:
    with show_flow(console) as wait_for_server:
        from flows.evaluate import evaluate_map, map_folder
        from pipeline.evaluation.map_labels import unknown_lines
        from pipeline.evaluation.map_report import class_rows, format_estimate
        from pipeline.evaluation.tables import REPORT

        wait_for_server()
        found = evaluate_map(settings)
    header, rows = class_rows(found)
    table = Table(*header, box=box.SIMPLE)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    used = found.points
    say(
        console,
        f"Overall  {format_estimate(found.accuracy.overall)} of {found.accuracy.hectares:,.0f} ha, "
        f"by {used.used} of {used.given} points",
    )
    for line in unknown_lines(found.classes):
        console.print(f"warning: {line}", style="yellow", soft_wrap=True)
    say(console, f"Report   {Store(map_folder(settings)).path(REPORT)}")
