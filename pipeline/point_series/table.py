"""The series table: a folder of monthly series of points, from whatever they were made.

`series.json` says what it is; the rows lie in `part-*.parquet`, one an id, with the columns that
`schema` gives. What is 0 in a series is missing: gaps are not filled here.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import DatasetError
from pipeline.io.store import Store, public_url
from pipeline.io.table_folder import parts_of
from pipeline.observations.monthly_median import MONTHS
from pipeline.point_series.points import LABEL

CARD = "series.json"
FORMAT = 1

_MAKE = "Make one with `timesen dataset series` or `timesen dataset sen4map`"


class SeriesCard(BaseModel):
    """What a series table is: `series.json`.

    `bands` in their order; `first_month` is the month of a point's year with which its twelve
    begin, though a series goes from January to December. `rows` are the series, of `points` that
    were given; `left_out` counts the others by reason (`left-out.csv` names them). `made` says of
    what and how; `fingerprint` is a hash over all that the series depend on.
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
    made: dict[str, Any]
    attribution: str
    licence: str
    fingerprint: str
    versions: dict[str, str]
    created: str


@dataclass(frozen=True, eq=False)
class SeriesRows:
    """Rows of the table: `series` is uint16 (n, 12, band), `clear` uint16 (n, 12).

    Reflectance × 10000 without offset, 0 = no clear observation. `lon`, `lat` are float64 (n,) in
    degrees of WGS 84, `year` int32 (n,); labels by name and photo keys are texts or None.
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
    def of(cls, batch: pa.RecordBatch | pa.Table) -> "SeriesRows":
        """The rows of an Arrow table of `schema`."""
        names = batch.schema.names
        n, bands = batch.num_rows, batch.schema.field("series").type.list_size // MONTHS

        def texts(name: str) -> list[Any]:
            values: list[Any] = batch.column(name).to_pylist()
            return values

        def numbers(name: str) -> np.ndarray:
            column = batch.column(name)
            if isinstance(column, pa.ChunkedArray):
                column = column.combine_chunks()
            if pa.types.is_fixed_size_list(column.type):
                column = column.flatten()
            array: np.ndarray = column.to_numpy(zero_copy_only=False)
            return array

        return cls(
            ids=texts("id"),
            lon=numbers("lon"),
            lat=numbers("lat"),
            year=numbers("year"),
            series=numbers("series").reshape(n, MONTHS, bands),
            clear=numbers("clear").reshape(n, MONTHS),
            labels={
                name.removeprefix(LABEL): texts(name) for name in names if name.startswith(LABEL)
            },
            photo_keys=texts("photo_key"),
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
        """The table in a folder or at s3://…; raises DatasetError where there is none."""
        store = Store(address)
        given = public_url(store.path(CARD))
        try:
            return cls(store, SeriesCard.model_validate_json(store.read(CARD)))
        except (FileNotFoundError, NotADirectoryError):
            raise DatasetError(
                public_url(store.root), "there is no finished series table (no series.json)", _MAKE
            ) from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "it"
            raise DatasetError(given, f"{where}: {first['msg']}", _MAKE) from None

    def batches(self, rows: int = 8192) -> Iterator[SeriesRows]:
        """All rows, part by part, at most so many at once; their order is always the same.

        Raises DatasetError where a part is damaged or not of this table's kind.
        """
        wanted = schema(len(self.card.bands), self.card.labels)
        for key in parts_of(self.store):
            given = public_url(self.store.path(key))
            try:
                file = self._file(key)
                found = file.schema_arrow
                for field in wanted:
                    place = found.get_field_index(field.name)
                    if place < 0 or found.field(place).type != field.type:
                        kind = found.field(place).type if place >= 0 else "not there"
                        raise DatasetError(
                            given, f"its column {field.name} is {kind}, not {field.type}", _MAKE
                        )
                for batch in file.iter_batches(rows, columns=wanted.names):
                    yield SeriesRows.of(batch)
            except (pa.ArrowException, OSError) as error:
                raise DatasetError(
                    given, f"the file is damaged ({str(error).splitlines()[0]})", _MAKE
                ) from None

    def _file(self, key: str) -> pq.ParquetFile:
        if self.store.is_remote:
            return pq.ParquetFile(io.BytesIO(self.store.read(key)))
        return pq.ParquetFile(self.store.path(key), memory_map=True)


def fixed_lists(values: np.ndarray) -> pa.Array:
    """An Arrow array of the rows of an array (n, …): fixed-size lists, without a copy."""
    flat = pa.array(np.ascontiguousarray(values).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, math.prod(values.shape[1:]))
