"""Descriptions of the classes of the real tables, from `descriptions.toml`."""

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Group:
    """The classes `of` a group, and wordings that are true of each of them.

    Training sees the wordings of `seen` and never those of `held_out`, which show how well a
    checkpoint understands new words.
    """

    of: tuple[str, ...]
    seen: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def name(self) -> str:
        """The key of the views that its wordings describe."""
        return " ".join(self.of)


def load_groups(path: Path) -> tuple[Group, ...]:
    """The groups in a TOML file's tables `descriptions`, in order."""
    raw = tomllib.loads(path.read_text(encoding="utf-8"))["descriptions"]
    return tuple(Group(*(tuple(entry[key]) for key in ("of", "seen", "held_out"))) for entry in raw)


@cache
def groups() -> tuple[Group, ...]:
    """All groups of the real tables, those of one class first."""
    return load_groups(Path(__file__).with_name("descriptions.toml"))


def groups_with(name: str) -> tuple[Group, ...]:
    """The groups of a class: its own, and those that it shares with others."""
    return tuple(group for group in groups() if name in group.of)


def group_of(classes: Collection[str]) -> Group:
    """The group of exactly these classes. Raises KeyError where there is none."""
    for group in groups():
        if set(group.of) == set(classes):
            return group
    raise KeyError(f"no wordings are true of exactly {', '.join(sorted(classes))}")


def held_out(classes: Sequence[Collection[str]]) -> list[tuple[str, ...]]:
    """The held-out wordings of each of `classes`, equally many for all.

    A class is one or several classes of the tables. Of each, the first wordings are taken, as many
    as the class with the fewest has.
    """
    words = [group_of(members).held_out for members in classes]
    fewest = min(map(len, words))
    return [wordings[:fewest] for wordings in words]
