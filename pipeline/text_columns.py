"""Columns of texts from a file, whatever kind of table it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from pipeline.errors import DatasetError

_PARQUET = (".parquet", ".geoparquet", ".pq")
_TEXT = (".csv", ".tsv", ".txt")
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
    return {name: [_text(value) for value in frame[name]] for name in names}


def has_column(path: Path, name: str) -> bool:
    """Whether a file has a column. Raises DatasetError for what is unreadable."""
    return name in _frame(path, rows=0).columns


def _frame(path: Path, rows: int | None = None) -> pd.DataFrame:
    if not path.is_file():
        raise DatasetError(str(path), "there is no such file", _FORMS)
    suffix = path.suffix.lower()
    try:
        if suffix in _TEXT:
            # Texts stay as they are written: 007 is no 7, and NA is a country's code.
            return pd.read_csv(
                path, sep="," if suffix == ".csv" else "\t", dtype=str, keep_default_na=False,
                na_values=[""], encoding="utf-8-sig", nrows=rows,
            )  # fmt: skip
        if suffix in _PARQUET:
            schema = pq.read_schema(path)
            plain = [field.name for field in schema if not pa.types.is_nested(field.type)]
            return pq.read_table(path, columns=plain).to_pandas(ignore_metadata=True)
        found: pd.DataFrame = pyogrio.read_dataframe(path, read_geometry=False)
        return found
    except Exception as error:  # each driver has errors of its own
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(str(path), f"not readable as a table ({reason})", _FORMS) from error


def _text(value: Any) -> str | None:
    if value is None or value != value or value is pd.NA:  # NaN, NaT
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() or None
