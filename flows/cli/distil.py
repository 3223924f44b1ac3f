"""The command `timesen distil`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.options import explained
from flows.execution.console import say, show_flow

if TYPE_CHECKING:  # they import torch, which takes seconds
    from flows.settings.distil import DistilSettings
    from pipeline.training.distillation_report import StudentAgreement

_FROM, _HOW = "Series to learn from", "Sizes and training"


@explained
def distil(
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="A shipped checkpoint's name or a folder.")
    ],
    out: Annotated[str, typer.Option("--out", metavar="FOLDER", help="The student to write.")],
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="A run that was planned or mapped; its land is learned from.",
            rich_help_panel=_FROM,
        ),
    ] = None,
    series: Annotated[
        Path | None,
        typer.Option(
            "--series",
            metavar="FILE.npy",
            help="uint16 (n, 12, band): reflectance × 10000 in the teacher's order of bands.",
            rich_help_panel=_FROM,
        ),
    ] = None,
    pixels: Annotated[
        int,
        typer.Option("--pixels", min=10, help="Pixels drawn of the run.", rich_help_panel=_FROM),
    ] = 50_000,
    blocks: Annotated[
        int,
        typer.Option(
            "--blocks", min=1, help="Blocks of 1024² that are read.", rich_help_panel=_FROM
        ),
    ] = 16,
    vocabulary: Annotated[
        str,
        typer.Option(
            "--vocabulary", help="Classes that must not be mixed up, and that are compared."
        ),
    ] = "lucas-land-cover",
    bank: Annotated[
        int,
        typer.Option("--bank", min=1, help="Series that the teacher labels.", rich_help_panel=_HOW),
    ] = 60_000,
    steps: Annotated[int, typer.Option("--steps", min=10, rich_help_panel=_HOW)] = 2000,
    batch: Annotated[int, typer.Option("--batch", min=1, rich_help_panel=_HOW)] = 512,
    seed: Annotated[int, typer.Option("--seed", min=0, rich_help_panel=_HOW)] = 0,
    dim: Annotated[int, typer.Option("--dim", min=1, rich_help_panel=_HOW)] = 128,
    depth: Annotated[int, typer.Option("--depth", min=1, rich_help_panel=_HOW)] = 2,
    heads: Annotated[int, typer.Option("--heads", min=1, rich_help_panel=_HOW)] = 4,
    feedforward: Annotated[int, typer.Option("--feedforward", min=1, rich_help_panel=_HOW)] = 128,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the checkpoint that is there.")
    ] = False,
) -> int:
    """Make a student of a checkpoint: far smaller, and trained to give its embeddings.

    The student is a checkpoint like any other; its card names the teacher and says how often both
    agree, by class, on series that it did not learn from.
    """
    from rich.console import Console

    from flows.settings.distil import DistilSettings

    settings = DistilSettings(
        teacher=teacher,
        out=out,
        run=run,
        series=None if series is None else str(series),
        vocabulary=vocabulary,
        pixels=pixels,
        blocks=blocks,
        bank=bank,
        steps=steps,
        batch=batch,
        seed=seed,
        dim=dim,
        depth=depth,
        heads=heads,
        feedforward=feedforward,
        replace=replace,
    )
    run_distil(settings, Console())
    return 0


def run_distil(settings: "DistilSettings", console: Console) -> None:
    """Run the flow `distil` and show how far it is, then how far teacher and student agree.

    Raises UserError and WorldError as the flow does.
    """
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


def _table(measured: "StudentAgreement") -> Table:
    table = Table(
        f"{measured.vocabulary}, by the teacher's class", "series", "same", box=box.SIMPLE
    )
    for entry in measured.by_class:
        table.add_row(Text(entry.name), str(entry.pixels), f"{entry.same:.1%}")
    table.add_row("all", str(measured.pixels), f"{measured.same:.1%}")
    return table
