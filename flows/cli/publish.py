"""The command `timesen publish`: map and report of a run, in its folder and elsewhere."""

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from flows.cli.app import argument, command_app

if TYPE_CHECKING:
    from flows.execution.console import PlainConsole
    from pipeline.io.store import Store
    from pipeline.product.manifest import RunManifest

_LISTED = 8  # tiles

publish_app = command_app(
    "publish",
    examples=(
        "timesen publish runs/a",
        "timesen publish s3://maps/a --crs EPSG:3035",
        "timesen publish runs/a --to s3://maps/a",
        "timesen publish s3://maps/a --api https://stac.example.org --id land-cover-2021",
    ),
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
    to: Annotated[
        str | None,
        Parameter(
            metavar="FOLDER|URL",
            help="Copy what readers of the map need to a folder or s3://bucket/prefix. What is "
            "there already is not sent again.",
        ),
    ] = None,
    api: Annotated[
        str | None,
        Parameter(
            metavar="URL",
            help="Create or replace collection and items at the STAC API of this landing page. It "
            "needs the Transaction extension.",
        ),
    ] = None,
    href: Annotated[
        str | None,
        Parameter(
            metavar="URL",
            help="The address at which readers of the STAC API find the files; default: that of "
            "--to, or of a run on S3.",
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        Parameter(
            metavar="'NAME: VALUE'",
            negative="",
            help="A header for the STAC API; ${NAME} in the value is taken from the environment. "
            "It can be given several times.",
        ),
    ] = None,
    id: Annotated[
        str | None,
        Parameter(metavar="ID", help="The id of the collection at the STAC API."),
    ] = None,
    title: Annotated[
        str | None,
        Parameter(metavar="TEXT", help="The title of the collection at the STAC API."),
    ] = None,
    with_embeddings: Annotated[
        bool, Parameter(negative="", help="Copy and list the kept embeddings, too.")
    ] = False,
    prune: Annotated[
        bool,
        Parameter(
            negative="",
            help="Remove cells from --to and items from --api that the run no longer has.",
        ),
    ] = False,
) -> int:
    """Write map, collection and report of the finished cells of a run; say what is missing.

    It maps nothing, and needs the run's folder and checkpoint alone. `timesen map` publishes by
    itself, but for its shards (`--shard 3/10`), which this command joins. With --to and --api the
    map is then copied to other places, and made known at a STAC API. It can be repeated. The exit
    code is 1 while cells are missing.
    """
    from flows.cli.publish_elsewhere import Destination, open_destination, publish_elsewhere
    from flows.execution.console import PlainConsole
    from pipeline.io.store import Store
    from pipeline.product.ledger import read_run

    console, store = PlainConsole(), Store(run)
    manifest = read_run(store)
    there = Destination(to, api, href, tuple(header or ()), id, title, with_embeddings, prune)
    opened = open_destination(store, manifest, there)
    if manifest.derived_kind == "change":
        code = _publish_change(console, store, manifest, crs)
    else:
        code = _publish_run(console, run, crs)
    publish_elsewhere(console, store, opened)
    return code


def _publish_change(
    console: "PlainConsole", store: "Store", run: "RunManifest", crs: str | None
) -> int:
    """Publish a run of changes in its folder."""
    from flows.cli.gdal_place import say_raster
    from pipeline.derived.derived_run import publish_derived_run
    from pipeline.product.layers import CLASS
    from pipeline.product.manifest import run_vocabulary

    publish_derived_run(store, run, run_vocabulary(store, run), crs)
    say_raster(console, "Map      ", store, CLASS.mosaic_file)
    return 0


def _publish_run(console: "PlainConsole", folder: str, crs: str | None) -> int:
    """Publish a run in its folder; the exit code."""
    from flows.cli.gdal_place import say_raster
    from flows.execution.console import say, show_progress
    from flows.execution.progress import RunProgress, report_progress
    from pipeline.io.store import public_url
    from pipeline.layout import PREVIEW, QGIS_PROJECT, REPORT
    from pipeline.mapping.publish import publish, run_in_folder
    from pipeline.mapping.shared_run import alone_in_run
    from pipeline.product.layers import CLASS

    with show_progress(console):
        report_progress(RunProgress("publishing"))
        published = run_in_folder(folder, crs)
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
