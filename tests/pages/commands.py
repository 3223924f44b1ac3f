"""The commands that pages show: read from their blocks, in order, as a shell would read them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(timesen [^`]+)`")


@dataclass(frozen=True)
class Command:
    """A command of a page; `line` counts from 1."""

    page: Path
    line: int
    text: str

    @property
    def words(self) -> list[str]:
        """The command and its arguments, without comments."""
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}: {self.text}"


def shown_commands(page: Path) -> list[Command]:
    """The commands in the shell blocks of a page; a loop is one command."""
    text = page.read_text(encoding="utf-8")
    found: list[Command] = []
    for block in _BLOCK.finditer(text):
        begun: list[str] = []
        first = text.count("\n", 0, block.start(2)) + 1
        for line, written in enumerate(block[2].splitlines(), start=first):
            begun.append(written.strip().removesuffix("\\").strip())
            whole = " ".join(begun)
            if written.endswith("\\") or (whole.startswith("for ") and begun[-1] != "done"):
                continue
            parts = [whole] if whole.startswith("for ") else whole.split(" && ")
            found += [Command(page, line, part) for part in parts if part and part[0] != "#"]
            begun = []
    return found


def named_commands(page: Path) -> list[Command]:
    """The commands of timesen that a page's sentences name."""
    text = page.read_text(encoding="utf-8")
    plain = _BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    return [
        Command(page, plain.count("\n", 0, span.start()) + 1, " ".join(span[1].split()))
        for span in _SPAN.finditer(plain)
    ]
