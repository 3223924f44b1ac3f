"""The known name that someone may have meant who wrote another."""

import difflib
from collections.abc import Iterable


def nearest_name(given: str, known: Iterable[str]) -> str | None:
    """The known name that is most like the one given, letters of either case; None if none is."""
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), by_lower, 1)
    return by_lower[near[0]] if near else None


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A remark such as " (did you mean region?)"; empty where no known name is near."""
    near = nearest_name(given, known)
    return "" if near is None else f" (did you mean {near}?)"
