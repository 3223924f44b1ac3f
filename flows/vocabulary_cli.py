"""The commands `timesen vocabulary …`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.options import explained

vocabulary_app = typer.Typer(
    help="The classes of maps and the words that ask for them: look, check, embed.",
    no_args_is_help=True,
)

_Given = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A shipped vocabulary's name or a TOML file.")
]


@vocabulary_app.command(name="list")
@explained
def list_() -> int:
    """Show the vocabularies that come with timesen."""
    from rich.console import Console

    from flows.vocabulary import list_vocabularies

    list_vocabularies(Console(width=_width()))
    return 0


@vocabulary_app.command()
@explained
def show(vocabulary: _Given) -> int:
    """Show a vocabulary: values, codes, names, colours and prompts of its classes."""
    from rich.console import Console

    from flows.vocabulary import show_vocabulary
    from models.vocabulary import load_vocabulary

    show_vocabulary(load_vocabulary(vocabulary), Console(width=_width()))
    return 0


@vocabulary_app.command()
@explained
def check(vocabulary: _Given) -> int:
    """Check a vocabulary; name everything that is wrong with it."""
    from flows.vocabulary import summary
    from models.vocabulary import load_vocabulary

    print(summary(load_vocabulary(vocabulary)))
    return 0


@vocabulary_app.command()
@explained
def embed(
    vocabulary: _Given,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", help="A shipped checkpoint's name or its folder.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.safetensors", help="Where to write the embeddings."),
    ] = None,
) -> int:
    """Embed a vocabulary by a checkpoint's text tower; name classes that come out alike."""
    from rich.console import Console

    from flows.vocabulary import embed
    from models.vocabulary import load_vocabulary

    embed(load_vocabulary(vocabulary), checkpoint, out, Console())
    return 0


def _width() -> int | None:
    """The terminal's own width; where no terminal is, enough for a table's lines."""
    return None if sys.stdout.isatty() else 160
