"""The commands `timesen dataset …`: series of points, ground views, and training sets of both."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.console import Console

from flows.cli.app import argument, command_app
from flows.cli.settings_command import settings_command
from flows.execution.console import PlainConsole, say, show_flow, show_progress
from flows.execution.progress import RunProgress, report_progress, report_tenths
from flows.settings.dataset import (
    PackSettings,
    PhotoSettings,
    Sen4MapSettings,
    SeriesSettings,
    TextSettings,
)
from pipeline.io.store import Store, public_url

if TYPE_CHECKING:
    from pipeline.ground_views.table import GroundCard
    from pipeline.point_series.table import SeriesCard

# What a command needs is imported in it, so that its help and a mistake are there at once.

dataset_app = command_app(
    "dataset", "Make data to train on: series of points, photos or texts of them, training sets."
)


@dataset_app.command
@settings_command(
    "dataset series",
    SeriesSettings,
    examples=(
        "timesen dataset series points.gpkg --out series",
        "timesen dataset series lucas.gpkg --id-column POINT_ID --year 2018 --label lc1 "
        "--out series",
    ),
)
def series_app(settings: SeriesSettings) -> int:
    """Read the monthly series of points: a table to train on and to evaluate with.

    Points are read as a map of their places is, all points of a source block at once. The same
    command continues where it was stopped.
    """
    console = PlainConsole()
    with show_flow(console) as wait_for_server:
        from flows.dataset_series import dataset_series

        wait_for_server()
        card: SeriesCard = dataset_series(settings)
    return _say_series(console, card, Store(settings.out))


@dataset_app.command
@settings_command(
    "dataset sen4map",
    Sen4MapSettings,
    examples=(
        "timesen dataset sen4map Sen4Map/*.h5 --out series",
        "timesen dataset sen4map Sen4Map/*.h5 --out series --cluster local",
    ),
)
def sen4map_app(settings: Sen4MapSettings) -> int:
    """Make the series table of Sen4Map's points, from its patches or the 1 × 1 crops of them."""
    console = PlainConsole()
    with show_flow(console) as wait_for_server:
        from flows.dataset_sen4map import dataset_sen4map

        wait_for_server()
        card: SeriesCard = dataset_sen4map(settings)
    return _say_series(console, card, Store(settings.out))


@dataset_app.command
@settings_command(
    "dataset photos",
    PhotoSettings,
    examples=(
        "timesen dataset photos PHOTOS --tower clip:openai/clip-vit-base-patch32 --out ground",
        "timesen dataset photos PHOTOS --table photos.csv --tower clip:towers/b32 --out ground",
    ),
)
def photos_app(settings: PhotoSettings) -> int:
    """Embed photos of the ground by CLIP's image tower: the targets that series are trained for.

    Photos that cannot be read are left out and named. The same command continues where it was
    stopped.
    """
    console = PlainConsole()
    with show_flow(console) as wait_for_server:
        from flows.dataset_photos import dataset_photos

        wait_for_server()
        card: GroundCard = dataset_photos(settings)
    return _say_ground(console, card, Store(settings.out))


@dataset_app.command
@settings_command(
    "dataset texts",
    TextSettings,
    examples=(
        "timesen dataset texts words.csv --out words",
        "timesen dataset texts fields.gpkg --out words --id-column plot --class-column crop",
    ),
)
def texts_app(settings: TextSettings) -> int:
    """Embed descriptions of points in words, where there are no photos.

    A point may have several, each in a row.
    """
    from models.towers.text_tower import load_text_tower
    from pipeline.ground_views.table import GroundTable
    from pipeline.ground_views.table_writer import GroundFolder
    from pipeline.ground_views.texts import embed_pairs, read_pairs

    console, table = PlainConsole(), Path(settings.table)
    pairs = read_pairs(
        table,
        settings.id_column,
        settings.text_column,
        settings.class_column,
        settings.possible_column,
    )
    with show_progress(console):
        report_progress(RunProgress("loading the text tower"))
        loaded = load_text_tower(settings.tower, settings.revision)
        depends_on: tuple[object, ...] = (pairs.ids, pairs.texts, pairs.keys)
        depends_on += (sorted(pairs.possible.items()),) if pairs.possible else ()
        texts = hashlib.sha256(repr(depends_on).encode()).hexdigest()
        folder = GroundFolder(
            Store(settings.out), {"tower": loaded.name, "revision": loaded.revision, "texts": texts}
        )
        folder.open()
        if not folder.is_finished():
            report_progress(RunProgress(f"embedding {len(set(pairs.texts))} texts"))
            for number, rows in enumerate(embed_pairs(pairs, loaded)):
                folder.write_part(f"{number:06d}", rows, {})
            folder.finish(
                "texts",
                (loaded.name, loaded.revision, loaded.dim),
                {"table": table.name, "texts": len(set(pairs.texts))},
                pairs.left_out,
                settings.attribution,
                pairs.most_possible,
            )
    return _say_ground(console, GroundTable.open(settings.out).card, folder.store)


