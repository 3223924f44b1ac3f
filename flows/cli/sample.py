"""The command `timesen sample`: reference points of a map, to be labelled in QGIS."""

from typing import Annotated

from cyclopts import Parameter

from flows.cli.app import argument, command_app
from flows.execution.console import PlainConsole, say, show_progress
from flows.execution.progress import RunProgress, report_progress
from models.errors import UserError
from pipeline.io.store import Store, public_url

_FEWEST = 2  # points of a class, for a variance

sample_app = command_app(
    "sample",
    usage="Usage: timesen sample RUN [FILE] [OPTIONS]",
    examples=(
        "timesen sample runs/a --points 300",
        "timesen sample s3://bucket/run reference.gpkg --points 500 --minimum 50 --seed 7",
    ),
)


@sample_app.default
def run_sample(
    folder: Annotated[str, argument("RUN", "A run's folder, or s3:// URL.")],
    file: Annotated[str, argument("FILE", "The new GeoPackage.")] = "sample.gpkg",
    /,
    *,
    points: Annotated[int, Parameter(metavar="N", help="Points in all.")] = 300,
    minimum: Annotated[
        int | None,
        Parameter(
            metavar="N",
            help="Points of each class; default: half of all, shared out equally, at most 50 each.",
        ),
    ] = None,
    seed: Annotated[
        int,
        Parameter(metavar="N", help="Of the random draw."),
    ] = 0,
    with_class: Annotated[
        bool, Parameter(negative=(), help="Show the mapped class in a column, which may mislead.")
    ] = False,
) -> int:
    """Draw random points within each class of a map, to label them and to evaluate the map.

    QGIS opens the file with a form that offers the classes. Then `timesen evaluate RUN --points
    FILE` compares the labels with the map.
    """
    for name, value, least in (
        ("--points", points, 1),
        ("--minimum", minimum, _FEWEST),
        ("--seed", seed, 0),
    ):
        if value is not None and value < least:
            raise UserError(f"{name} {value}", f"it must be {least} or more", "Give another number")
    # Imported here: geopandas takes a second.
    from pipeline.evaluation.reference_sample import draw_sample
    from pipeline.evaluation.sample_file import sample_place, write_sample
    from pipeline.product.committed_cells import finished_items
    from pipeline.product.ledger import read_run
    from pipeline.product.manifest import run_vocabulary

    sample_place(file)
    console, store = PlainConsole(), Store(folder)
    run = read_run(store)
    vocabulary = run_vocabulary(store, run)
    with show_progress(console):
        report_progress(RunProgress("reading the map"))
        items = finished_items(store, run.fingerprint)
        sample = draw_sample(store, items, vocabulary, points, minimum, seed)
        write_sample(
            file,
            sample,
            run,
            vocabulary,
            place=public_url(store.root),
            seed=seed,
            with_class=with_class,
        )
    say(console, f"Points   {file}: {points:,} in {len(sample.strata)} classes, in random order")
    say(
        console,
        f"Label them in QGIS, then: timesen evaluate {public_url(store.root)} --points {file}",
    )
    return 0
