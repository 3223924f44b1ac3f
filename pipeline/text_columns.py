"""Columns of texts from a file, whatever kind of table it is."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from pipeline.errors import DatasetError
from pipeline.table_file import PARQUET, SEPARATORS, cell_text, read_text_table, reason_of

_FORMS = "Give CSV with a header, Parquet, or a vector file, whose attributes are taken"


def read_columns(path: Path, names: Sequence[str]) -> dict[str, list[str | None]]:
    """Columns of a CSV, TSV, Parquet or vector file as texts, by name; None where none is written.

    Whole numbers are written without a point, texts without spaces around them. Raises DatasetError
    for what is unreadable, for columns that are not there, and where there is no row.
    """
    frame = _frame(path)
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise DatasetError(
            str(path),
            f"it has no column {' and no column '.join(absent)}; its columns are "
            f"{', '.join(map(str, frame.columns))}",
            "Name columns that are there",
        )
    if not len(frame):
        raise DatasetError(str(path), "it has no row", "Give one or more")
    return {name: [cell_text(value) for value in frame[name]] for name in names}


def has_column(path: Path, name: str) -> bool:
    """Whether a file has a column. Raises DatasetError for what is unreadable."""
    return name in _frame(path, rows=0).columns


def _frame(path: Path, rows: int | None = None) -> pd.DataFrame:
    if not path.is_file():
        raise DatasetError(str(path), "there is no such file", _FORMS)
    suffix = path.suffix.lower()
    try:
        if suffix in SEPARATORS:
            return read_text_table(path, rows)
        if suffix in PARQUET:
            schema = pq.read_schema(path)
            plain = [field.name for field in schema if not pa.types.is_nested(field.type)]
            return pq.read_table(path, columns=plain).to_pandas(ignore_metadata=True)
        found: pd.DataFrame = pyogrio.read_dataframe(path, read_geometry=False)
        return found
    except Exception as error:  # each driver has errors of its own
        raise DatasetError(
            str(path), f"not readable as a table ({reason_of(error)})", _FORMS
        ) from error
