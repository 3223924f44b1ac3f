"""The command `timesen export`: the map of a run as one file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from flows.cli.app import argument, command_app
from flows.cli.gdal_place import say_raster
from flows.execution.console import PlainConsole, say, show_progress
from flows.execution.progress import RunProgress, report_progress
from models.errors import UserError
from pipeline.clusters.settings import CLUSTER_KINDS, ClusterSettings
from pipeline.errors import RegionError, SettingsError
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.mapping.plan_geojson import read_cells
from pipeline.product.committed_cells import mapped_items
from pipeline.product.layers import CLASS
from pipeline.product.ledger import read_run
from pipeline.product.manifest import run_vocabulary
from pipeline.product.map_blocks import MapBlocks, ReadBlocks, WriteBlock, read_blocks_here
from pipeline.product.map_crs import crs_code
from pipeline.product.map_export import export_map, exported_layer
from pipeline.product.map_grid import MapResampling
from pipeline.product.tile_export import export_tiles
from pipeline.settings.load import anchored, read_settings_file, validated

if TYPE_CHECKING:
    import numpy as np
    from rasterio.windows import Window

export_app = command_app(
    "export",
    examples=(
        "timesen export runs/a map.tif",
        "timesen export runs/a map.tif --crs EPSG:3035 --bbox 5.9,49.5,6.1,49.7",
        "timesen export runs/a coarse.tif --resolution 100",
        "timesen export runs/a tiles --tiles",
        "timesen export s3://bucket/run confidence.tif --layer confidence --crs EPSG:4326",
    ),
)


@export_app.default
def run_export(
    folder: Annotated[str, argument("RUN", "A run's folder, or s3:// URL.")],
    file: Annotated[
        str, argument("FILE", "The GeoTIFF to write, or the folder of tiles: a path or s3:// URL.")
    ],
    /,
    *,
    tiles: Annotated[
        bool,
        Parameter(
            negative=(), help="One GeoTIFF for each MGRS tile, in its UTM zone, and an index."
        ),
    ] = False,
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
    resolution: Annotated[
        float | None,
        Parameter(
            metavar="NUMBER",
            help="The side of a pixel in the unit of the CRS, metres in most; default: 10 m, or "
            "1/12000 degree.",
        ),
    ] = None,
    resampling: Annotated[
        MapResampling | None,
        Parameter(
            help="What coarser pixels show: the pixel at their centre, or the most frequent class "
            "or the average within them; default: majority for classes, else average."
        ),
    ] = None,
    cluster: Annotated[
        str,
        Parameter(
            metavar="KIND|tcp://…|RUN.toml",
            help="Where blocks of the map are computed: threads (of this process), local (worker "
            "processes), a Dask scheduler, or as [cluster] of a file says.",
        ),
    ] = "threads",
) -> int:
    """Write the map of a run as one Cloud-Optimized GeoTIFF, or as one for each MGRS tile.

    They have colours, names of classes and overviews.
    """
    console, store, workers = PlainConsole(), Store(folder), _cluster(cluster)
    part = None if bbox is None else _bbox(bbox)
    if tiles:
        _require_none(crs=crs, bbox=bbox, resolution=resolution, resampling=resampling)
    run = read_run(store)
    chosen, vocabulary = exported_layer(run, layer), run_vocabulary(store, run)
    items = mapped_items(store, run)
    if (missing := len(read_cells(store, run)) - len(items)) > 0 and items:
        text = f"warning: {missing} of its cells {'is' if missing == 1 else 'are'} not finished: "
        text += "the file has nodata there"
        console.print(text, style="yellow", soft_wrap=True)
    given = (store, run, items, vocabulary, chosen, file)
    with show_progress(console), _block_reader(workers) as read:
        report_progress(RunProgress(f"exporting {chosen.name}"))
        if tiles:
            written = export_tiles(*given, read_blocks=read, done=partial(_report, "tiles"))
        else:
            done = export_map(
                *given,
                crs=crs,
                bbox=part,
                resolution=resolution,
                resampling=resampling,
                read_blocks=partial(_read_and_report, read),
            )
    if tiles:
        say(console, f"Tiles  {written.count} files, {written.size:,} bytes")
        for key in written.indexes:
            say_raster(console, "Index  ", written.store, key)
        return 0
    rows, columns = done.shape
    say_raster(console, "Map  ", done.store, done.key)
    say(console, f"     {crs_code(done.crs)}, {columns:,} × {rows:,} pixels, {done.size:,} bytes")
    return 0


def _require_none(**options: object) -> None:
    """Raise UserError where an option is given that tiles do not take."""
    if given := [f"--{name} {value}" for name, value in options.items() if value is not None]:
        problem = "tiles have the pixels of the cells, in the UTM zone of each"
        raise UserError(f"--tiles with {' '.join(given)}", problem, "Leave one of them out")


def _bbox(text: str) -> list[float]:
    if text.count(",") != 3:
        raise RegionError(text, "a bbox is four numbers", "Write west,south,east,north in degrees")
    return read_region(text).bbox


@contextmanager
def _block_reader(cluster: ClusterSettings) -> Iterator[ReadBlocks]:
    """Reads the blocks of maps where a cluster is."""
    if cluster.kind == "threads":
        yield partial(read_blocks_here, threads=cluster.threads)
        return
    with ExitStack() as stack:
        opened: list[ReadBlocks] = []

        def read(blocks: MapBlocks, windows: "Sequence[Window]", write: WriteBlock) -> None:
            if not opened:  # not before: mistakes are told without a cluster
                from flows.execution.map_blocks import block_reader

                opened.append(stack.enter_context(block_reader(cluster)))
            opened[0](blocks, windows, write)

        yield read


def _read_and_report(
    read: ReadBlocks, blocks: MapBlocks, windows: "Sequence[Window]", write: WriteBlock
) -> None:
    """Read the blocks of a map, and report how many are written."""
    done = 0

    def write_one(window: "Window", values: "np.ndarray | None") -> None:
        nonlocal done
        write(window, values)
        done += 1
        _report("blocks", done, len(windows))

    read(blocks, windows, write_one)


def _report(units: str, done: int, of: int) -> None:
    report_progress(RunProgress("exporting", of, done, share=done / of, units=units))


def _cluster(text: str) -> ClusterSettings:
    """The cluster of a kind or an address, or of the table [cluster] of a file."""
    remedy = "Give threads, local, tcp://host:8786, or a TOML file with [cluster]"
    raw: Any = {"kind": text}
    source = f"--cluster {text}"
    if text.endswith(".toml"):
        source = text
        raw = read_settings_file(Path(text)).get("cluster", {})
        if not isinstance(raw, Mapping):
            raise SettingsError(source, "cluster is no table", remedy)
        raw = anchored(ClusterSettings, raw, Path(text).parent)
    settings = validated(ClusterSettings, raw, source, remedy)
    CLUSTER_KINDS[settings.kind].require()
    return settings
