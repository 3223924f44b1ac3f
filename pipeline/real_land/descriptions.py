"""Descriptions of the classes of the real tables, from `descriptions.toml`.

Some wordings of each class are held out: no training sees them, so that they show how far words
carry. A group of several classes holds the wordings that are true of each of them.
"""

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("descriptions.toml")


@dataclass(frozen=True)
class Group:
    """Classes, and wordings that are true of each: `seen` by training, and `held_out` from it."""

    of: tuple[str, ...]
    seen: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def name(self) -> str:
        """The key of what its wordings depict."""
        return " ".join(self.of)


@cache
def groups() -> tuple[Group, ...]:
    """All groups, those of one class first."""
    raw = tomllib.loads(_FILE.read_text(encoding="utf-8"))["descriptions"]
    return tuple(Group(*(tuple(entry[key]) for key in ("of", "seen", "held_out"))) for entry in raw)


def groups_with(name: str) -> tuple[Group, ...]:
    """The groups that a class is in: its own, and those that it shares."""
    return tuple(group for group in groups() if name in group.of)


def group_of(classes: Collection[str]) -> Group:
    """The group of exactly these classes. Raises KeyError where there is none."""
    for group in groups():
        if set(group.of) == set(classes):
            return group
    raise KeyError(f"no wordings are true of exactly {', '.join(sorted(classes))}")


def held_out(classes: Sequence[Collection[str]]) -> list[tuple[str, ...]]:
    """The held-out wordings of each class of a list, a class being one or several of the tables'.

    As many of each: those of the class that has fewest.
    """
    words = [group_of(members).held_out for members in classes]
    fewest = min(map(len, words))
    return [some[:fewest] for some in words]
