"""The series table: a folder of monthly series of points.

`series.json` is its card. Its rows lie in `part-*.parquet`, one row per point, with the columns of
`schema`. A 0 in a series is a month without a clear observation: gaps are not filled here.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from models.encoder.preprocessing import MONTHS
from pipeline.io.store import Store
from pipeline.io.table_folder import open_card, open_part, part_keys
from pipeline.point_series.point_columns import LABEL

CARD = "series.json"

_REMEDY = "Make one with `timesen dataset series` or `timesen dataset sen4map`"


class SeriesCard(BaseModel):
    """The card of a series table, `series.json`.

    Attributes:
        first_month: The month with which the twelve months of a point's year begin. A series goes
            from January to December all the same.
        years: Counts of series by year.
        rows: How many series there are.
        points: How many points the input had.
        left_out: Counts of points without a series, by reason; `left-out.csv` names them.
        absent: Counts of series that lack a band altogether, for the bands that some series lack.
        made: The sources of the table and how it was made.
        fingerprint: A hash over all that the series depend on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    bands: tuple[str, ...]
    months: Literal[12] = 12
    first_month: int
    labels: tuple[str, ...]
    years: dict[int, int]
    rows: int
    points: int
    left_out: dict[str, int]
    absent: dict[str, int] = {}
    made: dict[str, Any]
    attribution: str
    licence: str
    fingerprint: str
    versions: dict[str, str]
    created: str


@dataclass(frozen=True, eq=False)
class SeriesRows:
    """Rows of a series table.

    Attributes:
        lon: float64 (n,), degrees of WGS 84; `lat` too.
        year: int32 (n,).
        series: uint16 (n, 12, band): reflectance × 10000 without offset, 0 = no clear observation.
        clear: uint16 (n, 12), counts of clear observations.
        labels: Texts or None by the label's name.
        photo_keys: Texts or None.
    """

    ids: Sequence[str]
    lon: np.ndarray
    lat: np.ndarray
    year: np.ndarray
    series: np.ndarray
    clear: np.ndarray
    labels: Mapping[str, Sequence[str | None]]
    photo_keys: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.ids)

    def table(self) -> pa.Table:
        """The rows as an Arrow table of `schema`. Raises ValueError for arrays of other types."""
        bands = self.series.shape[-1]
        for array, shape in ((self.series, (MONTHS, bands)), (self.clear, (MONTHS,))):
            if array.dtype != np.uint16 or array.shape != (len(self), *shape):
                raise ValueError(f"{array.dtype} {array.shape} is not uint16 {(len(self), *shape)}")
        columns = [
            pa.array(self.ids, pa.string()),
            pa.array(self.lon, pa.float64()),
            pa.array(self.lat, pa.float64()),
            pa.array(self.year, pa.int32()),
            fixed_lists(self.series),
            fixed_lists(self.clear),
            *(pa.array(values, pa.string()) for values in self.labels.values()),
            pa.array(self.photo_keys, pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=schema(bands, tuple(self.labels)))

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "SeriesRows":
        """The rows of an Arrow batch of `schema`."""
        names = batch.schema.names
        n = batch.num_rows
        labels = [name for name in names if name.startswith(LABEL)]
        lon, lat, year = (batch[name].to_numpy() for name in ("lon", "lat", "year"))
        return cls(
            ids=batch["id"].to_pylist(),
            lon=lon,
            lat=lat,
            year=year,
            series=batch["series"].flatten().to_numpy().reshape(n, MONTHS, -1),
            clear=batch["clear"].flatten().to_numpy().reshape(n, MONTHS),
            labels={name.removeprefix(LABEL): batch[name].to_pylist() for name in labels},
            photo_keys=batch["photo_key"].to_pylist(),
        )


def schema(bands: int, labels: Sequence[str]) -> pa.Schema:
    """The columns of a part: id, lon, lat, year, series, clear, label_<name> …, photo_key."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("lon", pa.float64(), nullable=False),
            pa.field("lat", pa.float64(), nullable=False),
            pa.field("year", pa.int32(), nullable=False),
            pa.field("series", pa.list_(pa.uint16(), MONTHS * bands), nullable=False),
            pa.field("clear", pa.list_(pa.uint16(), MONTHS), nullable=False),
            *(pa.field(f"{LABEL}{name}", pa.string()) for name in labels),
            pa.field("photo_key", pa.string()),
        ]
    )


@dataclass(frozen=True)
class SeriesTable:
    """A finished series table: its card, and where its rows are."""

    store: Store
    card: SeriesCard

    @classmethod
    def open(cls, address: str) -> "SeriesTable":
        """The table in a folder or at `s3://…`. Raises DatasetError where there is none."""
        store = Store(address)
        return cls(store, open_card(store, CARD, SeriesCard, "series table", _REMEDY))

    def batches(self, rows: int = 8192) -> Iterator[SeriesRows]:
        """All rows, at most `rows` at once, always in the same order.

        Raises:
            DatasetError: A part is damaged, or its columns are not those of this table.
        """
        wanted = schema(len(self.card.bands), self.card.labels)
        for key in part_keys(self.store):
            with open_part(self.store, key, wanted, _REMEDY) as file:
                for batch in file.iter_batches(rows, columns=wanted.names):
                    yield SeriesRows.of(batch)


def fixed_lists(values: np.ndarray) -> pa.Array:
    """An Arrow array of the rows of an array (n, …): fixed-size lists, without a copy."""
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, math.prod(values.shape[1:]))
