"""JSON that others wrote: whatever is wrong with it is a ValueError."""

import json
from typing import Any


def parse_json(content: bytes | str) -> Any:
    """Parse JSON in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.

    A whole number of thousands of digits becomes infinite, as one with an exponent does.

    Raises:
        ValueError: The content is no JSON, or is nested too deep.
    """
    try:
        return _parsed(content)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _parsed(content: bytes | str) -> Any:
    try:
        return json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # of Python's limit to the digits of a whole number
        return json.loads(content, parse_int=_number)


def _number(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)
