"""The commands `timesen dataset …`: series, what was seen on the ground, and both together."""

import typer

from flows.dataset_ground_cli import pack, photos, show, texts
from flows.dataset_series_cli import sen4map, series

dataset_app = typer.Typer(
    help="Data to train on: series of points, photos or words of them, and training sets.",
    no_args_is_help=True,
)

for _command in (series, sen4map, photos, texts, pack, show):
    dataset_app.command()(_command)
