"""The command `timesen change`: what became what between two runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.app import argument, command_app
from flows.cli.gdal_place import say_raster
from flows.cli.hectares import format_hectares
from flows.cli.input_checks import require_named, require_run
from flows.execution.console import PlainConsole, say, show_progress
from flows.execution.progress import RunProgress, report_progress

if TYPE_CHECKING:
    from pipeline.derived.change import MadeChange
    from pipeline.derived.changed_area import ChangedArea
    from pipeline.derived.derived_run import SourceRun

_SHOWN = 12  # changes in the table

change_app = command_app(
    "change",
    usage="Usage: timesen change BEFORE AFTER --out FOLDER [OPTIONS]",
    examples=(
        "timesen change runs/2020 runs/2021 --out runs/2020-2021",
        "timesen change runs/words runs/other-words --classes classes.csv --out runs/both",
    ),
)


@change_app.default
def run_change(
    before: Annotated[str, argument("BEFORE", "The earlier run's folder, or s3:// URL.")],
    after: Annotated[str, argument("AFTER", "The later run's folder, or s3:// URL.")],
    /,
    *,
    out: Annotated[str, Parameter(metavar="FOLDER", help="The folder of the map of changes.")],
    classes: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            help="A table with columns label and class: BEFORE's class of each class of AFTER.",
        ),
    ] = None,
) -> int:
    """Compare two runs, pixel by pixel: a map of transitions, their areas and their confidence.

    The map is a run of its own: `areas`, `sample`, `evaluate` and `export` take it, so that
    reference points correct the areas of changes, too.
    """
    for run in (before, after):
        require_run(run)
    if classes is not None:
        require_named("file", classes)
    # Imported here: GDAL, geopandas and matplotlib take seconds, which a mistake need not wait for.
    from pipeline.derived.change import change_between
    from pipeline.derived.derived_run import open_source_run
    from pipeline.evaluation.map_labels import read_label_mapping
    from pipeline.layout import SANKEY_FILE, TRANSITIONS_FILE
    from pipeline.product.layers import CLASS

    console = PlainConsole()
    with show_progress(console):
        report_progress(RunProgress("reading the runs"))
        earlier, later = open_source_run(before), open_source_run(after)
        table = None
        if classes is not None:
            table = read_label_mapping(Path(classes), earlier.vocabulary).classes

        def report(stage: str, done: int, total: int) -> None:
            report_progress(RunProgress(stage, total=total, done=done))

        made = change_between(earlier, later, out, table, report)
    _show(console, made.area, made.expected)
    for line in _remarks(earlier, later, made):
        console.print(line, style="yellow", soft_wrap=True)
    say_raster(console, "Map      ", made.store, CLASS.mosaic_file)
    say(console, f"Table    {made.store.path(TRANSITIONS_FILE)}")
    say(console, f"Sankey   {made.store.path(SANKEY_FILE)}")
    return 0


def _show(console: Console, area: "ChangedArea", expected: float) -> None:
    """Print the largest changes, and how much changes in all."""
    frame = area.frame()
    changes = frame[frame["from"] != frame["to"]]
    table = Table(box=box.SIMPLE)
    for header in ("from", "to"):
        table.add_column(header)
    for header in ("hectares", "share"):
        table.add_column(header, justify="right")
    for row in changes.head(_SHOWN).to_dict("records"):
        shown = (format_hectares(row["hectares"]), f"{100 * row['share']:.2f} %")
        table.add_row(*map(Text, (row["from"], row["to"], *shown)))
    console.print(table)
    if len(changes) > _SHOWN:
        say(console, f"and {len(changes) - _SHOWN} more kinds of change, in the table")
    total = float(area.hectares.sum())
    say(
        console,
        f"Changed  {format_hectares(area.changed)} of {format_hectares(total)} ha "
        f"({100 * area.changed / total:.1f} %); by the probabilities of both maps "
        f"{format_hectares(expected)} ha",
    )


def _remarks(before: "SourceRun", after: "SourceRun", made: "MadeChange") -> list[str]:
    """What to know of the comparison, as lines."""
    from pipeline.io.fingerprint import differences

    lines = []
    for which, hectares in (("earlier", made.only_before), ("later", made.only_after)):
        if hectares:
            area = format_hectares(hectares)
            lines.append(f"{area} ha have a class on the {which} map alone, and are left out")
    own = ("checkpoint", "steps", "composite", "logit_scale", "vocabulary")
    parts = [{k: run.manifest.parts.get(k) for k in own} for run in (before, after)]
    if found := differences(*parts):
        text = "the maps were made otherwise, from which some of the changes may come"
        lines.append(f"{text}: {'; '.join(found)}")
    return lines
