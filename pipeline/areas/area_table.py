"""The table of areas by zone and class, as CSV or Parquet."""

import io
from collections.abc import Sequence
from typing import Any

import pandas as pd

from models.visible_text import visible_text
from pipeline.areas.zone_areas import ZoneAreas
from pipeline.io.output_file import output_place
from pipeline.io.tables import PARQUET

NOT_KEPT = "classes behind the kept ranks"
"""The class of what probabilities expect of classes whose probabilities were not kept."""
TABLE_ENDINGS = (".csv", ".parquet")
_DIGITS = 4  # of a hectare: a square metre


def area_frame(zones: Sequence[ZoneAreas]) -> pd.DataFrame:
    """The areas as a table: a row for each zone and class that occurs in it, areas in hectares.

    Columns are `zone`, `zone_hectares` (empty for the whole run), `class`, `value`, `hectares` and
    `share` (of what is mapped in the zone, 0 … 1). `expected_hectares` is there where probabilities
    were summed up. With reference points there are `adjusted_hectares`, `standard_error`, `low_95`
    and `high_95` (not below 0), `reference_points` (those that are of the class) and
    `adjusted_of_hectares` (the area that adjusted areas of the zone add up to).
    """
    with_expected = any(zone.unranked is not None for zone in zones)
    with_points = any(entry.points is not None for zone in zones for entry in zone.classes)
    return pd.DataFrame(
        [row for zone in zones for row in _rows(zone, with_expected, with_points)]
    ).astype({"value": "Int64"} | ({"reference_points": "Int64"} if with_points else {}))


def _rows(zone: ZoneAreas, with_expected: bool, with_points: bool) -> list[dict[str, Any]]:
    rows = []
    for entry in zone.classes:
        row: dict[str, Any] = {
            "zone": visible_text(zone.name),
            "zone_hectares": _rounded(zone.hectares),
            "class": entry.name,
            "value": entry.value,
            "hectares": _rounded(entry.mapped),
            "share": round(entry.mapped / zone.mapped, 6) if zone.mapped else None,
        }
        if with_expected:
            row["expected_hectares"] = _rounded(entry.expected)
        if with_points:
            known = entry.adjusted
            value = half = error = None
            if known is not None:
                value, half, error = known.value, known.half_width, known.standard_error
            row |= {
                "adjusted_hectares": _rounded(value),
                "standard_error": _rounded(error),
                "low_95": None if value is None else _rounded(max(0.0, value - (half or 0.0))),
                "high_95": None if value is None else _rounded(value + (half or 0.0)),
                "reference_points": entry.points,
                "adjusted_of_hectares": _rounded(zone.estimated),
            }
        rows.append(row)
    if zone.unranked:
        rest = dict.fromkeys(rows[0]) if rows else {}
        own = {"zone": visible_text(zone.name), "zone_hectares": _rounded(zone.hectares)}
        rest |= own | {"class": NOT_KEPT, "expected_hectares": _rounded(zone.unranked)}
        rows.append(rest)
    if not rows:  # a zone off the map is in the table, too
        rows.append({"zone": visible_text(zone.name), "zone_hectares": _rounded(zone.hectares)})
        rows[0] |= {"class": None, "value": None, "hectares": 0.0}
    return rows


def _rounded(hectares: float | None) -> float | None:
    return None if hectares is None else round(hectares, _DIGITS)


def write_table(frame: pd.DataFrame, target: str) -> None:
    """Write a table to a path or an s3:// URL that ends with .csv or .parquet.

    Raises:
        OutputError: The target is no place for a table.
        OutputUnwritable: It cannot be written.
    """
    store, name = output_place(target, TABLE_ENDINGS, "table")
    if name.lower().endswith(PARQUET):
        content = io.BytesIO()
        frame.to_parquet(content, index=False)
        store.write(name, content.getvalue())
    else:
        store.write(name, frame.to_csv(index=False, lineterminator="\n").encode())
