"""Settings loaded and validated: what a TOML file says, with what the command line says over it.

All of it follows from the annotations of the settings model: its sections, which texts are paths,
and which setting puts another aside.
"""

import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from models.files.toml_file import parse_toml
from models.near_names import did_you_mean
from models.option import Option, RelativePath
from models.validation_words import plain_problem
from models.visible_text import visible_lines
from pipeline.errors import SettingsError

Settings = TypeVar("Settings", bound=BaseModel)
Note = TypeVar("Note")


def load_settings(
    model: type[Settings],
    options: Mapping[str, Any],
    file: Path | None = None,
    remedy: str = "`timesen --help` lists the commands and their settings",
) -> Settings:
    """Load settings from a TOML file and from options, which go before the file.

    Args:
        model: The settings model.
        options: Settings of the command line, sections as dictionaries. Relative paths start at
            the current folder.
        file: A TOML file. Relative paths in it start at its folder.
        remedy: What helps, in an error's message.

    Raises:
        SettingsError: It names each setting that is wrong.
    """
    raw = anchored(model, options, Path())
    source = "the command line"
    if file is not None:
        source = str(file)
        raw = laid_over(model, anchored(model, read_settings_file(file), file.parent), raw)
    return validated(model, raw, source, remedy)


def read_settings_file(file: Path) -> dict[str, Any]:
    """The settings that a TOML file holds, unchecked. Raises SettingsError."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise SettingsError(str(file), "there is no such file", "Give a TOML file") from None
    except OSError as error:
        raise SettingsError(
            str(file), f"it cannot be read ({error.strerror})", "Give a TOML file"
        ) from None
    return parse_toml(content, str(file), SettingsError)


def validated(model: type[Settings], raw: Mapping[str, Any], source: str, remedy: str) -> Settings:
    """Validate settings.

    Args:
        model: The settings model.
        raw: The settings, sections as dictionaries.
        source: Where they come from, for the message.
        remedy: What helps, for the message.

    Raises:
        SettingsError: It names each setting that is wrong.
    """
    if unsafe := ", ".join(_unsafe(raw)):
        problem = "a text holds a control character, or half of a surrogate pair"
        raise SettingsError(source, f"{unsafe}: {problem}", remedy)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        entries = error.errors()
        # A list without its wrong values seems too short: these are told, not that.
        wrong = [entry["loc"][:-1] for entry in entries]
        told = [e for e in entries if e["type"] != "too_short" or e["loc"] not in wrong]
        problems = "; ".join(_problem(model, entry) for entry in told)
        raise SettingsError(source, problems, remedy) from None


def anchored(model: type[BaseModel], raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings with paths made absolute; relative ones start at `folder`."""
    result = dict(raw)
    for name, field in model.model_fields.items():
        value, section = raw.get(name), section_of(field)
        if section is not None and isinstance(value, Mapping):
            result[name] = anchored(section, value, folder)
        elif path := note_of(field, RelativePath):
            if isinstance(value, str):
                result[name] = path.anchored(value, folder)
            elif isinstance(value, list | tuple):
                result[name] = [
                    path.anchored(text, folder) if isinstance(text, str) else text for text in value
                ]
    return result


def laid_over(
    model: type[BaseModel], base: Mapping[str, Any], over: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings `base` with those of `over` in their place, section by section."""
    result = dict(base)
    for name, value in over.items():
        field = model.model_fields.get(name)
        section = section_of(field) if field else None
        if section is not None and isinstance(value, Mapping):
            below = result.get(name, {})
            if isinstance(below, Mapping):  # what stands there else is refused by the validation
                result[name] = laid_over(section, below, value)
            continue
        result[name] = value
        option = note_of(field, Option) if field else None
        if option and option.replaces and option.replaces not in over:
            result.pop(option.replaces, None)
    return result


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is a section, else None."""
    for kind in _parts(field.annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def note_of(field: FieldInfo, kind: type[Note]) -> Note | None:
    """Return the first note of a kind in a field's annotation, or in a type that it is made of."""
    for found in (*field.metadata, *_notes(field.annotation)):
        if isinstance(found, kind):
            return found
    return None


def _parts(annotation: Any) -> Iterator[Any]:
    """The types of which one is given: those of a union, without notes."""
    if get_origin(annotation) is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _notes(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        yield from notes
        yield from _notes(inner)
    else:
        for part in get_args(annotation):
            yield from _notes(part)


def _unsafe(raw: Mapping[str, Any]) -> list[str]:
    """The settings whose texts hold control characters other than line breaks and tabs."""
    found, left = [], [(str(name), value) for name, value in raw.items()]
    while left:
        name, value = left.pop()
        if isinstance(value, Mapping):
            left += [(f"{name}.{key}", each) for key, each in value.items()]
        elif isinstance(value, list | tuple):
            left += [(name, each) for each in value]
        elif isinstance(value, str) and visible_lines(value) != value:
            found.append(name)
    return sorted(set(found))


def _problem(model: type[BaseModel], entry: ErrorDetails) -> str:
    """A setting that is wrong and what is wrong with it."""
    place, kind = entry["loc"], entry["type"]
    message = plain_problem(entry)
    where = ".".join(map(str, place))
    if kind in ("model_type", "model_attributes_type"):
        message = f"this is a section: write [{where}] and its settings below"
    elif kind == "extra_forbidden":
        message = "there is no such setting"
        message += did_you_mean(str(place[-1]), _names(model, place[:-1])) or _elsewhere(
            model, str(place[-1])
        )
    return f"{where}: {message}" if where else message


def _elsewhere(model: type[BaseModel], name: str) -> str:
    """Where a setting stands that was written in another section; empty where there is none."""
    for section_name, field in model.model_fields.items():
        section = section_of(field)
        if section is not None and name in section.model_fields:
            return f"; {name} belongs below [{section_name}]"
    return f"; {name} belongs above all sections" if name in model.model_fields else ""


def _names(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    for name in place:
        field = model.model_fields.get(str(name))
        section = section_of(field) if field else None
        if section is None:
            return []
        model = section
    return list(model.model_fields)
