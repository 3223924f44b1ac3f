"""`python -m pipeline.real_land TABLES OUT`: write a series table and descriptions of each place.

OUT/<place>/series is a table and OUT/<place>/words.parquet holds its descriptions. `timesen dataset
texts OUT/<place>/words.parquet --class-column class --possible-column possible` and `timesen
dataset pack OUT/<place>/series` make a training set of these.
"""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from models.encoder.preprocessing import BANDS
from pipeline.io.store import Store
from pipeline.point_series.table import SeriesRows
from pipeline.point_series.table_writer import Notes, SeriesFolder
from pipeline.real_land.rows import TrainingRows, drawn_rows
from pipeline.real_land.tables import TableDescription, described_tables, joined, read_table

_SEED = 0
_SENTINEL = "contains modified Copernicus Sentinel data 2018-2023"


def folder_name(place: str) -> str:
    """A place's name as that of a folder: "California and Arkansas" → "california-and-arkansas"."""
    plain = place.casefold().replace("ô", "o")
    return "-".join(plain.split())


def convert(folder: Path, out: Path) -> dict[str, int]:
    """Write the series table and the descriptions of each place; gives the numbers of rows."""
    places = dict.fromkeys(table.place for table in described_tables())
    return {
        place: _convert_place(
            folder, out / folder_name(place), [t for t in described_tables() if t.place == place]
        )
        for place in places
    }


def _convert_place(folder: Path, out: Path, tables: Sequence[TableDescription]) -> int:
    points = joined([read_table(folder, table) for table in tables])
    rows = drawn_rows(points, np.random.default_rng(_SEED))
    hashes = {
        table.name: hashlib.sha256((folder / f"{table.name}.parquet").read_bytes()).hexdigest()
        for table in tables
    }
    made = {"tables": hashes, "rows": len(rows.ids), "seed": _SEED}
    series = SeriesFolder(Store(str(out / "series")), made, BANDS, ("class", "table"))
    series.open()
    series.write_unit("real", "0", _series(rows), Notes())
    series.finish_part("real")
    series.finish(
        {"by": "pipeline.real_land"},
        points=len(points),
        first_month=1,
        licence="; ".join(dict.fromkeys(table.licence for table in tables)),
        attribution="; ".join([*dict.fromkeys(t.attribution for t in tables), _SENTINEL]),
        left_out={},
    )
    _words(rows).to_parquet(out / "words.parquet", index=False)
    return len(rows.ids)


def _series(rows: TrainingRows) -> SeriesRows:
    points = rows.points
    return SeriesRows(
        ids=rows.ids,
        lon=points.lon,
        lat=points.lat,
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
    options = parser.parse_args()
    for place, rows in convert(options.tables, options.out).items():
        print(f"{place}: {rows} rows in {options.out / folder_name(place)}")


if __name__ == "__main__":
    main()
