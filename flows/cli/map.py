"""The commands `timesen map`, `timesen plan` and `timesen classify`."""

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from flows.cli.settings_command import settings_command
from pipeline.settings.map import ClassifySettings, MapSettings, PlanSettings

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.mapping.run import PreparedRun
    from pipeline.product.cell_report import CellReport

# What a command needs is imported in it, so that its help is there at once.

_EXAMPLE = 'timesen {} --region 5.9,49.4,6.6,50.2 --year 2024 --classes "forest, lake" --out map'


@settings_command(
    "map",
    MapSettings,
    file="RUN.toml",
    examples=(
        "timesen map run.toml",
        "timesen map run.toml --year 2024 --out runs/2024 --cluster local",
        _EXAMPLE.format("map"),
    ),
)
def map_app(settings: MapSettings) -> int:
    """Map a region. A run that was stopped continues where it stopped when it is started again."""
    return run_map(settings)


@settings_command(
    "plan",
    PlanSettings,
    file="RUN.toml",
    examples=("timesen plan run.toml --map plan.html", _EXAMPLE.format("plan")),
)
def plan_app(settings: PlanSettings) -> int:
    """Show what a run would read, compute and write, how long it takes, and its cost; run nothing.

    Its tiles and cells are written to the run's folder, to be looked at in a GIS. The list of its
    items is kept there, too: `timesen map` then maps exactly what was planned.
    """
    from flows.execution.console import PlainConsole, say

    console = PlainConsole()
    say(console, "Planning: searching for items, then counting the pixels and items of each cell")
    from pipeline.mapping.continued_run import made_again
    from pipeline.mapping.plan_geojson import CELLS_KEY, TILES_KEY
    from pipeline.mapping.prepare import prepare_run
    from pipeline.mapping.run_inputs import run_inputs

    prepared = prepare_run(settings.run_settings)
    store = prepared.run.store
    say(console, run_inputs(prepared))
    say(console, prepared.plan.summary())
    if settings.shard is not None:
        say(console, _shard(prepared))
    for note in made_again(prepared):
        say(console, note)
    _warn(console, _planned_warnings(prepared))
    say(console, f"To look at in a GIS: {store.path(TILES_KEY)} and {store.path(CELLS_KEY)}")
    if settings.map_page is not None:
        say(console, f"Page of the plan: {_write_page(prepared, settings.map_page)}")
    return 0


def _write_page(prepared: "PreparedRun", page: str) -> str:
    """Write the page of a plan; gives its path. Raises OutputError where it cannot be written."""
    from models.files.durable_files import write_durably
    from models.option import user_path
    from pipeline.errors import OutputError
    from pipeline.mapping.plan_page import plan_page

    run, path = prepared.run, user_path(page)
    title = f"Plan of {run.vocabulary.title}, {run.manifest.years}"
    try:
        write_durably(path, plan_page(prepared.plan, title).encode())
    except (OSError, ValueError) as error:  # ValueError: of a zero in the path
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else "it is no path"
        raise OutputError(
            f"--map {page}", f"the page cannot be written ({reason})", "Give a file of this machine"
        ) from None
    return str(path)


@settings_command(
    "classify",
    ClassifySettings,
    examples=(
        'timesen classify runs/a --classes "vineyard, orchard, forest" --out runs/vineyards',
        "timesen classify runs/a --vocabulary lucas-crops --level parent --out runs/crops",
    ),
)
def classify_app(settings: ClassifySettings) -> int:
    """Map other classes from a run's embeddings, without reading or encoding anything.

    The run must have been mapped with --keep-embeddings.
    """
    from pipeline.mapping.embedding_source import settings_from_embeddings

    own = settings.model_dump(exclude={"run"}, exclude_none=True, exclude_unset=True)
    return run_map(settings_from_embeddings(settings.run, own))


