"""The command `timesen init`: a file of settings to begin with, each with its description.

The file follows from the settings model, as the options of `timesen map` do: what is asked for
stands in it as values, and all others as comments with their defaults.
"""

import json
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import BaseModel
from rich.prompt import Prompt

from flows.cli.app import argument, command_app, named_option
from flows.cli.input_checks import require_inputs, require_named
from flows.execution.console import PlainConsole, say
from models.errors import UserError
from models.option import Option
from pipeline.errors import OutputError
from pipeline.io.store import Store
from pipeline.settings.load import anchored, note_of, section_of, validated
from pipeline.settings.map import REMEDY, MapSettings

_WIDTH = 98
_EXAMPLES = {
    "region": "5.9,49.5,6.1,49.7",
    "classes": "wheat field, maize field, pasture, forest, lake, town",
    "checkpoint": "real-land",
    "catalog": "earth-search",
    "out": "runs/my-region",
}
_KINDS = {  # of `models.option.Names`
    **{name: name for name in ("region", "classes", "vocabulary", "checkpoint", "catalog")},
    "out": "run to go on with",
}
_QUESTIONS = {
    "region": "Region (a file of polygons; west,south,east,north; or MGRS tiles)",
    "year": "Year",
    "classes": "Classes in words, with commas (or the name of a vocabulary)",
    "checkpoint": "Checkpoint (a name or folder)",
    "catalog": "Catalogue (earth-search, planetary-computer, cdse, a URL, a folder)",
    "out": "Folder of the map",
}

init_app = command_app(
    "init",
    examples=(
        "timesen init",
        "timesen init run.toml --region aoi.gpkg --year 2024 --vocabulary lucas-land-cover",
    ),
)


@init_app.default
def write_settings(
    file: Annotated[Path, argument("RUN.toml", "The file to write.")] = Path("run.toml"),
    /,
    *,
    region: Annotated[
        str | None,
        Parameter(metavar="FILE|BBOX|TILES", allow_leading_hyphen=True, help="The region."),
    ] = None,
    year: Annotated[str | None, Parameter(metavar="YEAR", help="The year, or last.")] = None,
    classes: Annotated[str | None, Parameter(metavar="WORDS", help="Classes in words.")] = None,
    vocabulary: Annotated[
        str | None, named_option("NAME|FILE", "A vocabulary in place of words.", "vocabulary")
    ] = None,
    checkpoint: Annotated[
        str | None, named_option("NAME|FOLDER", "The encoder.", "checkpoint")
    ] = None,
    catalog: Annotated[
        str | None, named_option("NAME|URL|FILE", "Where the items come from.", "catalog")
    ] = None,
    out: Annotated[str | None, Parameter(metavar="FOLDER|S3-URL", help="The run's folder.")] = None,
) -> int:
    """Write the settings of a run to a file, each with its description and default.

    At a terminal it asks for what no option gives; elsewhere examples stand in the file. A file
    that is there is never replaced.
    """
    exists = OutputError(str(file), "it is there already", "Name another file, or remove it")
    if file.exists():
        raise exists
    given = {
        "region": region,
        "year": year,
        "classes": classes,
        "vocabulary": vocabulary,
        "checkpoint": checkpoint,
        "catalog": catalog,
        "out": out,
    }
    console = PlainConsole()
    known = {name: text for name, text in given.items() if text is not None}
    if sys.stdin.isatty() and console.is_terminal:
        known = _asked(known, console)
    raw = _raw(_examples() | known if "vocabulary" not in known else _without_words() | known)
    require_inputs(validated(MapSettings, raw, "the settings", REMEDY))
    if file.absolute().parent != Path.cwd():  # a file's paths start at its folder
        raw = anchored(MapSettings, raw, Path())
    text = settings_text(MapSettings, raw)
    validated(MapSettings, tomllib.loads(text), str(file), REMEDY)
    if not Store(str(file.parent)).create(file.name, text.encode()):
        raise exists
    say(console, f"Settings  {file}")
    say(console, f"Look at them, then: timesen plan {file}")
    return 0


def settings_text(model: type[BaseModel], raw: Mapping[str, Any]) -> str:
    """A TOML file of a model's settings: those of `raw` as values, all others as comments."""
    lines = [
        '# The settings of a map. Those behind "#" are defaults; remove the "#" to set another.',
        "# `timesen plan` shows what a run would do, `timesen map` makes the map.",
    ]
    return "\n".join([*lines, *_lines(model, raw)]) + "\n"


def _lines(model: type[BaseModel], raw: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """The lines of a section; sections below it come last, as TOML has them."""
    sections = []
    for name, field in model.model_fields.items():
        if section := section_of(field):
            sections.append((name, section))
        elif not (note_of(field, Option) or Option()).hidden:
            yield ""
            yield from textwrap.wrap(
                field.description or "", _WIDTH, initial_indent="# ", subsequent_indent="# "
            )
            default = field.get_default(call_default_factory=True)
            is_set = name in raw
            value = raw[name] if is_set else None if field.is_required() else default
            yield f"{'' if is_set else '# '}{name} = {'…' if value is None else _toml(value)}"
    for name, section in sections:
        yield from ("", f"[{place}{name}]")
        yield from _lines(section, raw.get(name, {}), f"{place}{name}.")


def _toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, Mapping):
        pairs = [f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers, true and false are as in JSON


def _examples() -> dict[str, str]:
    return {**_EXAMPLES, "year": str(datetime.now(UTC).year - 1)}


def _without_words() -> dict[str, str]:
    return {name: text for name, text in _examples().items() if name != "classes"}


def _raw(texts: Mapping[str, str]) -> dict[str, Any]:
    """Settings as a file holds them."""
    raw: dict[str, Any] = {name: text for name, text in texts.items() if name != "catalog"}
    raw["catalog"] = {"url": texts["catalog"]}
    if raw["year"].isdecimal():
        raw["year"] = int(raw["year"])
    return raw


def _asked(known: Mapping[str, str], console: PlainConsole) -> dict[str, str]:
    """What was given, and answers to questions about the rest; wrong ones are asked again."""
    answers, examples = dict(known), _examples()
    for name, question in _QUESTIONS.items():
        if name in answers or (name == "classes" and "vocabulary" in answers):
            continue
        while True:
            text = Prompt.ask(question, console=console, default=examples[name]).strip()
            key = _meant(name, text)
            rest = examples if key != "vocabulary" else _without_words()
            try:
                validated(MapSettings, _raw({**rest, key: text}), text, "Give another")
                if key in _KINDS:
                    require_named(_KINDS[key], text)
            except UserError as error:
                say(console, str(error))
                continue
            answers[key] = text
            break
    return answers


def _meant(name: str, text: str) -> str:
    """The setting that an answer is for: one word may name a vocabulary, in place of classes."""
    from models.vocabulary.vocabulary import shipped_vocabularies

    is_vocabulary = text in shipped_vocabularies() or text.endswith(".toml")
    return "vocabulary" if name == "classes" and is_vocabulary else name
