"""Vocabularies: the classes of a map and the words for them."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.errors import VocabularyError
from models.files.toml_file import parse_toml
from models.near_names import did_you_mean
from models.option import user_path
from models.validation_words import plain_problem
from models.vocabulary.prompts import TEMPLATES, has_one_slot
from models.vocabulary.vocabulary_class import (
    Name,
    Prompts,
    Text,
    VocabularyClass,
    VocabularyParent,
    repetitions,
    with_defaults,
)

_SHIPPED = Path(__file__).parents[1] / "vocabularies"
NONE = "none of these"
"""The name of the class of pixels that belong to no class of the vocabulary."""
_NONE_COLOUR = "#bdbdbd"
_REMEDY = "Correct the file; the shipped vocabularies show how"
_PARTS: dict[str, tuple[str, type[BaseModel]]] = {
    "classes": ("class", VocabularyClass),
    "parents": ("parent", VocabularyParent),
}


class Vocabulary(BaseModel):
    """The classes of a map, in order, and the sentences that their prompts are put into.

    Values and colours that classes and parents lack are filled in, as `with_defaults` says.

    Attributes:
        templates: Each holds one slot: "{}" for the prompt as it is, "{a}" for the prompt with "a"
            or "an".
        background: Phrases for anything that is none of the classes.
        threshold: The cosine similarity below which a pixel is none of the classes.
        level: Whether a map shows a pixel's nearest class, or that class's parent.
        parents: Where there are any, every class names one.
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
        problems = repetitions(self.classes)
        if not self.classes:
            problems.append("it has no classes")
        elif len(self.classes) == 1:
            problems.append(f"{self.classes[0].name!r} is its only class; a map needs two or more")
        problems += [f"parents: {problem}" for problem in repetitions(self.parents)]
        problems += _parent_problems(self.classes, self.parents)
        phrases = {phrase.casefold() for entry in self.classes for phrase in entry.phrases}
        if both := [prompt for prompt in self.background if prompt.casefold() in phrases]:
            problems.append(f"background: {', '.join(map(repr, both))} also means a class")
        if self.level == "parent" and not self.parents:
            problems.append("level: its classes have no parents")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def dtype(self) -> np.dtype:
        """The dtype of a raster of these classes or parents: uint8, or uint16 for values above 254.

        The highest number of either is `none_value`.
        """
        highest = max(entry.value for entry in (*self.classes, *self.parents))
        return np.dtype(np.uint8 if highest < np.iinfo(np.uint8).max else np.uint16)

    @property
    def legend(self) -> tuple[VocabularyParent, ...]:
        """The names, colours and values that a map of this vocabulary may show, at its level."""
        entries = self.parents if self.level == "parent" else self.classes
        if not self.background and self.threshold is None:
            return tuple(entries)
        # Constructed without validation, since no class may have its value.
        none = VocabularyParent.model_construct(
            name=NONE, colour=_NONE_COLOUR, code=None, value=self.none_value
        )
        return (*entries, none)

    @property
    def identity(self) -> str:
        """Its name, and the first digits of a SHA-256 over all on which confidence depends.

        These are classes, words, biases, level, background and threshold, but neither texts about
        the vocabulary nor colours and values.
        """
        confidence = {"background", "threshold", "level", "parents", "classes"}
        # Fields of later versions do not change it where they are not used.
        fields = self.model_dump(mode="json", include=confidence, exclude_defaults=True)
        for entry in (*fields["classes"], *fields.get("parents", ())):
            del entry["colour"], entry["value"]
        fields["templates"] = list(self.templates)
        digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
        return f"{self.name} {digest.hexdigest()[:16]}"

    @property
    def none_value(self) -> int:
        """The value of a pixel that is none of the classes: 255 in uint8, 65535 in uint16."""
        return int(np.iinfo(self.dtype).max)

    @property
    def parent_index(self) -> np.ndarray:
        """The place in `parents` of each class's parent: int64 (class,).

        Raises ValueError where there are no parents.
        """
        if not self.parents:
            raise ValueError(f"vocabulary {self.name} has no parents")
        places = {parent.key: place for place, parent in enumerate(self.parents)}
        return np.array([places[str(entry.parent)] for entry in self.classes])


