"""Reading of tables and of vector files that users wrote, as texts or as features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from models.errors import UserError
from pipeline.errors import DatasetError

PARQUET = (".parquet", ".geoparquet", ".pq")
SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
"""The separator of a text table, by the file's suffix."""


def read_text_table(path: Path, rows: int | None = None) -> pd.DataFrame:
    """All columns of a file of `SEPARATORS`, as texts; its first rows, or all. Raises as pandas."""
    # Texts stay as they are written: 007 is not 7, and NA is the code of a country.
    return pd.read_csv(
        path,
        sep=SEPARATORS[path.suffix.lower()],
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        encoding="utf-8-sig",
        nrows=rows,
    )


def read_features(path: Path, error: type[UserError], remedy: str) -> geopandas.GeoDataFrame:
    """The features of GeoParquet or of a vector file of one layer, in the file's CRS.

    Args:
        path: The file.
        error: The error to raise where the file is unreadable or holds no geometry.
        remedy: The last part of the error's message.
    """
    try:
        if path.suffix.lower() in PARQUET:
            return geopandas.read_parquet(path)
        layers = pyogrio.list_layers(path)
        frame = geopandas.read_file(path) if len(layers) <= 1 else None
    except Exception as failure:  # each driver has errors of its own
        raise error(
            str(path), f"not readable as a vector file ({reason_of(failure)})", remedy
        ) from failure
    if frame is None:
        raise error(
            str(path),
            f"it has several layers: {', '.join(map(str, layers[:, 0]))}",
            "Save the layer to read in a file of its own",
        )
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise error(str(path), "the file holds no geometry", remedy)
    return frame


def cell_text(value: Any) -> str | None:
    """A table's cell as text: whole numbers without a point, None where nothing is written."""
    if value is None or value is pd.NA or value != value:  # NaN, NaT
        return None
    if isinstance(value, float) and value.is_integer():  # NumPy's float64 is one
        value = int(value)
    return str(value).strip() or None


def reason_of(failure: Exception) -> str:
    """The first line of what a library says, or the kind of its error."""
    return str(failure).splitlines()[0] if str(failure) else type(failure).__name__


_FORMS = "Give CSV with a header, Parquet, or a vector file, whose attributes are taken"


def read_columns(path: Path, names: Sequence[str]) -> dict[str, list[str | None]]:
    """Columns of a CSV, TSV, Parquet or vector file as texts.

    Args:
        path: The file.
        names: The columns to read.

    Returns:
        Texts by column, None for empty cells. Whole numbers have no point, and spaces around
        texts are removed.

    Raises:
        DatasetError: The file is unreadable, lacks a column, or has no row.
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
    """Whether a file has a column. Raises DatasetError where the file is unreadable."""
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
        frame: pd.DataFrame = pyogrio.read_dataframe(path, read_geometry=False)
        return frame
    except Exception as error:  # each driver has errors of its own
        raise DatasetError(
            str(path), f"not readable as a table ({reason_of(error)})", _FORMS
        ) from error
