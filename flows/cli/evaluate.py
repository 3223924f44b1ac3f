"""The command `timesen evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.options import explained
from flows.execution.console import say, show_flow
from models.errors import UserError
from pipeline.evaluation.labels import Level

if TYPE_CHECKING:  # they import torch, which takes seconds
    from flows.settings.evaluate import CheckpointEvaluation, MapEvaluation

_OF_CHECKPOINT, _OF_MAP = "Of a checkpoint", "Of a finished map"


@explained
def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SET|SERIES|RUN",
            help="A training set or a table of series; or a run, with --points.",
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option("--label", metavar="COLUMN", help="The column of the right classes."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Default: evaluation, or evaluation in the run."
        ),
    ] = None,
    level: Annotated[
        Level | None,
        typer.Option(
            "--level", metavar="class|parent", help="What is compared. Default: as labels are."
        ),
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option(
            "--points",
            metavar="FILE",
            help="Reference points of any CRS, or a CSV with lon and lat.",
            rich_help_panel=_OF_MAP,
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            help="A shipped checkpoint's name or a folder.",
            rich_help_panel=_OF_CHECKPOINT,
        ),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            "--vocabulary",
            help="A shipped vocabulary's name or a TOML file.",
            rich_help_panel=_OF_CHECKPOINT,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes", metavar="WORDS", help="Classes in words.", rich_help_panel=_OF_CHECKPOINT
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="test|validation|train|all",
            help="Rows that are compared. Default: test, of a table of series all.",
            rich_help_panel=_OF_CHECKPOINT,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="COLUMN",
            help="Numbers by region, such as nuts0.",
            rich_help_panel=_OF_CHECKPOINT,
        ),
    ] = None,
    steps: Annotated[
        str,
        typer.Option("--steps", metavar="12,4,1", rich_help_panel=_OF_CHECKPOINT),
    ] = "12",
    number: Annotated[
        str | None,
        typer.Option(
            "--number",
            metavar="COLUMN",
            help="Numbers to compare with prompts, such as scenicness.",
            rich_help_panel=_OF_CHECKPOINT,
        ),
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(
            "--positive",
            metavar="PROMPT",
            help="What high numbers mean; may be given several times.",
            rich_help_panel=_OF_CHECKPOINT,
        ),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option(
            "--negative",
            metavar="PROMPT",
            help="What low numbers mean.",
            rich_help_panel=_OF_CHECKPOINT,
        ),
    ] = None,
    block_km: Annotated[
        float,
        typer.Option(
            "--block-km",
            help="Blocks of land by which a table of series is parted for probes.",
            rich_help_panel=_OF_CHECKPOINT,
        ),
    ] = 50.0,
    draws: Annotated[
        int,
        typer.Option("--draws", min=1, help="Of few rows a class.", rich_help_panel=_OF_CHECKPOINT),
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, rich_help_panel=_OF_CHECKPOINT)] = 0,
) -> int:
    """Say what a checkpoint is worth on labelled series, or a finished map at reference points."""
    from rich.console import Console

    from flows.settings.evaluate import CheckpointEvaluation, MapEvaluation, read_steps

    if (checkpoint is None) == (points is None):
        raise UserError(
            what,
            "either a checkpoint is evaluated on series, or a run's map at points",
            "Give --checkpoint with a training set or a table of series, or --points with a run",
        )
    if points is not None:
        if label is None:
            raise UserError(str(points), "its classes are not named", "Give --label COLUMN")
        run_map_evaluation(
            MapEvaluation(run=what, points=str(points), label=label, out=out, level=level),
            Console(),
        )
        return 0
    assert checkpoint is not None
    settings = CheckpointEvaluation(
        data=what,
        checkpoint=checkpoint,
        out=out or "evaluation",
        vocabulary=vocabulary,
        classes=classes,
        label=label,
        split=split,
        region=region,
        level=level,
        number=number,
        positive=tuple(positive or ()),
        negative=tuple(negative or ()),
        steps=read_steps(steps),
        block_km=block_km,
        draws=draws,
        seed=seed,
    )
    run_checkpoint_evaluation(settings, Console())
    return 0


def run_checkpoint_evaluation(settings: "CheckpointEvaluation", console: Console) -> None:
    """Run the flow and show the main numbers. Raises UserError and WorldError as it does."""
    with show_flow(console) as wait_for_server:
        from flows.evaluate import evaluate_checkpoint
        from pipeline.evaluation.checkpoint_report import main_numbers
        from pipeline.evaluation.tables import REPORT
        from pipeline.io.store import Store

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


def run_map_evaluation(settings: "MapEvaluation", console: Console) -> None:
    """Run the flow and show accuracy and areas. Raises UserError and WorldError as it does."""
    with show_flow(console) as wait_for_server:
        from flows.evaluate import evaluate_map, map_folder
        from pipeline.evaluation.map_report import class_rows, format_estimate
        from pipeline.evaluation.tables import REPORT
        from pipeline.io.store import Store

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
    say(console, f"Report   {Store(map_folder(settings)).path(REPORT)}")