def run_map(settings: MapSettings, *, retry_left_out: bool = False) -> int:
    """Run the flow `map-region`, show its progress, and say where the map is and what it lacks.

    With `retry_left_out`, finished cells that lack rasters are mapped once more.

    Of a shard it says how much is mapped, and how the map is published.

    Returns the exit code: 0 where all cells are mapped, 1 where some failed. Raises UserError and
    WorldError where the run as a whole cannot go on.
    """
    from flows.cli.gdal_place import say_raster
    from flows.execution.console import PlainConsole, say, show_flow
    from flows.execution.dask_log import dask_log_file
    from flows.execution.progress import RunProgress, report_progress
    from pipeline.io.store import Store, public_url
    from pipeline.layout import PREVIEW, QGIS_PROJECT, REPORT
    from pipeline.product.layers import CLASS
    from pipeline.product.publication_record import read_publication

    console, failed = PlainConsole(), ""
    with ExitStack() as stack:
        wait_for_server = stack.enter_context(show_flow(console))
        from flows.execution.cell_work import CellsFailed
        from flows.map_region import map_region, prepared_beforehand
        from pipeline.mapping.continued_run import made_again, with_left_out_again
        from pipeline.mapping.prepare import prepared_run
        from pipeline.mapping.run_inputs import run_inputs

        report_progress(RunProgress("planning"))
        # Mistakes show before the server is up; the folder is this process's until the end.
        prepared = stack.enter_context(prepared_run(settings))
        if retry_left_out:
            prepared = with_left_out_again(prepared)
        say(console, run_inputs(prepared))
        for note in made_again(prepared):
            say(console, note)
        _warn(console, _planned_warnings(prepared))
        wait_for_server()
        try:
            with prepared_beforehand(prepared):
                map_region(settings)
        except CellsFailed as error:
            failed = str(error)
    record = read_publication(prepared.run.store, prepared.run.manifest)
    if record is not None and not record.is_own:
        say(console, f"Published by {record}, which maps the same run")
    _warn(console, _warnings(prepared))
    if failed:
        console.print(failed, style="red", markup=False, soft_wrap=True)
    store = Store(settings.out)
    if settings.shard is not None:
        say(console, f"{_shard(prepared)}, {len(prepared.unfinished())} left")
        text = "writes map and report, once the other shards are mapped, too"
        say(console, f"Publish  timesen publish {shlex.quote(public_url(store.root))} ({text})")
        return 1 if failed else 0
    if store.exists(CLASS.mosaic_file):  # not where every cell failed
        say_raster(console, "Map      ", store, CLASS.mosaic_file)
        say(console, f"QGIS     {store.path(QGIS_PROJECT)}")
        say(console, f"Preview  {store.path(PREVIEW)}")
    say(console, f"Report   {store.path(REPORT)}")
    if (log := dask_log_file()) is not None and log.exists():
        say(console, f"Log      {log}")
    say(console, f"Status   timesen status {shlex.quote(public_url(store.root))}")
    return 1 if failed else 0


def _shard(prepared: "PreparedRun") -> str:
    """How much of a run a shard is."""
    own, pixels = prepared.own_cells, sum(c.height * c.width for c in prepared.own_cells)
    shard = prepared.run.settings.shard
    return f"Shard {shard}: {len(own)} of {len(prepared.cells)} cells, {pixels / 1e6:.1f} Mpx"


def _warn(console: "Console", warnings: Sequence[str]) -> None:
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)


def _planned_warnings(prepared: "PreparedRun") -> list[str]:
    """What to say before a run is computed."""
    from pipeline.mapping.cost_estimate import disk_warning

    full = disk_warning(prepared.plan.output_bytes, prepared.run.store.root)
    return [*prepared.plan.warnings, *([full] if full else [])]


def _warnings(prepared: "PreparedRun") -> list[str]:
    """What to say of a run's finished cells: rasters that were left out, land without words."""
    from pipeline.product.committed_cells import finished_cells
    from pipeline.product.mask_report import lacking_sentence, masked_total
    from pipeline.product.other_land_report import ADVICE, other_land_shares

    run = prepared.run
    reports = [*finished_cells(run.store, run.manifest.fingerprint).values()]
    lost, masked = _left_out(prepared, reports), masked_total(reports)
    lacking = masked and lacking_sentence(masked)
    others = [str(one) for one in other_land_shares(reports, run.vocabulary.legend)]
    return [*(text for text in (lost, lacking) if text), *others, *([ADVICE] if others else [])]


def _left_out(prepared: "PreparedRun", reports: "Sequence[CellReport]") -> str:
    """What to say of the rasters that some cell could not read; empty where there are none."""
    from pipeline.catalog.item import SCL
    from pipeline.raster.read_stats import rasters_left_out

    run = prepared.run
    lost = rasters_left_out(report.stats for report in reports)
    if lost is None:
        return ""
    read = {*run.card.preprocessing.bands, *run.settings.reading.substitute.values(), SCL}
    rasters = {
        asset.href for item in prepared.items for band, asset in item.assets.items() if band in read
    }
    return f"{lost.sentence(len(rasters))}. The report names them"
