"""Notes on the fields of a settings model: how a setting is given on the command line.

A field's name, type, default and description are pydantic's own. `Option` adds what the command
line alone needs, `RelativePath` says that a text is a path, and the readers at the end take the
short forms in which a command line writes lists and numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BeforeValidator


@dataclass(frozen=True)
class Option:
    """How a setting is given on the command line, where its name and type do not say it.

    Attributes:
        flag: The option's name, "--catalog"; by default the setting's name.
        metavar: The value's form in the help, "1…12".
        group: The heading in the help; by default the section's.
        positional: The setting is an argument without a flag.
        hidden: The setting has no option.
        commas: A list is one text with commas, "4,5,6"; else its option is given several times.
        replaces: The setting of the same section that this one puts aside.
        only: The settings of a section that have options; by default all.
    """

    flag: str | None = None
    metavar: str | None = None
    group: str | None = None
    positional: bool = False
    hidden: bool = False
    commas: bool = False
    replaces: str | None = None
    only: tuple[str, ...] | None = None


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
        if not text or "://" in text or (self.is_name is not None and self.is_name(text)):
            return text
        try:
            path = (folder / Path(text).expanduser()).absolute()
            return str(path) if self.is_name is None or path.exists() else text
        except (OSError, ValueError, RuntimeError):  # too long, a zero in it, "~" of nobody
            return text


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


WHOLE_NUMBER = BeforeValidator(_number)
"""Takes "12" for 12 where the type is a list of numbers that are allowed."""
