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
from pipeline.io.user_paths import file_and_layer, foreign_address

PARQUET = (".parquet", ".geoparquet", ".pq")
SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
"""The separator of a text table, by the file's suffix, unless its header has another."""
LARGEST_TABLE, MOST_CELLS = 32 * 10**9, 2 * 10**9
"""Bytes, uncompressed, and cells of a table that is read into memory, at most."""
_OTHER_SEPARATORS = ";\t,|"  # ";" where the comma is that of decimals, as in much of Europe


def read_text_table(path: Path, rows: int | None = None) -> pd.DataFrame:
    """All columns of a file of `SEPARATORS`, as texts; its first rows, or all. Raises as pandas."""
    # Texts stay as they are written: 007 is not 7, and NA is the code of a country.
    return pd.read_csv(
        path,
        sep=_separator(path),
        dtype=str,
        keep_default_na=False,
        na_values=[""],
        encoding="utf-8-sig",
        nrows=rows,
    )


def _separator(path: Path) -> str:
    """The separator of a text table: that of its suffix, or another that its header has alone."""
    usual = SEPARATORS[path.suffix.lower()]
    with path.open(encoding="utf-8-sig") as file:
        header = file.readline()
    found = [sign for sign in _OTHER_SEPARATORS if sign in header]
    return usual if usual in header or not found else found[0]


def require_bounded(path: Path) -> None:
    """Require that a Parquet file is no larger, uncompressed, than what a table may be.

    Raises:
        ValueError: It is: a few bytes may stand for any number of equal rows.
    """
    about = pq.read_metadata(path)
    groups = (about.row_group(number) for number in range(about.num_row_groups))
    size, cells = sum(group.total_byte_size for group in groups), about.num_rows * about.num_columns
    if size > LARGEST_TABLE or cells > MOST_CELLS:
        raise ValueError(
            f"it has {about.num_rows:,} rows of {about.num_columns} columns, {size / 1e9:.1f} GB "
            f"uncompressed; a table has at most {MOST_CELLS:,} cells and {LARGEST_TABLE / 1e9:g} GB"
        )


def read_features(path: Path, error: type[UserError], remedy: str) -> geopandas.GeoDataFrame:
    """The features of GeoParquet or of a layer of a vector file, in the layer's CRS.

    Args:
        path: The file, or file#layer where several layers have a geometry.
        error: The error to raise where the file is unreadable or holds no geometry.
        remedy: The last part of the error's message.
    """
    file, named = file_and_layer(path)
    try:
        if named is None and file.suffix.lower() in PARQUET:
            require_bounded(file)
            return geopandas.read_parquet(file)
        layer = _layer(file, named, error, only_geometries=True)
        frame = geopandas.read_file(file, layer=layer)
    except UserError:
        raise
    except Exception as failure:  # each driver has errors of its own
        raise error(
            str(path), f"not readable as a vector file ({reason_of(failure)})", remedy
        ) from failure
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise error(str(path), "the file holds no geometry", remedy)
    return frame


def _layer(
    file: Path, named: str | None, error: type[UserError], *, only_geometries: bool
) -> str | None:
    """The layer of a vector file to read: the named one, or the only one with a geometry.

    Without `only_geometries`, a file without geometries may be read, too. Raises `error` where
    several layers, or not the named one, could be meant.
    """
    listed = [(str(name), kind is not None) for name, kind in pyogrio.list_layers(file)]
    names = [name for name, has_geometry in listed if has_geometry]
    if not names and not only_geometries:
        names = [name for name, _ in listed if name != _STYLES]
    if named is not None:
        if named in (name for name, has_geometry in listed if has_geometry or not only_geometries):
            return named
        raise error(
            f"{file}#{named}",
            f"the file has no such layer; its layers are {', '.join(names) or 'without geometry'}",
            f"Name one of them, such as {file.name}#{names[0]}" if names else "Give another file",
        )
    if len(names) > 1:
        raise error(
            str(file),
            f"it has several layers: {', '.join(names)}",
            f"Name the one to read behind a #: {file.name}#{names[0]}",
        )
    return names[0] if names else None


def cell_text(value: Any) -> str | None:
    """A table's cell as text: whole numbers without a point, None where nothing is written."""
    if value is None or value is pd.NA or value != value:  # NaN, NaT
        return None
    if isinstance(value, float) and value.is_integer():  # NumPy's float64 is one
        value = int(value)
    return str(value).strip() or None


def reason_of(failure: Exception) -> str:
    """The first line of what a library says, or the kind of its error."""
    if isinstance(failure, UnicodeDecodeError):
        return "its texts are not UTF-8: save it as UTF-8"
    return str(failure).splitlines()[0] if str(failure) else type(failure).__name__


_STYLES = "layer_styles"  # the table in which QGIS keeps a file's styles
_FORMS = "Give CSV with a header, Parquet, or a vector file, whose attributes are taken"


def read_columns(path: Path, names: Sequence[str]) -> dict[str, list[str | None]]:
    """Columns of a CSV, TSV, Parquet or vector file as texts.

    Args:
        path: The file, or file#layer.
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
    file, named = file_and_layer(path)
    if not file.is_file():
        problem = foreign_address(str(path)) or "there is no such file"
        raise DatasetError(str(path), problem, _FORMS)
    suffix = file.suffix.lower()
    try:
        if named is None and suffix in SEPARATORS:
            return read_text_table(path, rows)
        if named is None and suffix in PARQUET:
            require_bounded(path)
            schema = pq.read_schema(path)
            plain = [field.name for field in schema if not pa.types.is_nested(field.type)]
            return pq.read_table(path, columns=plain).to_pandas(ignore_metadata=True)
        layer = _layer(file, named, DatasetError, only_geometries=False)
        frame: pd.DataFrame = pyogrio.read_dataframe(file, layer=layer, read_geometry=False)
        return frame
    except UserError:
        raise
    except Exception as error:  # each driver has errors of its own
        raise DatasetError(
            str(path), f"not readable as a table ({reason_of(error)})", _FORMS
        ) from error
