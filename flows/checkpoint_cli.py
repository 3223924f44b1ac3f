"""The commands `timesen checkpoint …`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from flows.options import explained

checkpoint_app = typer.Typer(
    help="Encoders and what they say of themselves: look, import the authors'.",
    no_args_is_help=True,
)


@checkpoint_app.command(name="import")
@explained
def import_(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.ckpt", help="What the authors' training wrote.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The checkpoint to write.")],
    card: Annotated[
        Path | None,
        typer.Option(
            "--card",
            metavar="CARD.json",
            help="What is known of it, as in a checkpoint's card; may state a part only.",
        ),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            "--bands",
            metavar="B02,B03,…",
            help="The order in which it takes the bands, where the card does not state it.",
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", help="Where the encoder lies in the file, if it holds several."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the checkpoint that is there.")
    ] = False,
) -> int:
    """Make a checkpoint of a file of the TimeSenCLIP authors' training; run nothing in it."""
    from rich.console import Console

    from flows.checkpoint import import_checkpoint

    import_checkpoint(
        model, out, Console(), card=card, bands=_bands(bands), prefix=prefix, replace=replace
    )
    return 0


@checkpoint_app.command()
@explained
def show(
    checkpoint: Annotated[
        str,
        typer.Argument(metavar="NAME|FOLDER", help="A shipped checkpoint's name or a folder."),
    ],
) -> int:
    """Show what a checkpoint is: its card, its parameters, its fingerprint."""
    from rich.console import Console

    from flows.checkpoint import show_checkpoint
    from models.checkpoint import load_checkpoint

    show_checkpoint(load_checkpoint(checkpoint), Console())
    return 0


def _bands(text: str | None) -> list[str] | None:
    """The names in a list, of which the authors write B2 where Sentinel-2's products say B02."""
    if text is None:
        return None
    return [re.sub(r"^B(\d)$", r"B0\1", band.strip().upper()) for band in text.split(",")]
