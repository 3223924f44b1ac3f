"""The classes of a map and their parents, and the types of their fields."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictInt,
    field_validator,
    model_serializer,
    model_validator,
)

from models.vocabulary.colours import distinct_colours

# Control characters, line breaks among them, belong in no name; XML styles would not open. Those
# that turn the order of letters around would show another name.
_UNSAFE = r"\p{Cc}\u{2028}\u{2029}\u{202a}-\u{202e}\u{2066}-\u{2069}\u{fffe}\u{ffff}"
Name = Annotated[str, Field(pattern=rf"^[^{_UNSAFE}]*[^{_UNSAFE}\s][^{_UNSAFE}]*$")]
"""Text of one line that is not blank."""
Text = Annotated[str, Field(pattern=rf"^[^{_UNSAFE}]*$")]
"""Text of one line."""

_HIGHEST = 65534  # value of a class; 65535 is "none of these" in a uint16 raster
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def _strip(prompts: tuple[str, ...]) -> tuple[str, ...]:
    stripped = tuple(prompt.strip() for prompt in prompts)
    if not all(stripped):
        raise ValueError("no prompt may be empty")
    return stripped


Prompts = Annotated[tuple[Text, ...], AfterValidator(_strip)]
"""Phrases, none empty, without spaces around them."""


def _one_phrase(raw: Any) -> Any:
    return (raw,) if isinstance(raw, str) else raw


_Member = Annotated[Prompts, Field(min_length=1), BeforeValidator(_one_phrase)]
"""The phrases that mean a member; a plain string counts as a list of one."""


class VocabularyParent(BaseModel):
    """A parent, to which several classes of a map belong; also the fields that every class has.

    Attributes:
        colour: "#rrggbb".
        code: Its code in the nomenclature.
        value: Its value in the raster, 1 to 65534 (0 is nodata).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    colour: str
    code: Name | None = None
    value: StrictInt

    @property
    def key(self) -> str:
        """The reference to it from a class: its code, or its name where it has none."""
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
        if not 1 <= value <= _HIGHEST:
            raise ValueError(
                f'{value} is outside 1 to {_HIGHEST} (0 is nodata, {_HIGHEST + 1} "none of these")'
            )
        return value


class VocabularyClass(VocabularyParent):
    """One class of a map.

    Attributes:
        prompts: The phrases that mean it; by default its name. Empty where it has members.
        members: Unlike things whose union it is, in place of `prompts`: the phrases that mean each.
            A pixel is compared with the nearest member.
        parent: The `key` of its parent.
        bias: Added to its logit (logit scale × cosine): above 0, more pixels get this class.
    """

    prompts: Annotated[Prompts, Field(min_length=1)] = ()
    members: Annotated[tuple[_Member, ...], Field(min_length=1)] = ()
    parent: Text | None = None
    bias: Annotated[float, Field(strict=True, allow_inf_nan=False)] = 0.0

    @property
    def synonyms(self) -> tuple[tuple[str, ...], ...]:
        """The phrases of each member; a class without members counts as one with one."""
        return self.members or (self.prompts,)

    @property
    def phrases(self) -> tuple[str, ...]:
        """All phrases of the class."""
        return tuple(phrase for one in self.synonyms for phrase in one)

    @model_validator(mode="before")
    @classmethod
    def _prompt_defaults_to_name(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or "name" not in raw or "members" in raw:
            return raw
        return {"prompts": (raw["name"],), **raw}

    @model_validator(mode="after")
    def _prompts_or_members(self) -> "VocabularyClass":
        if self.prompts and self.members:
            raise ValueError(
                "has both prompts and members; make the prompts one more member, or the synonyms "
                "of one"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_the_other(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out prompts or members, whichever the class lacks; runs are known by this text."""
        fields: dict[str, Any] = serialise(self)
        return {k: v for k, v in fields.items() if v or k not in ("prompts", "members")}


def with_defaults(entries: Any) -> Any:
    """Fill in the values and colours that raw classes or parents lack.

    One without `value` takes its place in the list, counted from 1; one without `colour` takes
    a generated one, distinct from all others. Anything but a list of tables is returned as it is,
    to be refused later.
    """
    if not isinstance(entries, list | tuple) or not all(isinstance(e, Mapping) for e in entries):
        return entries
    taken = [e["colour"] for e in entries if _COLOUR.fullmatch(str(e.get("colour")))]
    lacking = sum("colour" not in entry for entry in entries)
    generated = iter(distinct_colours(lacking, taken) if lacking else ())
    return [
        {"value": place, **({} if "colour" in entry else {"colour": next(generated)}), **entry}
        for place, entry in enumerate(entries, start=1)
    ]


def repetitions(entries: Sequence[VocabularyParent]) -> list[str]:
    """The names, codes and values that occur more than once, in words."""
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
