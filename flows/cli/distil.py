"""The command `timesen distil`."""

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from flows.cli.settings_command import settings_command
from flows.execution.console import PlainConsole, say, show_flow
from flows.settings.distil import DistilSettings

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from pipeline.training.distillation_report import StudentAgreement


@settings_command(
    "distil",
    DistilSettings,
    examples=(
        "timesen distil my-checkpoint --run runs/a --out my-student",
        "timesen distil my-checkpoint --series series.npy --out my-student --dim 96 --depth 3",
    ),
)
def distil_app(settings: DistilSettings) -> int:
    """Make a student of a checkpoint: far smaller, and trained to give its embeddings.

    The student is a checkpoint like any other. Its card names the teacher and says how often both
    agree, by class, on series that the student did not learn from.
    """
    console = PlainConsole()
    with show_flow(console) as wait_for_server:
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
    return 0


def _table(measured: "StudentAgreement") -> Table:
    table = Table(
        f"{measured.vocabulary}, by the teacher's class", "series", "same", box=box.SIMPLE
    )
    for entry in measured.by_class:
        table.add_row(Text(entry.name), str(entry.pixels), f"{entry.same:.1%}")
    table.add_row("all", str(measured.pixels), f"{measured.same:.1%}")
    return table
