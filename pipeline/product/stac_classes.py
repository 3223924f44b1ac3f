"""The classes of a map as STAC's classification extension lists them."""

import re
from typing import Any

from models.vocabulary.vocabulary import Vocabulary
from pipeline.product.cell_report import CellReport


def stac_classes(vocabulary: Vocabulary, report: CellReport | None = None) -> list[dict[str, Any]]:
    """The classes for STAC's classification extension, with counts if there is a cell's report."""
    total = sum(report.pixels.values()) if report else 0
    classes: list[dict[str, Any]] = [
        {"value": 0, "name": "nodata", "title": "No data", "nodata": True}
    ]
    names = {"nodata"}
    for entry in vocabulary.legend:
        name = re.sub(r"[^0-9A-Za-z_]+", "-", entry.name).strip("-") or "class"
        # "winter wheat" and "winter-wheat" would both be winter-wheat.
        name = f"{name}-{entry.value}" if name in {*names, "class"} else name
        names.add(name)
        described = {
            "value": entry.value,
            "name": name,
            "title": entry.name,
            "color_hint": entry.colour.lstrip("#").upper(),
        }
        if entry.code:
            described["description"] = f"code {entry.code}"
        if report:
            count = report.pixels.get(entry.value, 0)
            described |= {"count": count, "percentage": round(100 * count / max(total, 1), 4)}
        classes.append(described)
    return classes
