"""`python -m pipeline.real_land TABLES OUT`: write a series table and descriptions of each place.

OUT/<place>/series is a table and OUT/<place>/words.parquet holds its descriptions. `timesen dataset
texts OUT/<place>/words.parquet --class-column class --possible-column possible` and `timesen
dataset pack OUT/<place>/series` make a training set of these.
"""

import argparse
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.encoder.preprocessing import BANDS
from pipeline.io.store import Store
from pipeline.point_series.table import SeriesRows
from pipeline.point_series.table_writer import Notes, SeriesFolder
from pipeline.real_land.made_series import MADE, MADE_PER_CLASS, made_points
from pipeline.real_land.rows import TrainingRows, drawn_rows
from pipeline.real_land.tables import (
    LabelledPoints,
    TableDescription,
    described_tables,
    folder_name,
    joined_points,
    read_table,
)

_SEED = 0
_SENTINEL = "contains modified Copernicus Sentinel data 2018-2023"


def convert(folder: Path, out: Path, made_per_class: int = MADE_PER_CLASS) -> dict[str, int]:
    """Write a series table and descriptions for each place; gives the numbers of rows by folder.

    Args:
        folder: The folder of the long tables.
        out: Each place gets a folder in it.
        made_per_class: Made series of each class (`pipeline.real_land.made_series`).
    """
    places: dict[str, list[TableDescription]] = {}
    for table in described_tables():
        places.setdefault(folder_name(table.place), []).append(table)
    rows = {}
    for name, tables in places.items():
        made = {
            table.name: sha256((folder / f"{table.name}.parquet").read_bytes()).hexdigest()
            for table in tables
        }
        points = joined_points([read_table(folder, table) for table in tables])
        licence = "; ".join(dict.fromkeys(table.licence for table in tables))
        whom = "; ".join([*dict.fromkeys(table.attribution for table in tables), _SENTINEL])
        rows[name] = _write(points, out / name, {"tables": made}, licence, whom)
    points = made_points(made_per_class, np.random.default_rng(_SEED))
    whom = "made series (pipeline.real_land.made_series), no measurements"
    rows[MADE] = _write(points, out / MADE, {"made per class": made_per_class}, "MIT", whom)
    return rows


def _write(
    points: LabelledPoints, out: Path, made: dict[str, Any], licence: str, attribution: str
) -> int:
    rows = drawn_rows(points, np.random.default_rng(_SEED))
    made = {**made, "rows": len(rows.ids), "seed": _SEED}
    series = SeriesFolder(Store(str(out / "series")), made, BANDS, ("class", "table"))
    series.open()
    series.write_unit("real", "0", _series(rows), Notes())
    series.finish_part("real")
    series.finish(
        {"by": "pipeline.real_land"},
        points=len(points),
        first_month=1,
        licence=licence,
        attribution=attribution,
        left_out={},
    )
    _words(rows).to_parquet(out / "words.parquet", index=False)
    return len(rows.ids)


def _series(rows: TrainingRows) -> SeriesRows:
    points = rows.points
    # A table without coordinates gets some, one place for each of its blocks, so that blocks of
    # land are its blocks.
    _, block = np.unique(points.blocks, return_inverse=True)
    known = np.isfinite(points.lon)
    return SeriesRows(
        ids=rows.ids,
        lon=np.where(known, points.lon, 10.0 * block),
        lat=np.where(known, points.lat, 0.0),
        year=points.year.astype(np.int32),
        series=rows.series,
        # The number of acquisitions is not known: 1 for a month with values.
        clear=np.asarray((rows.series > 0).any(axis=2), np.uint16),
        labels={"class": points.labels.tolist(), "table": points.tables.tolist()},
        photo_keys=[None] * len(rows.ids),
    )


def _words(rows: TrainingRows) -> pd.DataFrame:
    views = len(rows.texts[0])
    return pd.DataFrame(
        {
            "id": np.repeat(rows.ids, views),
            "text": [text for texts in rows.texts for text in texts],
            "class": [key for keys in rows.keys for key in keys],
            "possible": np.repeat([";".join(keys) for keys in rows.possible], views),
        }
    )


def main() -> None:
    """Convert the tables and print the number of rows."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.real_land", description=__doc__)
    parser.add_argument("tables", type=Path, help="the folder of the long tables")
    parser.add_argument("out", type=Path, help="where the places' folders are written")
    parser.add_argument("--made", type=int, default=MADE_PER_CLASS, help="made series per class")
    options = parser.parse_args()
    for place, rows in convert(options.tables, options.out, options.made).items():
        print(f"{place}: {rows} rows")


if __name__ == "__main__":
    main()
