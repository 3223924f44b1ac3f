"""The help of a command as plain text in two columns, which reads the same in a pipe."""

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_WIDEST = 100
_COLUMN = 30  # where descriptions begin


class HelpFormat:
    """Headings, and below each the options with their descriptions beside or below them."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Print the options, arguments or commands of one heading."""
        if panel.entries:
            console.print(f"\n{panel.title}:")
            for entry in panel.entries:
                console.print(_entry(entry, min(console.width, _WIDEST)))

    def render_usage(self, console: "Console", options: "ConsoleOptions", usage: Any) -> None:
        """Print how the command is called."""
        if usage:
            console.print(f"Usage: {str(usage).strip().removeprefix('Usage: ')}")

    def render_description(
        self, console: "Console", options: "ConsoleOptions", description: Any
    ) -> None:
        """Print what the command does."""
        paragraphs = _text(description).strip().split("\n\n")
        for paragraph in filter(None, paragraphs):
            width = min(console.width, _WIDEST)
            console.print("\n" + textwrap.fill(" ".join(paragraph.split()), width))


def _entry(entry: "HelpEntry", width: int) -> str:
    if entry.positional_label:
        label = entry.metavar or entry.positional_label
    else:
        label = ", ".join((*entry.positive_shorts, *entry.positive_names))
        if entry.negative_names:
            label = label.replace("--", "--[no-]", 1)
        label += f" {entry.metavar}" if entry.metavar else ""
    text = _text(entry.description)
    text += " [required]" if entry.required else ""
    if entry.default not in (None, "False"):
        text += f" [default:\u00a0{entry.default}]"
    lines = textwrap.wrap(text, max(20, width - _COLUMN), break_on_hyphens=False)
    lines = [line.replace("\u00a0", " ") for line in lines]  # kept a default in one line
    beside = lines.pop(0) if lines and len(label) < _COLUMN - 3 else ""
    first = f"  {label:<{_COLUMN - 2}}{beside}".rstrip()
    return "\n".join([first, *(" " * _COLUMN + line for line in lines)])


def _text(renderable: Any) -> str:
    """The plain text of what cyclopts passes: a string, rich's Text, or its own inline text."""
    for name in ("plain", "primary_renderable"):
        if hasattr(renderable, name):
            return _text(getattr(renderable, name))
    return "" if renderable is None else str(renderable)
