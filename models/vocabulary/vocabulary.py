"""Vocabularies: the classes of a map and the words that ask for them."""

import difflib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from models.errors import VocabularyError
from models.toml_file import parse_toml
from models.vocabulary.prompts import TEMPLATES, has_one_slot
from models.vocabulary.vocabulary_class import (
    Name,
    Prompts,
    Text,
    VocabularyClass,
    VocabularyParent,
    repeated,
    with_defaults,
)

_SHIPPED = Path(__file__).parents[1] / "vocabularies"
NONE = "none of these"
"""What the class is called of pixels that are none of a vocabulary's."""
_NONE_COLOUR = "#bdbdbd"
_REMEDY = "Correct the file; the shipped vocabularies show how"
_PARTS: dict[str, tuple[str, type[BaseModel]]] = {
    "classes": ("class", VocabularyClass),
    "parents": ("parent", VocabularyParent),
}


class Vocabulary(BaseModel):
    """The classes of a map, in order, with the sentences (templates) that their prompts go into.

    A template holds one slot: "{}" takes the prompt as it is, "{a}" the prompt with "a" or "an".
    A class without `value` takes its place in the list, counted from 1; one without `colour`
    takes one by rule, distinct from all others. The same holds for `parents`; where there are
    any, every class names one (`VocabularyClass.parent`), and `level` says which of the two a map
    shows: a pixel's nearest class, or that class's parent. `background` are phrases for what is
    none of the classes; `threshold` is the cosine similarity below which a pixel is none of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    title: Text
    source: Text
    licence: Text
    templates: tuple[Text, ...] = Field(TEMPLATES, min_length=1)
    background: Prompts = ()
    threshold: float | None = Field(None, gt=-1, lt=1)
    level: Literal["class", "parent"] = "class"
    parents: tuple[VocabularyParent, ...] = ()
    classes: tuple[VocabularyClass, ...]

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        return {**raw, **{part: with_defaults(raw[part]) for part in _PARTS if part in raw}}

    @field_validator("templates")
    @classmethod
    def _one_slot(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if not has_one_slot(template):
                raise ValueError(f'{template!r} must hold one slot, "{{}}" or "{{a}}"')
        return templates

    @model_validator(mode="after")
    def _fits_together(self) -> "Vocabulary":
        problems = repeated(self.classes)
        if not self.classes:
            problems.append("it has no classes")
        elif len(self.classes) == 1:
            problems.append(f"{self.classes[0].name!r} is its only class; a map needs two or more")
        problems += [f"parents: {problem}" for problem in repeated(self.parents)]
        problems += _misfits(self.classes, self.parents)
        asked = {prompt.casefold() for entry in self.classes for prompt in entry.prompts}
        if both := [prompt for prompt in self.background if prompt.casefold() in asked]:
            problems.append(f"background: {', '.join(map(repr, both))} also means a class")
        if self.level == "parent" and not self.parents:
            problems.append("level: its classes have no parents")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def dtype(self) -> np.dtype:
        """What a raster of these classes, or of their parents, needs.

        uint8, or uint16 where a value is above 254: the highest number of either is
        `none_value`.
        """
        highest = max(entry.value for entry in (*self.classes, *self.parents))
        return np.dtype(np.uint8 if highest < np.iinfo(np.uint8).max else np.uint16)

    @property
    def legend(self) -> tuple[VocabularyParent, ...]:
        """What a map of this vocabulary may show, at its level: names, colours and values."""
        entries = self.parents if self.level == "parent" else self.classes
        if not self.background and self.threshold is None:
            return tuple(entries)
        # Constructed unchecked: its value is the one that no class may have.
        none = VocabularyParent.model_construct(
            name=NONE, colour=_NONE_COLOUR, code=None, value=self.none_value
        )
        return (*entries, none)

    @property
    def none_value(self) -> int:
        """What a pixel takes that is none of the classes: 255 in uint8, 65535 in uint16."""
        return int(np.iinfo(self.dtype).max)

    @property
    def parent_index(self) -> np.ndarray:
        """The place in `parents` of each class's parent: int64 (class,).

        Raises ValueError where there are no parents.
        """
        places = {parent.key: place for place, parent in enumerate(self.parents)}
        if not places:
            raise ValueError(f"vocabulary {self.name} has no parents")
        return np.array([places[str(entry.parent)] for entry in self.classes])


def shipped_vocabularies() -> tuple[str, ...]:
    """The names of the vocabularies that come with timesen, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """The vocabulary of a shipped name or of a TOML file; a shipped name goes first.

    Raises VocabularyError that names everything that is wrong.
    """
    shipped = str(name_or_path) in shipped_vocabularies()
    path = _SHIPPED / f"{name_or_path}.toml" if shipped else Path(name_or_path).expanduser()
    try:
        content = path.read_bytes()
    except OSError:  # absent, a folder, or words too long for a file's name
        raise VocabularyError(
            str(name_or_path),
            "neither a shipped vocabulary nor a TOML file",
            f"Shipped are: {', '.join(shipped_vocabularies())}",
        ) from None
    raw = parse_toml(content, str(name_or_path), VocabularyError)
    return make_vocabulary(raw, str(name_or_path))


