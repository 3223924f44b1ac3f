"""What pydantic refuses, in this project's words: what was given, and what would be taken."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from models.near_names import did_you_mean

_HARMLESS = re.compile(r"[\w .,+-]{1,40}")  # a value that is repeated: no address with a password
_WHOLE, _NUMBER, _TRUTH = "a whole number", "a number", "true or false"
_TYPES = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), _TRUTH),
    "string_type": "a text in quotes",
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "a table"
    ),
}
"""What a value must be, by pydantic's name of the error."""
_LIMITS: Mapping[str, tuple[str, str]] = {
    "greater_than_equal": ("ge", "{} or more"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "{} or less"),
    "less_than": ("lt", "less than {}"),
    "multiple_of": ("multiple_of", "a multiple of {}"),
}
"""The name of a limit in the error's context, and what a value must be."""
_LENGTHS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "too_short": lambda limit: f"it must have {_counted(limit['min_length'], 'value')} or more",
    "too_long": lambda limit: f"it must have {_counted(limit['max_length'], 'value')} or fewer",
    "string_too_short": lambda limit: (
        "it must not be empty"
        if limit["min_length"] == 1
        else f"it must have {limit['min_length']} characters or more"
    ),
    "string_too_long": lambda limit: f"it must have {limit['max_length']} characters or fewer",
}


def plain_problem(entry: ErrorDetails) -> str:
    """What is wrong with a value: "'cloud' is given, and it must be a whole number".

    Errors that validators of this project raise are in its words already. A text is repeated only
    where a number, a truth value or one of some words belongs, since others may hold a secret.
    """
    kind, limits = entry["type"], entry.get("ctx", {})
    if kind == "missing":
        return "it is missing"
    if kind in _LIMITS:
        name, text = _LIMITS[kind]
        limit = limits[name]
        bound = f"{limit:g}" if isinstance(limit, float) else str(limit)
        return f"{_given(entry)}it must be {text.format(bound)}"
    if kind in _LENGTHS:
        return _LENGTHS[kind](limits)
    if kind == "literal_error":
        near = did_you_mean(str(entry.get("input")), limits["expected"].split("'")[1::2])
        return f"{_given(entry)}it must be {limits['expected'].replace(chr(39), '')}{near}"
    if (wanted := _TYPES.get(kind)) is not None:
        given = _given(entry) if wanted in (_WHOLE, _NUMBER, _TRUTH) else ""
        return f"{given}it must be {wanted}"
    return entry["msg"].removeprefix("Value error, ").rstrip(".")


def _given(entry: ErrorDetails) -> str:
    value = entry.get("input")
    if isinstance(value, str):
        return f"{value!r} is given, and " if _HARMLESS.fullmatch(value) else ""
    return f"{json.dumps(value)} is given, and " if isinstance(value, int | float) else ""


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
