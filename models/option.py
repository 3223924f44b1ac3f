"""Notes on the fields of a settings model, and readers of the short forms of their values.

A field's name, type, default and description are pydantic's own. `Option` adds what the command
line alone needs; `RelativePath` marks a text that is a path. The readers at the end let a file and
a command line write lists and pairs as text.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BeforeValidator


@dataclass(frozen=True)
class Option:
    """How a setting is given on the command line, where its name and type do not say it.

    Attributes:
        flag: The option's name, "--catalog"; by default the setting's name.
        metavar: The value's form in the help, "METRES"; by default from the type and its limits.
        group: The heading in the help; by default the title of the model that declares the field.
        positional: The setting is an argument without a flag.
        hidden: The setting has no option.
        replaces: The setting of the same section that this one puts aside.
        only: The settings of a section that have options; by default all.
    """

    flag: str | None = None
    metavar: str | None = None
    group: str | None = None
    positional: bool = False
    hidden: bool = False
    replaces: str | None = None
    only: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Names:
    """Marks a setting that names something that must be there when a command begins.

    Attributes:
        kind: What it names: "region", "checkpoint", … `flows.cli.input_checks` lists them.
    """

    kind: str


WINDOWS_PATH = r"[A-Za-z]:[\\/]|\\\\"
r"""The start of a path of Windows: C:\… or \\server\…."""

_ELSEWHERE = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*://|{WINDOWS_PATH}")


def user_path(path: str | Path) -> Path:
    """The path with "~" expanded; unchanged, as shells do, where that user's home is not known.

    A process without HOME whose user has no entry in /etc/passwd, as in many containers, has no
    home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


@dataclass(frozen=True)
class RelativePath:
    """Marks a text as a path. A relative one starts at the folder of the file that names it.

    Attributes:
        is_name: Whether a text is the name of something that is no file, such as a shipped
            checkpoint. With it, only a path at which something exists is changed.
    """

    is_name: Callable[[str], bool] | None = None

    def anchored(self, text: str, folder: Path) -> str:
        """Return the text as an absolute path that starts at `folder`, URLs and names as is."""
        if not text or _ELSEWHERE.match(text) or (self.is_name is not None and self.is_name(text)):
            return text
        try:
            path = (folder / Path(text).expanduser()).absolute()
            file = Path(str(path).partition("#")[0])  # of file.gpkg#layer
            there = self.is_name is None or path.exists() or file.is_file()
            return str(path) if there else text
        except (OSError, ValueError, RuntimeError):  # too long, a zero in it, "~" of nobody
            return text


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _list(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        return value
    parts: list[Any] = []
    for text in texts:
        parts += [p.strip() for p in text.split(",")] if isinstance(text, str) else [text]
    return [part for part in parts if part != ""]


def _pairs(value: Any) -> Any:
    if value is None or isinstance(value, Mapping):
        return value
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple):
        return value
    pairs = [str(text).partition("=") for text in texts]
    names = {name.strip() for name, _, _ in pairs}
    if len(names) < len(pairs) or not all(name and equals for name, equals, _ in pairs):
        raise ValueError(f"{', '.join(map(str, texts))}: write NAME=VALUE, each name once")
    return {name.strip(): text.strip() for name, _, text in pairs}


WHOLE_NUMBER = BeforeValidator(_number)
"""Takes "12" for 12 where the type is a list of numbers that are allowed."""
COMMAS = BeforeValidator(_list)
"""Takes "4,5,6" for a list, and a list whose texts have commas."""
PAIRS = BeforeValidator(_pairs)
"""Takes "B8A=B08", or a list of such texts, for a table."""