@dataset_app.command
@settings_command(
    "dataset pack",
    PackSettings,
    examples=(
        "timesen dataset pack series --ground words --out sets/a",
        "timesen dataset pack series-2018 series-2022 --ground words --out sets/a "
        "--shares 0.9 0.05 0.05",
    ),
)
def pack_app(settings: PackSettings) -> int:
    """Pack series and the photos or texts of their points into a training set.

    Its parts (training, validation, test) are split by blocks of land. Points that are in only one
    of the tables are left out and named.
    """
    from pipeline.training_set.pack import ROWS_LEFT_OUT, pack_training_set
    from pipeline.training_set.spatial_split import SPLITS

    console, store = PlainConsole(), Store(settings.out)
    with show_progress(console):
        card = pack_training_set(
            settings.series,
            settings.ground,
            settings.out,
            settings.split,
            progress=report_tenths("packing"),
        )
    rows = ", ".join(f"{card.rows(split)} {split}" for split in SPLITS)
    say(console, f"Training set  {public_url(store.path())}: {rows}")
    _say_left_out(console, 14, card.left_out, store, ROWS_LEFT_OUT)
    say(console, f"Fingerprint   {card.fingerprint}")
    return 0


_show_app = command_app(
    "dataset show",
    examples=("timesen dataset show sets/a", "timesen dataset show s3://sets/a"),
)
dataset_app.command(_show_app)


@_show_app.default
def show_set(
    dataset: Annotated[str, argument("SET", "A training set's folder, or s3://bucket/prefix.")],
    /,
) -> int:
    """Show a training set: parts, labels by class, statistics, towers, what was left out."""
    from flows.cli.dataset_show import show_dataset
    from pipeline.training_set.loader import TrainingSet

    opened = TrainingSet.open(dataset)
    width = None if sys.stdout.isatty() else 160
    show_dataset(opened.card, public_url(opened.store.root), PlainConsole(width=width))
    return 0


def _say_series(console: Console, card: "SeriesCard", store: Store) -> int:
    from pipeline.point_series.table_writer import LEFT_OUT

    say(console, f"Series    {card.rows} of {card.points} points: {store.path()}")
    _say_left_out(console, 10, card.left_out, store, LEFT_OUT)
    if count := card.made.get("rasters left out"):
        text = f"{count} rasters could not be read and were left out"
        say(console, f"warning: {text}, for one {card.made['for one'][0]}")
    return 0


def _say_ground(console: Console, card: "GroundCard", store: Store) -> int:
    from pipeline.ground_views.table import UNREADABLE

    address = public_url(store.path())
    say(console, f"Ground    {card.rows} {card.kind} of {card.points} points: {address}")
    _say_left_out(console, 10, card.left_out, store, UNREADABLE)
    return 0


def _say_left_out(
    console: Console, column: int, left_out: Mapping[str, int], store: Store, names: str
) -> None:
    """Print how many rows were left out for each reason, and the file that names them."""
    for reason, count in left_out.items():
        say(console, f"{'Left out':<{column}}{count}: {reason}")
    if left_out and store.exists(names):
        say(console, f"{'':<{column}}named in {public_url(store.path(names))}")
