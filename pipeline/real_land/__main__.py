"""`python -m pipeline.real_land TABLES OUT`: write OUT/series (a table) and OUT/words.parquet.

`timesen dataset texts OUT/words.parquet --class-column class` and `timesen dataset pack OUT/series`
make a training set of these.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from models.encoder.preprocessing import BANDS
from pipeline.io.store import Store
from pipeline.point_series.table import SeriesRows
from pipeline.point_series.table_writer import Notes, SeriesFolder
from pipeline.real_land.rows import VIEWS, YEARS, TrainingRows, drawn_rows
from pipeline.real_land.tables import TABLES, read_labelled_points

_SEED = 0
_LICENCE = "MIT"
_ATTRIBUTION = (
    "WorldCereal/worldcereal-classification test resources (French and Flemish parcel registers); "
    "contains modified Copernicus Sentinel data 2020-2023"
)


def convert(folder: Path, out: Path, years: int = YEARS, views: int = VIEWS) -> int:
    """Write the series table and the descriptions of a folder's tables; gives the number of rows.

    There are `years` rows of each point, each with `views` descriptions (`rows.drawn_rows`).
    """
    points = read_labelled_points(folder)
    rows = drawn_rows(points, np.random.default_rng(_SEED), years, views)
    hashes = {
        name: hashlib.sha256((folder / f"{name}.parquet").read_bytes()).hexdigest()
        for name in TABLES
    }
    made = {
        "tables": hashes,
        "years drawn of each point": years,
        "seed": _SEED,
        "B8A": "the tables lack it; B08 stands for it",
    }
    table = SeriesFolder(Store(str(out / "series")), made, BANDS, ("class", "table"))
    table.open()
    table.write_unit("real", "0", _series(rows), Notes())
    table.finish_part("real")
    table.finish(
        {"by": "pipeline.real_land"},
        points=len(points),
        first_month=1,
        licence=_LICENCE,
        attribution=_ATTRIBUTION,
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
        labels={"class": points.classes.tolist(), "table": points.tables.tolist()},
        photo_keys=[None] * len(rows.ids),
    )


def _words(rows: TrainingRows) -> pd.DataFrame:
    views = len(rows.texts[0])
    return pd.DataFrame(
        {
            "id": np.repeat(rows.ids, views),
            "text": [text for texts in rows.texts for text in texts],
            "class": [key for keys in rows.keys for key in keys],
        }
    )


def main() -> None:
    """Convert the tables and print the number of rows."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.real_land", description=__doc__)
    parser.add_argument("tables", type=Path, help="the folder of the long tables")
    parser.add_argument("out", type=Path, help="where series/ and words.parquet are written")
    options = parser.parse_args()
    print(f"{convert(options.tables, options.out)} rows: {options.out}")


if __name__ == "__main__":
    main()
