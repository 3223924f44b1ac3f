"""Of `timesen areas`: the time series of the maps of a file of regions and years."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.hectares import format_hectares
from flows.execution.console import PlainConsole, say, show_progress
from flows.execution.progress import RunProgress, report_progress
from models.errors import UserError
from models.vocabulary.labels import Level
from pipeline.errors import OutputError
from pipeline.io.store import Store, public_url
from pipeline.settings.regions import RegionRun, load_regions

if TYPE_CHECKING:
    from pipeline.areas.area_series import MapAreas
    from pipeline.areas.zones import Zones

_SHOWN = 60  # rows of the table; the file has all


def sum_up_series(
    file: Path,
    zones: "Zones | None",
    out: str | None,
    chart: str | None,
    level: Level,
    *,
    by_confidence: bool,
) -> int:
    """Sum up the areas of all maps of a file; print, write and draw them. Gives the exit code.

    Runs without a finished cell are told and left out. Raises OutputError where there is none else.
    """
    from pipeline.areas.area_series import series_chart, series_frame
    from pipeline.areas.area_table import write_table
    from pipeline.areas.chart_file import write_chart

    console, maps, notices, lacking = PlainConsole(), [], set(), []
    with show_progress(console):
        for run in load_regions(file):
            report_progress(RunProgress(f"summing up {run.name}"))
            found = _areas_of(run, zones, level, by_confidence=by_confidence)
            if found is None:
                lacking.append(run.name)
            else:
                maps.append(found[0])
                notices.add(found[1])
    if not maps:
        raise OutputError(
            str(file), "no map of it is there yet", f"Map them: timesen map-regions {file}"
        )
    _show(console, maps, several=zones is not None)
    if lacking:
        text = f"not mapped yet, and left out: {', '.join(lacking)}"
        console.print(text, style="yellow", soft_wrap=True)
    if out is not None:
        write_table(series_frame(maps), out)
        say(console, f"Table    {public_url(Store(out).root)}")
    if chart is not None:
        note = "; ".join(sorted(notices))
        write_chart(lambda form: series_chart(maps, f"Areas, {file.stem}", note, form), chart)
        say(console, f"Chart    {public_url(Store(chart).root)}")
    return 0


def _areas_of(
    region: RegionRun, zones: "Zones | None", level: Level, *, by_confidence: bool
) -> "tuple[MapAreas, str] | None":
    """The areas of a run, and its notice; None where no cell of it is finished."""
    from pipeline.areas.area_series import MapAreas
    from pipeline.areas.class_areas import class_areas_in
    from pipeline.areas.zone_areas import zone_areas
    from pipeline.layout import RUN
    from pipeline.product.committed_cells import mapped_items
    from pipeline.product.ledger import read_run
    from pipeline.product.manifest import run_vocabulary

    store = Store(region.settings.out)
    if not store.exists(RUN):
        return None
    run = read_run(store)
    if not (items := mapped_items(store, run)):
        return None
    vocabulary = run_vocabulary(store, run)
    if level == "parent" and not vocabulary.parents:
        problem = f"the classes of {region.name} have no parents"
        raise UserError("--level parent", problem, "Leave it out")
    sums = class_areas_in(store, items, vocabulary, zones, by_confidence=by_confidence)
    found = zone_areas(sums, vocabulary, zones, level=level)
    return MapAreas(region.region, run.years, run.period[0].year, found), run.attribution


def _show(console: Console, maps: "Sequence[MapAreas]", *, several: bool) -> None:
    """Print a row for each class of each zone of each region, and a column for each year."""
    years = list(dict.fromkeys(m.years for m in sorted(maps, key=lambda one: one.first_year)))
    areas: dict[tuple[str, str, str], dict[str, float]] = {}
    for one in maps:
        for zone in one.zones:
            for entry in zone.classes:
                row = areas.setdefault((one.region, zone.name, entry.name), {})
                row[one.years] = entry.mapped
    table = Table(box=box.SIMPLE)
    for header in ("region", "zone", "class") if several else ("region", "class"):
        table.add_column(header)
    for year in years:
        table.add_column(f"{year}, ha", justify="right")
    for (region, place, name), row in list(areas.items())[:_SHOWN]:
        names = (region, place, name) if several else (region, name)
        numbers = (format_hectares(row[year]) if year in row else "" for year in years)
        table.add_row(*map(Text, (*names, *numbers)))
    console.print(table)
    if len(areas) > _SHOWN:
        say(console, f"and {len(areas) - _SHOWN:,} more rows: --out FILE writes all")
