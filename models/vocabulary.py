"""Vocabularies: the classes of a map, the words that ask for them, and their text embeddings."""

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from models.colours import distinct_colours
from models.errors import VocabularyError
from models.text import TextTower

_SHIPPED = Path(__file__).parent / "vocabularies"
_REMEDY = "Correct the file; the shipped vocabularies show how"
_PLAIN, _WITH_ARTICLE = "{}", "{a}"
# Control characters, line breaks among them, belong in no name; XML styles would not open.
_Name = Annotated[str, Field(pattern=r"^\P{Cc}*[^\p{Cc}\s]\P{Cc}*$")]
_Text = Annotated[str, Field(pattern=r"^\P{Cc}*$")]
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")

TEMPLATES = (
    "a photo of {}.",
    "a photo of {a}.",
    "a land cover photo of {}.",
    "a land cover photo of {a}.",
    "an image of {}.",
    "an image of {a}.",
)
"""The paper's templates (arXiv 2508.11919), each without and with an article."""


class VocabularyClass(BaseModel):
    """One class of a map.

    `prompts` are the phrases that mean it (default: its name), `colour` is "#rrggbb", `code` its
    code in the nomenclature, `value` its value in the raster, 1 to 65535 (0 is nodata).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    prompts: tuple[_Text, ...]
    colour: str
    code: _Text | None = None
    value: StrictInt

    @model_validator(mode="before")
    @classmethod
    def _prompt_defaults_to_name(cls, raw: Any) -> Any:
        return (
            {"prompts": (raw["name"],), **raw} if isinstance(raw, dict) and "name" in raw else raw
        )

    @field_validator("prompts")
    @classmethod
    def _prompts_say_something(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        if not prompts or not all(prompt.strip() for prompt in prompts):
            raise ValueError("prompts must be one or more, none empty")
        return tuple(prompt.strip() for prompt in prompts)

    @field_validator("colour")
    @classmethod
    def _is_colour(cls, colour: str) -> str:
        if not _COLOUR.fullmatch(colour):
            raise ValueError(f'{colour!r} is no colour "#rrggbb"')
        return colour.lower()

    @field_validator("value")
    @classmethod
    def _fits_raster(cls, value: int) -> int:
        if not 1 <= value <= 65535:
            raise ValueError(f"{value} is outside 1 to 65535 (0 is nodata)")
        return value


class Vocabulary(BaseModel):
    """The classes of a map, in order, with the sentences (templates) that their prompts go into.

    A template holds one slot: "{}" takes the prompt as it is, "{a}" the prompt with "a" or "an".
    A class without `value` takes its place in the list, counted from 1; one without `colour`
    takes one by rule, distinct from all others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name
    title: _Text
    source: _Text
    licence: _Text
    templates: tuple[_Text, ...] = Field(TEMPLATES, min_length=1)
    classes: tuple[VocabularyClass, ...]

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        classes = raw.get("classes") if isinstance(raw, dict) else None
        if not isinstance(classes, list | tuple) or not all(isinstance(c, dict) for c in classes):
            return raw
        given = [c["colour"] for c in classes if _COLOUR.fullmatch(str(c.get("colour")))]
        lacking = sum("colour" not in entry for entry in classes)
        made = iter(distinct_colours(lacking, given) if lacking else ())
        filled = [
            {"value": place, **({} if "colour" in entry else {"colour": next(made)}), **entry}
            for place, entry in enumerate(classes, start=1)
        ]
        return {**raw, "classes": filled}

    @field_validator("templates")
    @classmethod
    def _one_slot(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count(_PLAIN) + template.count(_WITH_ARTICLE) != 1:
                raise ValueError(f'{template!r} must hold one slot, "{{}}" or "{{a}}"')
        return templates

    @model_validator(mode="after")
    def _classes_differ(self) -> "Vocabulary":
        if not self.classes:
            raise ValueError("it has no classes")
        if len(self.classes) == 1:
            raise ValueError(f"{self.classes[0].name!r} is its only class; a map needs two or more")
        keys: dict[str, list[Any]] = {
            "name": [entry.name.strip().casefold() for entry in self.classes],
            "code": [entry.code for entry in self.classes if entry.code is not None],
            "value": [entry.value for entry in self.classes],
        }
        for what, values in keys.items():
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                raise ValueError(f"{what} {', '.join(map(str, twice))} occurs more than once")
        return self

    @property
    def dtype(self) -> np.dtype:
        """What a raster of these classes needs: uint8, or uint16 for values above 255."""
        return np.dtype(np.uint8 if max(c.value for c in self.classes) <= 255 else np.uint16)


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
        return make_vocabulary(tomllib.loads(path.read_text(encoding="utf-8")), str(name_or_path))
    except OSError:  # absent, a folder, or words too long for a file's name
        raise VocabularyError(
            str(name_or_path),
            "neither a shipped vocabulary nor a TOML file",
            f"Shipped are: {', '.join(shipped_vocabularies())}",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise VocabularyError(str(name_or_path), f"not valid TOML ({error})", _REMEDY) from error


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


def embed_vocabulary(vocabulary: Vocabulary, tower: TextTower) -> np.ndarray:
    """The text embedding of each class: float32 (class, dim), unit length.

    Every prompt in every template is embedded and normalised, their mean a class is normalised
    again, as the paper does.
    """
    sentences = [_sentences(entry, vocabulary.templates) for entry in vocabulary.classes]
    embeddings = tower.embed([text for texts in sentences for text in texts]).astype(np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    starts = np.cumsum([0, *map(len, sentences[:-1])])
    sums = np.add.reduceat(embeddings, starts, axis=0)
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)


def with_article(phrase: str) -> str:
    """The phrase with "a" or "an" before it, by its first letter; one with an article stays."""
    first = phrase.split(maxsplit=1)[0].casefold()
    if first in {"a", "an", "the"}:
        return phrase
    sounds_as_consonant = first.startswith(("eu", "uni", "use", "one"))
    vowel = first[0] in "aeiou" and not sounds_as_consonant
    return f"{'an' if vowel else 'a'} {phrase}"


def _sentences(entry: VocabularyClass, templates: tuple[str, ...]) -> list[str]:
    return [
        template.replace(_PLAIN, prompt)
        if _PLAIN in template
        else template.replace(_WITH_ARTICLE, with_article(prompt))
        for prompt in entry.prompts
        for template in templates
    ]


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for entry in error.errors():
        where, reason = _where(entry["loc"]), entry["msg"].removeprefix("Value error, ")
        if entry["type"] == "extra_forbidden":
            model = VocabularyClass if len(entry["loc"]) > 1 else Vocabulary
            near = difflib.get_close_matches(str(entry["loc"][-1]), model.model_fields, 1)
            reason = "unknown key" + (f" (did you mean {near[0]}?)" if near else "")
        elif entry["type"] == "string_pattern_mismatch":
            reason = "has a line break or another control character"
            reason = "is empty" if not str(entry["input"]).strip() else reason
        problems.append(f"{where}: {reason}" if where else reason)
    return problems


def _where(location: tuple[int | str, ...]) -> str:
    """("classes", 2, "colour") → "class 3, colour", counted as one reads the file."""
    if len(location) > 1 and location[0] == "classes":
        return ", ".join([f"class {int(location[1]) + 1}", *map(str, location[2:])])
    return ".".join(map(str, location))