def vocabulary_from_words(words: str) -> Vocabulary:
    """The vocabulary of classes in words, separated by commas: "wheat field, forest, lake".

    Names stay as written, values count from 1, colours are made by rule, templates are
    `TEMPLATES`. Raises VocabularyError.
    """
    names = [word.strip() for word in words.split(",") if word.strip()]
    raw = {
        "name": "words",
        "title": ", ".join(names),
        "source": "classes in words",
        "licence": "none",
        "classes": [{"name": name} for name in names],
    }
    return make_vocabulary(raw, f"classes {words!r}", "Give two or more, separated by commas")


def make_vocabulary(raw: dict[str, Any], source: str, remedy: str = _REMEDY) -> Vocabulary:
    """A validated vocabulary; raises VocabularyError that names everything that is wrong."""
    try:
        return Vocabulary.model_validate(raw)
    except ValidationError as error:
        raise VocabularyError(source, "; ".join(_problems(error)), remedy) from None


def _misfits(
    classes: tuple[VocabularyClass, ...], parents: tuple[VocabularyParent, ...]
) -> list[str]:
    """What is wrong between classes and parents, in words."""
    if not parents:
        orphans = [entry.name for entry in classes if entry.parent is not None]
        return [f"parent: {', '.join(orphans)} name one, and there are no parents"] * bool(orphans)
    keys = [parent.key for parent in parents]
    problems = []
    for place, entry in enumerate(classes, start=1):
        if entry.parent is None:
            problems.append(f"class {place}, parent: {entry.name!r} names none")
        elif entry.parent not in keys:
            near = difflib.get_close_matches(entry.parent, keys, 3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"they are {', '.join(keys)}"
            problems.append(
                f"class {place}, parent: {entry.parent!r} is none of the parents ({hint})"
            )
    named = {entry.parent for entry in classes}
    if childless := [key for key in keys if key not in named]:
        problems.append(f"parents: {', '.join(childless)} without a class")
    return problems


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for entry in error.errors():
        where, reason = _where(entry["loc"]), entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            _, model = _PARTS.get(str(entry["loc"][0]), ("", Vocabulary))
            near = difflib.get_close_matches(str(entry["loc"][-1]), model.model_fields, 1)
            reason = "unknown key" + (f" (did you mean {near[0]}?)" if near else "")
        elif entry["type"] == "string_pattern_mismatch":
            reason = "has a line break or another control character"
            reason = "is empty" if not str(entry["input"]).strip() else reason
        problems.append(f"{where}: {reason}" if where else reason)
    return problems


def _where(location: tuple[int | str, ...]) -> str:
    """("classes", 2, "colour") → "class 3, colour", counted as one reads the file."""
    if len(location) > 1 and location[0] in _PARTS:
        word, _ = _PARTS[str(location[0])]
        return ", ".join([f"{word} {int(location[1]) + 1}", *map(str, location[2:])])
    return ".".join(map(str, location))
