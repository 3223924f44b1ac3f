"""Tables of an evaluation in Markdown, and its values as plain JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.classification import Classification


def plain(value: Any) -> Any:
    """Dataclasses, arrays and tuples as JSON values; what is no number becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, its first column to the left, the others to the right."""
    lines = [_line(header), _line([":--", *["--:"] * (len(header) - 1)])]
    return [*lines, *(_line(row) for row in rows)]


def percent(share: float | None) -> str:
    """A share as "87.3 %", or a dash."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def by_class(found: Classification) -> list[str]:
    """A table of the classes that occur, those with most rows first."""
    shown = [entry for entry in found.by_class if entry.support or entry.predicted]
    shown.sort(key=lambda entry: -entry.support)
    rows = [
        [
            entry.name,
            f"{entry.support:,}",
            f"{entry.predicted:,}",
            percent(entry.recall),
            percent(entry.precision),
            percent(entry.f1),
        ]
        for entry in shown
    ]
    return table(["class", "rows", "given", "recall", "precision", "F1"], rows)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
