"""The commands `timesen vocabulary list | show | check | embed`."""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.app import argument, command_app
from flows.execution.console import say
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary, shipped_vocabularies
from models.vocabulary.vocabulary_class import VocabularyParent
from pipeline.errors import OutputError
from pipeline.io.store import Store

vocabulary_app = command_app(
    "vocabulary", "Show, check and embed vocabularies: the classes of maps and their words."
)
_NameOrFile = Annotated[str, argument("NAME|FILE", "A shipped vocabulary's name, or a TOML file.")]

_ALIKE = 0.95
"""Cosine of two classes' text embeddings above which a map hardly tells them apart."""
_MOST_PAIRS = 10


@vocabulary_app.command(name="list")
def list_vocabularies() -> int:
    """Show the vocabularies that come with timesen: name, number of classes, title."""
    table = Table("name", "classes", "title", box=box.SIMPLE)
    table.columns[1].justify = "right"
    for name in shipped_vocabularies():
        vocabulary = load_vocabulary(name)
        table.add_row(name, str(len(vocabulary.classes)), Text(vocabulary.title))
    _console().print(table)
    return 0


@vocabulary_app.command(name="show")
def show_vocabulary(name: _NameOrFile, /) -> int:
    """Show a vocabulary: values, codes, names, colours and prompts of its classes."""
    vocabulary, console = load_vocabulary(name), _console()
    about = (vocabulary.title, f"source   {vocabulary.source}", f"licence  {vocabulary.licence}")
    for line in about:
        say(console, line)
    if vocabulary.background:
        words = ", ".join(vocabulary.background)
        say(console, f"none of them  {words}")
    if vocabulary.parents:
        parents = Table("value", "code", "parent", "colour", box=box.SIMPLE)
        for parent in vocabulary.parents:
            parents.add_row(*_identity(parent), _swatch(parent.colour))
        console.print(parents)
    headings = ["value", "code", "class", "colour", "prompts"]
    headings += ["parent"] if vocabulary.parents else []
    headings += ["bias"] if any(entry.bias for entry in vocabulary.classes) else []
    table = Table(*headings, box=box.SIMPLE)
    for entry in vocabulary.classes:
        cells = [
            *_identity(entry),
            _swatch(entry.colour),
            Text(" | ".join(", ".join(one) for one in entry.synonyms)),
        ]
        cells += [Text(entry.parent or "")] if vocabulary.parents else []
        cells += [Text(f"{entry.bias:+g}")] if "bias" in headings else []
        table.add_row(*cells)
    console.print(table)
    return 0


@vocabulary_app.command(name="check")
def check_vocabulary(name: _NameOrFile, /) -> int:
    """Check a vocabulary; name everything that is wrong with it."""
    print(summary(load_vocabulary(name)))
    return 0


@vocabulary_app.command(name="embed")
def embed_classes(
    name: _NameOrFile,
    /,
    *,
    checkpoint: Annotated[
        str, Parameter(metavar="NAME|FOLDER", help="A shipped checkpoint's name, or a folder.")
    ],
    out: Annotated[
        Path | None, Parameter(metavar="FILE.safetensors", help="Where to write the embeddings.")
    ] = None,
) -> int:
    """Embed a vocabulary by a checkpoint's text tower; name classes that come out alike.

    The file has `classes`, float32 (text, dim), one text for each member of each class;
    `class_index`, int64 (text,), the class of each text; and `background`, float32 (n, dim).
    """
    # Imported here: torch takes seconds to import, which listing and checking need not spend.
    from safetensors.numpy import save

    from models.encoder.checkpoint import load_checkpoint
    from models.towers.text_embeddings import embed_for_checkpoint

    if out is not None and out.suffix != ".safetensors":
        raise OutputError(
            str(out), "not the name of a safetensors file", "Call it NAME.safetensors"
        )
    vocabulary, console = load_vocabulary(name), Console()
    card = load_checkpoint(checkpoint).card
    found = embed_for_checkpoint(vocabulary, card)
    console.print(
        f"{summary(vocabulary)}: {found.members.shape[1]} dimensions by {card.text_tower}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    pairs = alike(found.classes)
    if pairs:
        names = [entry.name for entry in vocabulary.classes]
        shown = [f"{names[a]} and {names[b]} ({c:.2f})" for a, b, c in pairs[:_MOST_PAIRS]]
        more = f", and {len(pairs) - _MOST_PAIRS} more" if len(pairs) > _MOST_PAIRS else ""
        console.print(
            f"warning: these words mean nearly the same to the text tower (cosine above {_ALIKE}), "
            f"and a map will hardly tell them apart: {'; '.join(shown)}{more}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if out is not None:
        Store(str(out.parent)).write(out.name, save(found.tensors()))
        say(console, f"Embeddings {out}")
    return 0


def summary(vocabulary: Vocabulary) -> str:
    """What a vocabulary is made of, in a sentence."""
    values = [entry.value for entry in vocabulary.classes]
    prompts = sum(len(entry.phrases) for entry in vocabulary.classes)
    parts = [
        f"{len(values)} classes",
        vocabulary.dtype.name,
        f"values {min(values)} to {max(values)}",
        f"{prompts} prompts in {len(vocabulary.templates)} templates",
    ]
    parts += [f"{len(vocabulary.parents)} parents"] if vocabulary.parents else []
    parts += [f"{len(vocabulary.background)} background prompts"] if vocabulary.background else []
    return ", ".join(parts)


def alike(classes: np.ndarray) -> list[tuple[int, int, float]]:
    """The pairs of unit vectors (class, dim) whose cosine is above `_ALIKE`, most alike first."""
    cosine = classes @ classes.T
    first, second = np.nonzero(np.triu(cosine > _ALIKE, k=1))
    pairs = [(int(a), int(b), float(cosine[a, b])) for a, b in zip(first, second, strict=True)]
    return sorted(pairs, key=lambda pair: -pair[2])


def _console() -> Console:
    """A console as wide as the terminal; where there is none, wide enough for a table's lines."""
    return Console(width=None if sys.stdout.isatty() else 160)


def _identity(entry: VocabularyParent) -> list[Text]:
    return [Text(str(entry.value)), Text(entry.code or ""), Text(entry.name)]


def _swatch(colour: str) -> Text:
    return Text.assemble(("██ ", colour), colour)
