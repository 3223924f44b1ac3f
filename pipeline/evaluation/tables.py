"""The parts that both evaluation reports share: Markdown tables, lines on labels, plain JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from models.visible_text import visible_lines, visible_text
from models.vocabulary.labels import MatchedLabels
from pipeline.io.store import Store

NUMBERS, REPORT = "evaluation.json", "report.md"
_LISTED = 20


def write_evaluation_report(
    store: Store,
    lines: Sequence[str],
    numbers: Mapping[str, Any],
    pictures: Mapping[str, bytes],
) -> str:
    """Write pictures, `evaluation.json` and `report.md` to a folder; gives the report, Markdown.

    Those of an earlier evaluation are removed first, and the report is written last: a folder that
    has a report is whole, also where the process is killed in between.

    Raises:
        OutputUnwritable: The folder cannot be written.
    """
    report = visible_lines("\n".join(lines) + "\n")
    content = json.dumps(plain(numbers), indent=1, ensure_ascii=False)
    for name in (REPORT, NUMBERS):
        store.remove(name)
    for name, picture in pictures.items():
        store.write(name, picture)
    store.write(NUMBERS, content.encode() + b"\n")
    store.write(REPORT, report.encode())
    return report


def label_lines(labels: MatchedLabels) -> list[str]:
    """Lines on labels that are unknown, or were matched by a finer code or by their parents."""
    lines = []
    if labels.unknown:
        listed = ", ".join(f"{k} ({n})" for k, n in list(labels.unknown.items())[:_LISTED])
        count = sum(labels.unknown.values())
        lines.append(f"- {count:,} rows have labels unknown to the vocabulary: {listed}")
    if labels.finer:
        listed = ", ".join(f"{k} as {name}" for k, name in list(labels.finer.items())[:_LISTED])
        lines.append(f"- finer codes taken for their class: {listed}")
    if labels.level == "parent":
        lines.append("- classes are compared by their parents")
    return lines


def plain(value: Any) -> Any:
    """Convert dataclasses, arrays and tuples to JSON values; NaN and infinity become null."""
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
    """Format a table as lines, its first column aligned to the left, the others to the right."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return [f"| {' | '.join(map(_cell, cells))} |" for cells in lines]


def _cell(text: str) -> str:
    return visible_text(text).replace("|", "\\|")


def format_share(share: float | None) -> str:
    """Format a share as "87.3 %", or as a dash where there is none."""
    return "–" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"
