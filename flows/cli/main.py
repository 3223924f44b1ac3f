"""The command `timesen`: its commands, each of which does no more than call its function."""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.bench import bench_app
from flows.cli.checkpoint import checkpoint_app
from flows.cli.dataset import dataset_app
from flows.cli.distil import distil
from flows.cli.evaluate import evaluate
from flows.cli.options import INTERRUPTED, explained, takes_search_settings, takes_settings
from flows.cli.pretrain import pretrain
from flows.cli.vocabulary import vocabulary_app
from pipeline.settings.map import MapSettings, SearchSettings

# What a command needs is imported in it: Dask, Prefect and torch take seconds to import.

app = typer.Typer(
    help="Land-cover and ecosystem maps from a year of Sentinel-2, by asking for classes in words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(vocabulary_app, name="vocabulary")
app.add_typer(checkpoint_app, name="checkpoint")
app.add_typer(dataset_app, name="dataset")
app.command()(distil)
app.command()(pretrain)
app.command()(evaluate)
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Run the command of this process, and end it."""
    # Slurm and Kubernetes stop a job with SIGTERM: it ends as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = run(sys.argv[1:])
    if code == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # else threads that are in the middle of a cell would be waited for
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; gives its exit code."""
    try:
        app(list(arguments), prog_name="timesen")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


@app.command()
@explained
@takes_settings
def plan(settings: MapSettings) -> int:
    """Show what a run would read, compute and write, how long and how much; run nothing.

    Its tiles and cells are written to the run's folder, for a GIS, and its items are frozen
    there: `timesen map` then maps exactly what was planned.
    """
    from pipeline.mapping.plan_geojson import CELLS_KEY, TILES_KEY
    from pipeline.mapping.prepare import prepare_run

    prepared = prepare_run(settings)
    store = prepared.run.store
    print(prepared.plan.summary())
    print(f"To look at in a GIS: {store.path(TILES_KEY)} and {store.path(CELLS_KEY)}")
    return 0


@app.command(name="map")
@explained
@takes_settings
def map_(settings: MapSettings) -> int:
    """Map a region. Stopped and started again, it goes on where it stopped."""
    return _mapped(settings)


@app.command()
@explained
def classify(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run that kept embeddings.")],
    out: Annotated[str, typer.Option("--out", help="The new map's folder, or s3://bucket/prefix.")],
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="WORDS", help="Classes in words.")
    ] = None,
    vocabulary: Annotated[
        str | None, typer.Option("--vocabulary", help="A shipped vocabulary's name or a TOML file.")
    ] = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="class|parent", help="What the map shows.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Classes a pixel is given, in order (1…8).")
    ] = None,
) -> int:
    """Ask a run's embeddings for other classes: a new map, without reading or encoding anything.

    The run must have been mapped with `--keep-embeddings`.
    """
    from pipeline.mapping.embedding_source import settings_from_embeddings

    own = {"out": out, "classes": classes, "vocabulary": vocabulary, "level": level, "top_k": top_k}
    return _mapped(
        settings_from_embeddings(run_folder, {k: v for k, v in own.items() if v is not None})
    )


@app.command()
@explained
def query(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run that kept embeddings.")],
    words: Annotated[
        str | None, typer.Argument(help="What to look for, such as: vineyard.", show_default=False)
    ] = None,
    like: Annotated[
        str | None, typer.Option("--like", metavar="LON,LAT", help="Look for what is like a place.")
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", help="Default: a folder in the run's, by the question.")
    ] = None,
) -> int:
    """Show where a run's pixels are similar to words, or to another pixel: a heat map."""
    from rich.console import Console

    from flows.cli.query import run_query

    run_query(run_folder, words, like, out, Console())
    return 0


def _mapped(settings: MapSettings) -> int:
    """Run a map and say where it is; gives the exit code."""
    from rich.console import Console

    from flows.cli.map import run_map
    from pipeline.io.store import Store
    from pipeline.layout import PREVIEW, REPORT
    from pipeline.product.layers import CLASS

    code = run_map(settings, Console())
    store = Store(settings.out)
    if store.exists(CLASS.mosaic_file):  # not where every cell failed
        print(f"Map      {store.gdal_path(CLASS.mosaic_file)}")
        print(f"Preview  {store.path(PREVIEW)}")
    print(f"Report   {store.path(REPORT)}")
    return code


@app.command()
@explained
@takes_search_settings
def search(
    settings: SearchSettings,
    items: Annotated[
        Path, typer.Option("--items", metavar="ITEMS.parquet", help="The table to write.")
    ] = Path("items.parquet"),
) -> int:
    """Write the items of a region and year as a table, which is a catalogue to work with offline.

    `--catalog ITEMS.parquet` then takes the place of the catalogue that was searched.
    """
    from rich.console import Console

    from flows.cli.search import run_search

    run_search(settings, items, Console())
    return 0


@app.command()
@explained
def status(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder or s3:// URL.")],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> int:
    """Show which cells of a run are done, which failed and why, and how many are left."""
    from rich.console import Console

    from flows.cli.status import read_status

    found = read_status(run_folder)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        found.show(Console())
    return 0


@app.command()
@explained
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where to put it.")] = Path("demo"),
) -> int:
    """Map a made-up landscape that comes with timesen, offline, in a few minutes."""
    from rich.console import Console

    from flows.cli.demo import run_demo

    return run_demo(folder, Console())


if __name__ == "__main__":
    main()