def shipped_vocabularies() -> tuple[str, ...]:
    """The names of the vocabularies that come with timesen, sorted."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """Load the vocabulary of a shipped name or of a TOML file; a shipped name goes first.

    VocabularyError names everything that is wrong.
    """
    shipped = str(name_or_path) in shipped_vocabularies()
    path = _SHIPPED / f"{name_or_path}.toml" if shipped else user_path(name_or_path)
    try:
        content = path.read_bytes()
    except (OSError, ValueError):  # also words that are too long for a file's name
        raise VocabularyError(
            str(name_or_path),
            "neither a shipped vocabulary nor a TOML file"
            + did_you_mean(str(name_or_path), shipped_vocabularies()),
            f"Shipped are: {', '.join(shipped_vocabularies())}",
        ) from None
    raw = parse_toml(content, str(name_or_path), VocabularyError)
    return make_vocabulary(raw, str(name_or_path))


def vocabulary_from_words(words: str) -> Vocabulary:
    """Make a vocabulary of classes in words, separated by commas: "wheat field, forest, lake".

    A class may have members, separated by bars, after its name and a colon:
    "cropland, other: forest | water | town". Without a name, "forest | water" is its own name.
    Names stay as written, values count from 1, templates are `TEMPLATES`. The colours are
    generated; a map replaces them (`pipeline.classification.word_colours`).
    """
    source = f"classes {words!r}"
    classes = [_class_in_words(word.strip(), source) for word in words.split(",") if word.strip()]
    raw = {
        "name": "words",
        "title": ", ".join(entry["name"] for entry in classes),
        "source": "classes in words",
        "licence": "none",
        "classes": classes,
    }
    return make_vocabulary(raw, source, "Give two or more, separated by commas")


def _class_in_words(word: str, source: str) -> dict[str, Any]:
    """The raw class of "name", "member | member", "name: phrase" or "name: member | member"."""
    name, colon, meaning = (part.strip() for part in word.partition(":"))
    if not colon and "|" not in word:
        return {"name": word}
    members = [member.strip() for member in (meaning if colon else word).split("|")]
    if not name or not all(members):
        missing = "a name before its colon" if not name else "a phrase for each of its members"
        raise VocabularyError(
            source,
            f"{word!r} lacks {missing}",
            'Write members as in "other: forest | water | town"',
        )
    return {"name": name if colon else " | ".join(members), "members": members}


def make_vocabulary(raw: dict[str, Any], source: str, remedy: str = _REMEDY) -> Vocabulary:
    """Validate a vocabulary; VocabularyError names everything that is wrong."""
    try:
        return Vocabulary.model_validate(raw)
    except ValidationError as error:
        problems = _problems(error)
        if any(entry["loc"] for entry in error.errors()):  # then pydantic compares nothing
            problems += _contradictions(raw)
        raise VocabularyError(source, "; ".join(problems), remedy) from None


def _contradictions(raw: Mapping[str, Any]) -> list[str]:
    """What contradicts itself among the classes and parents that are right by themselves."""
    right: dict[str, list[Any]] = {}
    whole: dict[str, bool] = {}
    for part, (_, model) in _PARTS.items():
        entries = with_defaults(raw.get(part, ()))
        entries = entries if isinstance(entries, list | tuple) else ()
        right[part] = [entry for each in entries if (entry := _valid(model, each)) is not None]
        whole[part] = len(right[part]) == len(entries)
    classes, parents = right["classes"], right["parents"]
    problems = repetitions(classes)
    problems += [f"parents: {problem}" for problem in repetitions(parents)]
    if all(whole.values()):  # else what seems to be missing may be what is wrong
        problems += _parent_problems(tuple(classes), tuple(parents))
    return problems


def _valid(model: type[BaseModel], raw: Any) -> BaseModel | None:
    try:
        return model.model_validate(raw)
    except ValidationError:
        return None


def _parent_problems(
    classes: tuple[VocabularyClass, ...], parents: tuple[VocabularyParent, ...]
) -> list[str]:
    """Contradictions between classes and parents, in words."""
    if not parents:
        orphans = [entry.name for entry in classes if entry.parent is not None]
        if not orphans:
            return []
        return [f"parent: {', '.join(orphans)} name one, and there are no parents"]
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
        where, reason = _where(entry["loc"]), plain_problem(entry)
        if entry["type"] == "extra_forbidden":
            _, model = _PARTS.get(str(entry["loc"][0]), ("", Vocabulary))
            reason = f"unknown key{did_you_mean(str(entry['loc'][-1]), model.model_fields)}"
        elif entry["type"] == "string_pattern_mismatch":
            is_blank = not str(entry["input"]).strip()
            reason = "is empty" if is_blank else "has a line break or another control character"
        problems.append(f"{where}: {reason}" if where else reason)
    return problems


def _where(location: tuple[int | str, ...]) -> str:
    """("classes", 2, "colour") → "class 3, colour", counted as one reads the file."""
    if len(location) > 1 and location[0] in _PARTS:
        word, _ = _PARTS[str(location[0])]
        parts = [f"{word} {int(location[1]) + 1}", *map(str, location[2:])]
        if location[2:3] == ("members",) and len(location) > 3:
            parts[1:3] = [f"member {int(location[3]) + 1}"]
        return ", ".join(parts)
    return ".".join(map(str, location))
