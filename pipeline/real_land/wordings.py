"""What people call classes of land: groups of wordings, from `wordings.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Group:
    """Wordings that are true of each of the classes `of`.

    Attributes:
        key: The subject of its wordings: views of equal keys are no negatives of each other.
        words: By kind ("name", "synonym", "definition", …), the wordings that training sees.
        held_out: Wordings that training never sees; they show how well new words are understood.
    """

    key: str
    of: frozenset[str]
    words: dict[str, tuple[str, ...]]
    held_out: tuple[str, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        """The wordings of all kinds."""
        return tuple(word for words in self.words.values() for word in words)

    def is_true_of(self, classes: frozenset[str]) -> bool:
        """Whether it describes a point that is one of `classes`, whichever it is."""
        return classes <= self.of

    def may_be_true_of(self, classes: frozenset[str]) -> bool:
        """Whether it describes a point that is a certain one of `classes`."""
        return bool(classes & self.of)


@cache
def groups() -> tuple[Group, ...]:
    """All groups of `wordings.toml`, in its order."""
    content = Path(__file__).with_name("wordings.toml").read_text(encoding="utf-8")
    found = []
    for entry in tomllib.loads(content)["groups"]:
        words = {kind: tuple(phrases) for kind, phrases in entry["words"].items()}
        held_out = words.pop("held_out", ())
        found.append(Group(entry["key"], frozenset(entry["of"]), words, held_out))
    return tuple(found)


def group(key: str) -> Group:
    """The group of a key; raises KeyError where there is none."""
    for one in groups():
        if one.key == key:
            return one
    raise KeyError(f"wordings.toml has no group {key!r}")
