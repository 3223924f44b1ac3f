"""The command `timesen areas`: hectares by class and zone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.app import argument, command_app
from flows.cli.hectares import format_hectares
from flows.cli.input_checks import require_named, require_run
from flows.execution.console import PlainConsole, say, show_progress
from flows.execution.progress import RunProgress, report_progress
from models.errors import UserError
from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url

if TYPE_CHECKING:
    from pipeline.areas.zone_areas import ClassHectares, ZoneAreas
    from pipeline.evaluation.compared_points import ComparedPoints

_SHOWN = 60  # rows of the table; the file has all

areas_app = command_app(
    "areas",
    usage="Usage: timesen areas RUN [OPTIONS]",
    examples=(
        "timesen areas runs/a",
        "timesen areas runs/a --zones regions.gpkg --out areas.csv --chart areas.png",
        "timesen areas runs/a --by-confidence --points sample.gpkg --out areas.parquet",
        "timesen areas years.toml --zones regions.gpkg --out series.csv --chart series.png",
    ),
)


@areas_app.default
def run_areas(
    folder: Annotated[
        str, argument("RUN", "A run's folder, or s3:// URL; or a file of regions or years, x.toml.")
    ],
    /,
    *,
    zones: Annotated[
        str | None,
        Parameter(metavar="FILE", help="Polygons with a name; default: one zone, the whole run."),
    ] = None,
    name: Annotated[
        str | None,
        Parameter(metavar="FIELD", help="The field of the zones' names; default: name."),
    ] = None,
    by_confidence: Annotated[
        bool,
        Parameter(negative=(), help="Add the area that each class has by the pixels' confidence."),
    ] = False,
    points: Annotated[
        str | None,
        Parameter(metavar="FILE", help="Reference points, as of `timesen evaluate`."),
    ] = None,
    label: Annotated[str, Parameter(metavar="COLUMN", help="The points' classes.")] = "label",
    labels: Annotated[
        str | None,
        Parameter(metavar="FILE", help="A table with columns label and class: what labels mean."),
    ] = None,
    level: Annotated[
        Literal["class", "parent"] | None,
        Parameter(help="Of classes or parents; default: classes, with points as the labels are."),
    ] = None,
    out: Annotated[
        str | None, Parameter(metavar="FILE", help="Write the table: .csv or .parquet.")
    ] = None,
    chart: Annotated[str | None, Parameter(metavar="FILE", help="Draw it: .png or .svg.")] = None,
) -> int:
    """Sum up the area of each class of a map, by zone, in hectares on the ellipsoid.

    With reference points, areas are corrected for the map's errors, with 95 % intervals. Of a file
    of regions and years (`timesen map-regions`), it gives the time series of all its maps.
    """
    _require_together(zones=zones, name=name, points=points, label=label, labels=labels)
    is_series = folder.endswith(".toml") and not Path(folder).is_dir()
    if is_series and points is not None:
        problem = "points are of the land in one year, and this file has several maps"
        raise UserError(f"--points {points}", problem, "Give the run of that year")
    if not is_series:
        require_run(folder)
    for file in (zones, points, labels):
        if file is not None:
            require_named("file", file)
    # Imported here: geopandas and matplotlib take seconds, which a mistake need not wait for.
    from pipeline.areas.area_chart import area_chart
    from pipeline.areas.area_table import TABLE_ENDINGS, area_frame, write_table
    from pipeline.areas.chart_file import CHART_ENDINGS, write_chart
    from pipeline.areas.class_areas import class_areas_in
    from pipeline.areas.zone_areas import zone_areas
    from pipeline.areas.zones import read_zones
    from pipeline.evaluation.compared_points import compare_points
    from pipeline.io.output_file import output_place
    from pipeline.product.committed_cells import mapped_items
    from pipeline.product.ledger import read_run
    from pipeline.product.manifest import run_vocabulary

    for target, endings, what in ((out, TABLE_ENDINGS, "table"), (chart, CHART_ENDINGS, "picture")):
        if target is not None:
            output_place(target, endings, what)
    shapes = None if zones is None else read_zones(Path(zones), name)
    if is_series:
        from flows.cli.area_series import sum_up_series

        return sum_up_series(
            Path(folder), shapes, out, chart, level or "class", by_confidence=by_confidence
        )
    console, store = PlainConsole(), Store(folder)
    run = read_run(store)
    vocabulary = run_vocabulary(store, run)
    if level == "parent" and not vocabulary.parents:
        raise UserError("--level parent", "the map's classes have no parents", "Leave it out")
    with show_progress(console):
        report_progress(RunProgress("reading the map"))
        if not (items := mapped_items(store, run)):
            raise OutputError(
                public_url(store.root), "no cell of this run is finished", "Map it first"
            )
        compared = None
        if points is not None:
            table = None if labels is None else Path(labels)
            compared = compare_points(store, run, items, Path(points), label, level, table)

        def report(done: int) -> None:
            report_progress(RunProgress("summing up", total=len(items), done=done))

        sums = class_areas_in(
            store, items, vocabulary, shapes, by_confidence=by_confidence, done=report
        )
        found = zone_areas(sums, vocabulary, shapes, compared, level or "class")
    _show(console, found, one=shapes is None)
    for line in _remarks(found, compared, top_k=int(run.settings.get("top_k", 1))):
        console.print(line, style="yellow", soft_wrap=True)
    if out is not None:
        write_table(area_frame(found), out)
        say(console, f"Table    {public_url(Store(out).root)}")
    if chart is not None:
        title = f"{vocabulary.title}, {run.years}"
        write_chart(lambda form: area_chart(found, title, run.attribution, form), chart)
        say(console, f"Chart    {public_url(Store(chart).root)}")
    return 0


def _require_together(
    zones: str | None, name: str | None, points: str | None, label: str, labels: str | None
) -> None:
    if name is not None and zones is None:
        raise UserError(f"--name {name}", "it names a field of zones", "Give --zones, too")
    if points is None and (labels is not None or label != "label"):
        given = f"--labels {labels}" if labels is not None else f"--label {label}"
        raise UserError(given, "it belongs to reference points", "Give --points, too")


def _show(console: Console, zones: "Sequence[ZoneAreas]", *, one: bool) -> None:
    """Print the table: zones in their order, and in each the largest class first."""
    entries = [(zone, entry) for zone in zones for entry in _by_size(zone)]
    with_expected = any(entry.expected is not None for _, entry in entries)
    with_points = any(entry.points is not None for _, entry in entries)
    table = Table(box=box.SIMPLE)
    for header in ([] if one else ["zone"]) + ["class"]:
        table.add_column(header)
    headers = ["hectares", "share"]
    headers += ["expected, ha"] if with_expected else []
    headers += ["by points, ha", "points"] if with_points else []
    for header in headers:
        table.add_column(header, justify="right")
    last = None
    for zone, entry in entries[:_SHOWN]:
        cells = [] if one else [zone.name if zone is not last else ""]
        cells += (
            [entry.name, format_hectares(entry.mapped), f"{100 * entry.mapped / zone.mapped:.1f} %"]
            if zone.mapped
            else [entry.name, "0", ""]
        )
        if with_expected:
            cells.append(format_hectares(entry.expected or 0.0))
        if with_points:
            known = entry.adjusted
            cells.append(
                "too few points"
                if known is None
                else f"{format_hectares(known.value)} ± {format_hectares(known.half_width)}"
            )
            cells.append(f"{entry.points:,}")
        table.add_row(*map(Text, cells))
        last = zone
    console.print(table)
    if len(entries) > _SHOWN:
        say(console, f"and {len(entries) - _SHOWN:,} more rows: --out FILE writes all")


def _by_size(zone: "ZoneAreas") -> "list[ClassHectares]":
    return sorted(zone.classes, key=lambda entry: -entry.mapped)


def _remarks(
    zones: "Sequence[ZoneAreas]", points: "ComparedPoints | None", top_k: int
) -> list[str]:
    """What to know of the numbers, as lines."""
    lines = []
    if off := [zone.name for zone in zones if not zone.mapped]:
        lines.append(f"{len(off)} of {len(zones)} zones have nothing of the map: {_listed(off)}")
    gaps = [z for z in zones if z.hectares and 0 < z.mapped < 0.995 * z.hectares]
    if gaps:
        told = _listed([f"{z.name} ({100 * z.mapped / (z.hectares or 1):.0f} %)" for z in gaps])
        lines.append(f"mapped only in part: {told}")
    unranked = sum(zone.unranked or 0.0 for zone in zones)
    if unranked > 0.005 * sum(zone.mapped for zone in zones):
        lines.append(
            f"{format_hectares(unranked)} ha are expected of classes whose probability was not "
            f"kept: the run keeps {top_k} a pixel. Map or classify with a higher --top-k"
        )
    if points is None:
        return lines
    if len(zones) > 1 and not points.of_this_map:
        lines.append("the points were drawn from another map: no zone can be adjusted by them")
    elif few := [zone.name for zone in zones if zone.mapped and zone.estimated is None]:
        lines.append(f"too few points to adjust the areas of {_listed(few)}")
    for zone in zones:
        if zone.left_out:
            lacking = _listed([name for name, _ in zone.left_out])
            area = format_hectares(sum(area for _, area in zone.left_out))
            lines.append(
                f"{zone.name}: {area} ha have too few points, and are in no area by points: "
                f"{lacking}"
            )
    return lines


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
