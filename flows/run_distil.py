"""A student made from the command line: the flow with its Prefect server, shown on a console."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.distil_settings import DistilSettings
from flows.on_console import on_console, say
from pipeline.student import Agreement


def run_distil(settings: DistilSettings, console: Console) -> None:
    """Run the flow `distil` and show how far it is, then how far teacher and student agree.

    Raises UserError and WorldError as the flow does.
    """
    with on_console(console) as wait_for_server:
        from flows.distil import distil_checkpoint

        wait_for_server()
        student = distil_checkpoint(settings)
    console.print(_table(student.measured))
    say(
        console,
        f"Mean cosine to the teacher {student.measured.cosine:.4f}, of {student.measured.pixels} "
        "series that it did not learn from",
    )
    say(console, f"Checkpoint   {student.folder}: fingerprint {student.fingerprint}")


def _table(measured: Agreement) -> Table:
    table = Table(
        f"{measured.vocabulary}, by the teacher's class", "series", "same", box=box.SIMPLE
    )
    for entry in measured.by_class:
        table.add_row(Text(entry.name), str(entry.pixels), f"{entry.same:.1%}")
    table.add_row("all", str(measured.pixels), f"{measured.same:.1%}")
    return table
