"""A class of a map and the parent that it may have; what their fields may hold."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    field_validator,
    model_validator,
)

from models.vocabulary.colours import distinct_colours

# Control characters, line breaks among them, belong in no name; XML styles would not open.
Name = Annotated[str, Field(pattern=r"^\P{Cc}*[^\p{Cc}\s]\P{Cc}*$")]
"""Text of one line that is not blank."""
Text = Annotated[str, Field(pattern=r"^\P{Cc}*$")]
"""Text of one line."""

MOST = 65534
"""The highest value of a class: 65535 is what "none of these" takes in a uint16 raster."""
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def _saying_something(prompts: tuple[str, ...]) -> tuple[str, ...]:
    if not all(prompt.strip() for prompt in prompts):
        raise ValueError("no prompt may be empty")
    return tuple(prompt.strip() for prompt in prompts)


Prompts = Annotated[tuple[Text, ...], AfterValidator(_saying_something)]
"""Phrases, none empty, without spaces around them."""


class VocabularyParent(BaseModel):
    """What several classes of a map belong to, and what every class is by itself.

    `colour` is "#rrggbb", `code` the code in the nomenclature, `value` the value in the raster,
    1 to `MOST` (0 is nodata).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    colour: str
    code: Name | None = None
    value: StrictInt

    @property
    def key(self) -> str:
        """What a class calls it by: its code, or its name where it has none."""
        return self.name if self.code is None else self.code

    @field_validator("colour")
    @classmethod
    def _is_colour(cls, colour: str) -> str:
        if not _COLOUR.fullmatch(colour):
            raise ValueError(f'{colour!r} is no colour "#rrggbb"')
        return colour.lower()

    @field_validator("value")
    @classmethod
    def _fits_raster(cls, value: int) -> int:
        if not 1 <= value <= MOST:
            raise ValueError(
                f'{value} is outside 1 to {MOST} (0 is nodata, {MOST + 1} "none of these")'
            )
        return value


class VocabularyClass(VocabularyParent):
    """One class of a map.

    `prompts` are the phrases that mean it (default: its name), `parent` is the `key` of the
    parent that it belongs to, `bias` is added to its logit (logit scale × cosine): above 0, more
    pixels become of this class.
    """

    prompts: Annotated[Prompts, Field(min_length=1)]
    parent: Text | None = None
    bias: Annotated[float, Field(strict=True, allow_inf_nan=False)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _prompt_defaults_to_name(cls, raw: Any) -> Any:
        return (
            {"prompts": (raw["name"],), **raw} if isinstance(raw, dict) and "name" in raw else raw
        )


def with_defaults(entries: Any) -> Any:
    """Raw classes or parents with the values and colours that they lack.

    One without `value` takes its place in the list, counted from 1; one without `colour` takes
    one by rule, distinct from all others. What is no list of tables stays, to be refused later.
    """
    if not isinstance(entries, list | tuple) or not all(isinstance(e, Mapping) for e in entries):
        return entries
    given = [e["colour"] for e in entries if _COLOUR.fullmatch(str(e.get("colour")))]
    lacking = sum("colour" not in entry for entry in entries)
    made = iter(distinct_colours(lacking, given) if lacking else ())
    return [
        {"value": place, **({} if "colour" in entry else {"colour": next(made)}), **entry}
        for place, entry in enumerate(entries, start=1)
    ]


def repeated(entries: Sequence[VocabularyParent]) -> list[str]:
    """What of entries must differ and does not, in words: names, codes, values."""
    keys: dict[str, list[Any]] = {
        "name": [entry.name.strip().casefold() for entry in entries],
        "code": [entry.code for entry in entries if entry.code is not None],
        "value": [entry.value for entry in entries],
    }
    problems = []
    for what, values in keys.items():
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            problems.append(f"{what} {', '.join(map(str, twice))} occurs more than once")
    return problems
