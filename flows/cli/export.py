"""The command `timesen export`: the map of a run as one file."""

from typing import Annotated

from cyclopts import Parameter

from flows.cli.app import argument, command_app
from flows.cli.gdal_place import say_raster
from flows.execution.console import PlainConsole, say, show_progress
from flows.execution.progress import RunProgress, report_progress
from pipeline.errors import RegionError
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.mapping.plan_geojson import read_cells
from pipeline.product.committed_cells import mapped_items
from pipeline.product.layers import CLASS
from pipeline.product.ledger import read_run
from pipeline.product.manifest import run_vocabulary
from pipeline.product.map_crs import crs_code
from pipeline.product.map_export import export_map, exported_layer

export_app = command_app(
    "export",
    examples=(
        "timesen export runs/a map.tif",
        "timesen export runs/a map.tif --crs EPSG:3035 --bbox 5.9,49.5,6.1,49.7",
        "timesen export s3://bucket/run confidence.tif --layer confidence --crs EPSG:4326",
    ),
)


@export_app.default
def run_export(
    folder: Annotated[str, argument("RUN", "A run's folder, or s3:// URL.")],
    file: Annotated[str, argument("FILE", "The GeoTIFF to write: a path, or an s3:// URL.")],
    /,
    *,
    layer: Annotated[
        str,
        Parameter(metavar="NAME", help="class, confidence, clear-months, … as in its STAC items."),
    ] = CLASS.name,
    crs: Annotated[
        str | None,
        Parameter(metavar="CODE", help="Its CRS, such as EPSG:3035; default: that of the run."),
    ] = None,
    bbox: Annotated[
        str | None,
        Parameter(metavar="W,S,E,N", allow_leading_hyphen=True, help="Only this part, in degrees."),
    ] = None,
) -> int:
    """Write the map of a run as one Cloud-Optimized GeoTIFF, with colours, names and overviews."""
    console, store = PlainConsole(), Store(folder)
    part = None if bbox is None else _bbox(bbox)
    run = read_run(store)
    chosen, vocabulary = exported_layer(run, layer), run_vocabulary(store, run)
    items = mapped_items(store, run)
    if (missing := len(read_cells(store, run)) - len(items)) > 0 and items:
        text = f"warning: {missing} of its cells {'is' if missing == 1 else 'are'} not finished: "
        text += "the file has nodata there"
        console.print(text, style="yellow", soft_wrap=True)
    with show_progress(console):
        report_progress(RunProgress(f"exporting {chosen.name}"))
        done = export_map(store, run, items, vocabulary, chosen, file, crs=crs, bbox=part)
    rows, columns = done.shape
    say_raster(console, "Map  ", done.store, done.key)
    say(console, f"     {crs_code(done.crs)}, {columns:,} × {rows:,} pixels, {done.size:,} bytes")
    return 0


def _bbox(text: str) -> list[float]:
    if text.count(",") != 3:
        raise RegionError(text, "a bbox is four numbers", "Write west,south,east,north in degrees")
    return read_region(text).bbox
