"""The commands `timesen vocabulary list | show | check | embed`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.app import argument, command_app, named_option
from flows.cli.input_checks import require_named
from flows.execution.console import PlainConsole, say
from models.errors import UserError
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary, shipped_vocabularies
from models.vocabulary.vocabulary_class import VocabularyParent
from models.vocabulary.wording_check import (
    APART,
    CLOSE,
    close_classes,
    phrases_apart,
    single_wordings,
    with_phrases,
)
from pipeline.errors import OutputError
from pipeline.io.store import Store

vocabulary_app = command_app(
    "vocabulary", "Show, check and embed vocabularies: the classes of maps and their words."
)


def _option(metavar: str, text: str) -> Parameter:
    return Parameter(metavar=metavar, help=text)


_NameOrFile = Annotated[
    str, argument("NAME|FILE", "A shipped vocabulary's name, or a TOML file.", "vocabulary")
]

_MOST_NAMED = 10  # classes or pairs in a warning


_list_app = command_app(
    "vocabulary list",
    examples=(
        "timesen vocabulary list",
        "timesen vocabulary list | grep -i crop",
    ),
)
vocabulary_app.command(_list_app)


@_list_app.default
def list_vocabularies() -> int:
    """Show the vocabularies that come with timesen: name, number of classes, title."""
    table = Table("name", "classes", "title", box=box.SIMPLE)
    table.columns[1].justify = "right"
    for name in shipped_vocabularies():
        vocabulary = load_vocabulary(name)
        table.add_row(name, str(len(vocabulary.classes)), Text(vocabulary.title))
    _console().print(table)
    return 0


_show_app = command_app(
    "vocabulary show",
    examples=(
        "timesen vocabulary show lucas-land-cover",
        "timesen vocabulary show my-classes.toml",
    ),
)
vocabulary_app.command(_show_app)


@_show_app.default
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


_check_app = command_app(
    "vocabulary check",
    examples=(
        "timesen vocabulary check my-classes.toml",
        "timesen vocabulary check my-classes.toml --checkpoint my-checkpoint --close 0.9",
    ),
)
vocabulary_app.command(_check_app)


@_check_app.default
def check_vocabulary(
    name: _NameOrFile,
    /,
    *,
    checkpoint: Annotated[
        str,
        named_option(
            "NAME|FOLDER", "Compare words as this checkpoint's text tower sees them.", "checkpoint"
        ),
    ] = "real-land",
    close: Annotated[
        float, _option("COSINE", "Warn of two classes whose texts are nearer than this.")
    ] = CLOSE,
    apart: Annotated[
        float, _option("COSINE", "Warn of two wordings of a class that are farther apart.")
    ] = APART,
) -> int:
    """Check a vocabulary; name everything that is wrong with it, and warn of words that may fail.

    It warns of classes with a single wording, of two classes that mean nearly the same to the text
    tower, and of wordings of one class (or of one of its members) that mean unlike things.
    """
    for option, cosine in (("--close", close), ("--apart", apart)):
        if not -1 <= cosine <= 1:
            raise UserError(f"{option} {cosine:g}", "it is no cosine", "Give one from -1 to 1")
    vocabulary, console = load_vocabulary(name), _console()
    require_named("checkpoint", checkpoint)
    say(console, summary(vocabulary))
    # Imported here: torch takes seconds to import, which mistakes need not wait for.
    from models.encoder.checkpoint import load_checkpoint
    from models.towers.text_embeddings import embed_for_checkpoint

    card = load_checkpoint(checkpoint).card
    if single := single_wordings(vocabulary):
        _warn(
            console,
            f"a single wording stands for {_some(single)}",
            "Give each some synonyms, so that less depends on how the text tower sees one of them",
        )
    _warn_of_close(console, vocabulary, embed_for_checkpoint(vocabulary, card).members, close)
    phrases = embed_for_checkpoint(with_phrases(vocabulary), card).members
    if found := phrases_apart(vocabulary, phrases, apart):
        pairs = [f"{c}: {w.first} and {w.second} ({w.cosine:.2f})" for c, w in found]
        _warn(
            console,
            f"these wordings of one class lie far apart (cosine below {apart:g}), and their mean "
            f"is near to neither: {_some(pairs, '; ')}",
            "Make them members of the class; then the nearest counts",
        )
    return 0


_embed_app = command_app(
    "vocabulary embed",
    examples=(
        "timesen vocabulary embed lucas-crops --checkpoint real-land",
        "timesen vocabulary embed my-classes.toml --checkpoint real-land --out words.safetensors",
    ),
)
vocabulary_app.command(_embed_app)


@_embed_app.default
def embed_classes(
    name: _NameOrFile,
    /,
    *,
    checkpoint: Annotated[
        str,
        named_option("NAME|FOLDER", "A shipped checkpoint's name, or a folder.", "checkpoint"),
    ],
    out: Annotated[
        Path | None, Parameter(metavar="FILE.safetensors", help="Where to write the embeddings.")
    ] = None,
) -> int:
    """Embed a vocabulary by a checkpoint's text tower; name classes that come out alike.

    The file has `classes`, float32 (text, dim), one text for each member of each class;
    `class_index`, int64 (text,), the class of each text; and `background`, float32 (n, dim).
    """
    if out is not None and out.suffix != ".safetensors":
        raise OutputError(
            str(out), "not the name of a safetensors file", "Call it NAME.safetensors"
        )
    vocabulary, console = load_vocabulary(name), PlainConsole()
    require_named("checkpoint", checkpoint)
    # Imported here: torch takes seconds to import, which listing and mistakes need not spend.
    from safetensors.numpy import save

    from models.encoder.checkpoint import load_checkpoint
    from models.towers.text_embeddings import embed_for_checkpoint

    card = load_checkpoint(checkpoint).card
    found = embed_for_checkpoint(vocabulary, card)
    console.print(
        f"{summary(vocabulary)}: {found.members.shape[1]} dimensions by {card.text_tower}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    _warn_of_close(console, vocabulary, found.members)
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


def _warn_of_close(
    console: Console, vocabulary: Vocabulary, members: np.ndarray, close: float = CLOSE
) -> None:
    if found := close_classes(vocabulary, members, close):
        pairs = [f"{w.first} and {w.second} ({w.cosine:.2f})" for w in found]
        _warn(
            console,
            f"these words mean nearly the same to the text tower (cosine above {close:g}), and a "
            f"map will hardly tell them apart: {_some(pairs, '; ')}",
            "Choose words that name the difference, or make one class of both",
        )


def _warn(console: Console, problem: str, remedy: str) -> None:
    console.print(
        f"warning: {problem}. {remedy}.",
        style="yellow",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _some(texts: Sequence[str], separator: str = ", ") -> str:
    """The first texts, and how many more there are."""
    more = f", and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return separator.join(texts[:_MOST_NAMED]) + more


def _console() -> Console:
    """A console as wide as the terminal; where there is none, wide enough for a table's lines."""
    return PlainConsole(width=None if sys.stdout.isatty() else 160)


def _identity(entry: VocabularyParent) -> list[Text]:
    return [Text(str(entry.value)), Text(entry.code or ""), Text(entry.name)]


def _swatch(colour: str) -> Text:
    return Text.assemble(("██ ", colour), colour)
