"""Files of points, read as a table with lon and lat in degrees of WGS 84, or with their labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from models.errors import UserError
from pipeline.io.tables import (
    PARQUET,
    SEPARATORS,
    cell_text,
    read_features,
    read_text_table,
    reason_of,
    require_bounded,
)
from pipeline.io.user_paths import file_and_layer, foreign_address

_AXES = {
    "lon": ("lon", "longitude", "long", "lng"),
    "lat": ("lat", "latitude"),
}
_FORMS = "Give a vector file of points, GeoParquet, or a CSV file with columns lon and lat"


class PointsError(UserError):
    """Unusable points: an unreadable file, or points without id, year or place."""


@dataclass(frozen=True, eq=False)
class ReferencePoints:
    """Points with a label: `lon`, `lat` float64 (n,), degrees of WGS 84, NaN for no place.

    `ids` are the texts of a column `id`; all are None where there is no such column.
    """

    lon: np.ndarray
    lat: np.ndarray
    labels: tuple[str | None, ...]
    ids: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_frame(path: Path) -> pd.DataFrame:
    """All rows and columns of a file, with `lon` and `lat`, float64 degrees of WGS 84.

    Vector files and GeoParquet are reprojected from their own CRS; one of several layers is named
    by file.gpkg#layer. Tables (CSV, Parquet) have columns of degrees. `lon` and `lat` are NaN for
    a row without a place.

    Raises:
        PointsError: The file is unreadable, has no CRS, or holds other geometries than points.
    """
    file, layer = file_and_layer(path)
    if not file.is_file():
        problem = foreign_address(str(path)) or "there is no such file"
        raise PointsError(str(path), problem, _FORMS)
    suffix = file.suffix.lower()
    try:
        if layer is None and suffix in SEPARATORS:
            frame = read_text_table(path)
        elif layer is None and suffix in PARQUET and not _has_geometry(path):
            require_bounded(path)
            frame = pq.read_table(path).to_pandas(ignore_metadata=True)  # which may be anything
        else:
            return _of_geometries(read_features(path, PointsError, _FORMS), path)
    except UserError:
        raise
    except (OSError, ValueError, pa.ArrowException, pd.errors.ParserError) as error:
        raise PointsError(
            str(path), f"not readable as a table ({reason_of(error)})", _FORMS
        ) from error
    return _of_columns(frame, path)


def _has_geometry(path: Path) -> bool:
    return b"geo" in (pq.read_schema(path).metadata or {})


def read_reference(path: Path, label: str) -> ReferencePoints:
    """The points of a vector file of any CRS, or of a table with lon and lat, and their labels.

    Raises:
        PointsError: The file is unreadable, holds no point, or has no column `label`.
    """
    frame = read_frame(path)
    if label not in frame.columns:
        columns = ", ".join(str(name) for name in frame.columns if name not in ("lon", "lat"))
        raise PointsError(
            str(path),
            f"it has no column {label!r}; its columns are {columns}",
            "Name the column of the classes by --label",
        )
    if not len(frame):
        raise PointsError(str(path), "it holds no point", "Give points with a class")
    return ReferencePoints(
        lon=frame["lon"].to_numpy(np.float64),
        lat=frame["lat"].to_numpy(np.float64),
        labels=tuple(cell_text(value) for value in frame[label]),
        ids=tuple(cell_text(value) for value in frame["id"])
        if "id" in frame.columns
        else (None,) * len(frame),
    )


def _of_geometries(frame: geopandas.GeoDataFrame, path: Path) -> pd.DataFrame:
    frame = _single_points(frame)
    geometries = frame.geometry
    there = ~(geometries.isna() | geometries.is_empty)
    kinds = set(geometries[there].geom_type) - {"Point"}
    if kinds:
        raise PointsError(
            str(path),
            f"it holds {', '.join(sorted(kinds))}, not only points",
            "Give points, for instance some inside each area",
        )
    if frame.crs is None:
        raise PointsError(
            str(path), "the file states no CRS", "Set it, for instance with ogr2ogr -a_srs"
        )
    degrees = geometries.to_crs(4326)
    columns: dict[str, Any] = {"lon": shapely.get_x(degrees), "lat": shapely.get_y(degrees)}
    table = pd.DataFrame(frame.drop(columns=geometries.name))
    # Columns of these names might contradict the geometries.
    return table.drop(columns=[*columns], errors="ignore").assign(**columns)


def _single_points(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """The features with multi-points of one point, which QGIS writes, as points."""
    geometries = frame.geometry
    multi = (geometries.geom_type == "MultiPoint") & (geometries.count_geometries() == 1)
    if not multi.any():
        return frame
    first = geometries.where(~multi, geometries.get_geometry(0))
    return frame.set_geometry(first)


def _of_columns(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    names = {str(name).strip().lower(): name for name in frame.columns}
    columns = {axis: next((names[n] for n in of if n in names), None) for axis, of in _AXES.items()}
    missing = [axis for axis, name in columns.items() if name is None]
    if missing:
        raise PointsError(
            str(path),
            f"it has no column {' and no column '.join(missing)}; its columns are "
            f"{', '.join(map(str, frame.columns))}",
            "Give degrees of WGS 84 in columns lon and lat, or a vector file",
        )
    degrees = {axis: _numbers(frame[name], str(name), path) for axis, name in columns.items()}
    return frame.drop(columns=[name for name in columns.values() if name]).assign(**degrees)


def _numbers(values: pd.Series, name: str, path: Path) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.isna().any():  # decimal commas
        texts = values.astype(str).str.strip().str.replace(",", ".", n=1, regex=False)
        numbers = numbers.fillna(pd.to_numeric(texts, errors="coerce"))
    wrong = numbers.isna() & values.notna()
    if wrong.any():
        raise PointsError(
            str(path),
            f"{int(wrong.sum())} values of {name} are not numbers, for one {values[wrong].iloc[0]}",
            "Write decimal degrees",
        )
    return numbers.to_numpy(np.float64)
