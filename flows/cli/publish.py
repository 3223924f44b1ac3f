"""The command `timesen publish`: map and report of what a run's folder holds."""

import shlex
from collections import Counter
from typing import Annotated

from cyclopts import Parameter

from flows.cli.app import argument, command_app

_LISTED = 8  # tiles

publish_app = command_app(
    "publish",
    examples=("timesen publish runs/a", "timesen publish s3://maps/a --crs EPSG:3035"),
)


@publish_app.default
def publish_folder(
    run: Annotated[str, argument("RUN", "A run's folder, or s3:// URL.")],
    /,
    *,
    crs: Annotated[
        str | None,
        Parameter(metavar="CODE", help="The CRS of the map; default: that of the run's settings."),
    ] = None,
) -> int:
    """Write map, collection and report of the finished cells of a run; say what is missing.

    It maps nothing, and needs the run's folder and checkpoint alone. `timesen map` publishes by
    itself, but for its shards (`--shard 3/10`), which this command joins. It can be repeated. The
    exit code is 1 while cells are missing.
    """
    from flows.cli.gdal_place import say_raster
    from flows.execution.console import PlainConsole, say, show_progress
    from flows.execution.progress import RunProgress, report_progress
    from pipeline.io.store import Store, public_url
    from pipeline.layout import PREVIEW, QGIS_PROJECT, REPORT
    from pipeline.mapping.publish import publish, run_in_folder
    from pipeline.mapping.shared_run import alone_in_run
    from pipeline.product.layers import CLASS
    from pipeline.product.ledger import read_run
    from pipeline.product.manifest import run_vocabulary

    console = PlainConsole()
    if (changes := read_run(Store(run))).derived_kind == "change":
        from pipeline.derived.derived_run import publish_derived_run

        store = Store(run)
        publish_derived_run(store, changes, run_vocabulary(store, changes), crs)
        say_raster(console, "Map      ", store, CLASS.mosaic_file)
        return 0
    with show_progress(console):
        report_progress(RunProgress("publishing"))
        published = run_in_folder(run, crs)
        with alone_in_run(published.store, published.manifest, "publication"):
            summary = publish(published)
    store, done = published.store, {report.cell for report in summary.reports}
    if done:
        say_raster(console, "Map      ", store, CLASS.mosaic_file)
        say(console, f"QGIS     {store.path(QGIS_PROJECT)}")
        say(console, f"Preview  {store.path(PREVIEW)}")
    say(console, f"Report   {store.path(REPORT)}")
    missing = [cell for cell in published.cells if cell.id not in done]
    say(
        console, f"{len(published.cells) - len(missing)} of {len(published.cells)} cells are mapped"
    )
    if not missing:
        return 0
    tiles = Counter(cell.tile.name for cell in missing).most_common()
    named = ", ".join(f"{tile} ({cells})" for tile, cells in tiles[:_LISTED])
    more = f" and {len(tiles) - _LISTED} more" if len(tiles) > _LISTED else ""
    failed = len({failure.cell for failure in summary.failures} - done)
    text = (
        f"warning: {len(missing)} cells are missing, {failed} of which failed: they are of "
        f"{named}{more}. `timesen status {shlex.quote(public_url(store.root))}` says why cells "
        "failed; start the shards again that are not done"
    )
    console.print(text, style="yellow", markup=False, soft_wrap=True)
    return 1
