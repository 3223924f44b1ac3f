"""The project's own errors. A user's mistake has three parts: given, problem, and remedy."""

import math
from collections.abc import Iterable
from itertools import islice

from models.visible_text import visible_text

_LONGEST = 4000  # characters of a part of a message; words of others may be of any length
_LONGEST_OF_SEVERAL = 200  # characters of one of several things


def first_few(texts: Iterable[str], separator: str = ", ", most: int = 8) -> str:
    """The first of several names or reasons, each cut short, and whether there are more."""
    rest = iter(texts)
    few = [
        text if len(text) <= _LONGEST_OF_SEVERAL else f"{text[:_LONGEST_OF_SEVERAL]}…"
        for text in islice(rest, most)
    ]
    more = f"{separator}and more" if next(rest, None) is not None else ""
    return separator.join(few) + more


def number_text(count: int) -> str:
    """A count in digits, or its power of ten where these would fill a line."""
    return f"{count:,}" if count < 10**18 else f"some 10^{int(math.log10(count))}"


class TimesenError(Exception):
    """Any failure that timesen explains itself; the command line prints it without a traceback.

    Its message is one line, whatever words of others are in it.
    """

    def __str__(self) -> str:
        return visible_text(super().__str__())


class UserError(TimesenError, ValueError):
    """A mistake in the user's input; the command line exits with 2.

    Attributes:
        given: The input.
        problem: What is wrong with it.
        remedy: What would work.
    """

    def __init__(self, given: str, problem: str, remedy: str) -> None:
        super().__init__(given, problem, remedy)
        self.given, self.problem, self.remedy = map(_shown, (given, problem, remedy))

    def __str__(self) -> str:
        return f"{self.given}: {self.problem}. {self.remedy}."


def _shown(part: str) -> str:
    shown = visible_text(part)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


class WorldError(TimesenError, RuntimeError):
    """A failure outside the program (network, disk, a server); the command line exits with 1."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, or does not fit what it is used for."""


class VocabularyError(UserError):
    """A vocabulary that is unknown, contradicts itself, or does not fit the checkpoint."""


class PretrainingError(UserError):
    """A recipe, a batch or a saved state with which training is not possible."""
