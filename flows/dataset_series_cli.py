"""The commands `timesen dataset series` and `timesen dataset sen4map`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options import explained, takes_options
from pipeline.errors import SettingsError

_POINTS = "The points' file"
_OUT = "The table's folder, or s3://bucket/prefix."


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
    out: Annotated[str, typer.Option("--out", help=_OUT)],
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

    from flows.run_dataset import run_series
    from flows.series_settings import SeriesSettings, checked

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
    out: Annotated[str, typer.Option("--out", help=_OUT)],
) -> int:
    """Make the series table of Sen4Map's points, from its patches or the 1×1 crops of them."""
    from rich.console import Console

    from flows.run_dataset import run_series
    from flows.series_settings import Sen4MapSettings, checked

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
