"""An evaluation from the command line: the flow with its Prefect server, shown on a console."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.evaluate_settings import CheckpointEvaluation, MapEvaluation
from flows.on_console import on_console, say


def run_checkpoint_evaluation(settings: CheckpointEvaluation, console: Console) -> None:
    """Run the flow and show the main numbers. Raises UserError and WorldError as it does."""
    with on_console(console) as wait_for_server:
        from flows.evaluate import evaluate_checkpoint
        from pipeline.evaluation.checkpoint_report import REPORT, main_numbers
        from pipeline.storage import Store

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


def run_map_evaluation(settings: MapEvaluation, console: Console) -> None:
    """Run the flow and show accuracy and areas. Raises UserError and WorldError as it does."""
    with on_console(console) as wait_for_server:
        from flows.evaluate import evaluate_map, map_folder
        from pipeline.evaluation.map_report import REPORT, class_rows, share
        from pipeline.storage import Store

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
        f"Overall  {share(found.accuracy.overall)} of {found.accuracy.hectares:,.0f} ha, by "
        f"{used.used} of {used.given} points",
    )
    say(console, f"Report   {Store(map_folder(settings)).path(REPORT)}")
