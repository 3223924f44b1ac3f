"""Points with ids, years and labels, read from a vector file or a table and checked."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.grid.mgrs import NORTH, SOUTH
from pipeline.io.tables import cell_text
from pipeline.point_series.point_columns import LABEL, YEARS, PointColumns
from pipeline.point_series.point_file import PointsError, read_frame

__all__ = ["LABEL", "PointColumns", "Points", "PointsError", "read_points"]

_MOST_LISTED = 5


@dataclass(frozen=True, eq=False)
class Points:
    """Points with distinct ids.

    Attributes:
        lon: float64 (n,), degrees of WGS 84; `lat` too.
        year: int32 (n,).
        labels: Texts or None, by the label's name without "label_".
        photo_keys: Texts or None.
        left_out: The reasons why other points of the file cannot be used, by id.
    """

    ids: tuple[str, ...]
    lon: np.ndarray
    lat: np.ndarray
    year: np.ndarray
    labels: Mapping[str, tuple[str | None, ...]]
    photo_keys: tuple[str | None, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Points":
        """Some of the points, in the order of `indices`; `left_out` is empty."""
        chosen = np.asarray(indices, np.intp)
        places = chosen.tolist()
        return Points(
            ids=tuple(self.ids[i] for i in places),
            lon=self.lon[chosen],
            lat=self.lat[chosen],
            year=self.year[chosen],
            labels={name: tuple(of[i] for i in places) for name, of in self.labels.items()},
            photo_keys=tuple(self.photo_keys[i] for i in places),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all attributes, whatever the format of the file."""
        digest = hashlib.sha256()
        for array in (self.lon, self.lat, self.year):
            digest.update(np.ascontiguousarray(array).tobytes())
        texts = [self.ids, dict(self.labels), self.photo_keys, dict(self.left_out)]
        digest.update(json.dumps(texts, sort_keys=True).encode())
        return digest.hexdigest()


def read_points(
    path: Path,
    columns: PointColumns | None = None,
    allowed: Mapping[str, Sequence[str]] | None = None,
) -> Points:
    """The points of a vector file, a GeoParquet file, or a CSV or Parquet table with lon and lat.

    Points without coordinates, or where Sentinel-2 has no tiles, are left out.

    Args:
        path: The file.
        columns: The names of its columns.
        allowed: The labels that a column may have, by the column's name.

    Raises:
        PointsError: The file is unreadable or lacks a column, an id is missing or repeated, a year
            is not one of Sentinel-2, or a label is not allowed.
    """
    columns = columns or PointColumns()
    frame = read_frame(path)
    file = str(path)
    years = () if columns.same_year is not None else (columns.year,)
    for name in (columns.id, *years, *(columns.labels or ())):
        if name not in frame.columns:
            raise PointsError(
                file,
                f"it has no column {name!r}; its columns are {', '.join(map(str, frame.columns))}",
                "Name it by --id-column or --year-column, or give one year for all by --year"
                if name in (columns.id, columns.year)
                else "Name one that is there",
            )
    ids = _ids([cell_text(value) for value in frame[columns.id]], file)
    lon, lat = (frame[axis].to_numpy(np.float64) for axis in ("lon", "lat"))
    _require_degrees(lon, lat, file)
    year = _years(frame[columns.year], columns.year, file) if columns.same_year is None else None
    names = columns.labels
    if names is None:
        names = tuple(str(name) for name in frame.columns if str(name).startswith(LABEL))
    labels = {n.removeprefix(LABEL): tuple(cell_text(v) for v in frame[n]) for n in names}
    _require_allowed(labels, allowed or {}, file)
    has_keys = columns.photo_key in frame.columns
    keys = tuple(cell_text(value) for value in frame[columns.photo_key]) if has_keys else ()
    points = Points(
        ids=ids,
        lon=lon,
        lat=lat,
        year=np.full(len(ids), columns.same_year, np.int32) if year is None else year,
        labels=labels,
        photo_keys=keys or (None,) * len(ids),
    )
    return _usable(points)


def _ids(ids: Sequence[str | None], file: str) -> tuple[str, ...]:
    if None in ids:
        rows = [number for number, name in enumerate(ids, 1) if name is None]
        raise PointsError(
            file, f"{len(rows)} points have no id, such as number {rows[0]}", "Give each point one"
        )
    known = tuple(name for name in ids if name is not None)
    repeated = [name for name, count in Counter(known).items() if count > 1]
    if repeated:
        raise PointsError(
            file,
            f"{len(repeated)} ids are given to several points: {_listed(repeated)}",
            "Give every point, and every year of one place, an id of its own",
        )
    if not known:
        raise PointsError(file, "it holds no point", "Give at least one")
    return known


def _years(values: Any, name: str, file: str) -> np.ndarray:
    texts = [cell_text(value) for value in values]
    wrong = [t for t in texts if not (t and t.isdigit() and YEARS[0] <= int(t) <= YEARS[1])]
    if wrong:
        shown = _listed(sorted({text or "none" for text in wrong}))
        raise PointsError(
            file,
            f"the {name} of {len(wrong)} points is no year of Sentinel-2: {shown}",
            f"Write a year from {YEARS[0]} on, such as 2018",
        )
    return np.array([int(text) for text in texts if text], np.int32)


def _require_degrees(lon: np.ndarray, lat: np.ndarray, file: str) -> None:
    known = np.isfinite(lon) & np.isfinite(lat)
    wrong = known & ((np.abs(lon) > 180) | (np.abs(lat) > 90))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise PointsError(
            file,
            f"{int(wrong.sum())} points lie outside ±180, ±90 degrees, such as "
            f"{lon[first]:g}, {lat[first]:g}",
            "Give degrees of WGS 84, longitude first, or a file that states its CRS",
        )


def _require_allowed(
    labels: Mapping[str, Sequence[str | None]], allowed: Mapping[str, Sequence[str]], file: str
) -> None:
    for name, known in allowed.items():
        if name.removeprefix(LABEL) not in labels:
            raise PointsError(
                file,
                f"classes are listed for {name!r}, and the points have "
                f"{', '.join(labels) or 'no labels'}",
                "Name a column of labels",
            )
        of_points = labels[name.removeprefix(LABEL)]
        strange = Counter(label for label in of_points if label is not None)
        for label in known:
            strange.pop(label, None)
        if strange:
            shown = _listed([f"{label} ({count})" for label, count in strange.most_common()])
            raise PointsError(
                file,
                f"{sum(strange.values())} points have a {name} that is not in its list: {shown}",
                f"Correct them, or add them to the list, which has {_listed(known)}",
            )


def _usable(points: Points) -> Points:
    nowhere = ~(np.isfinite(points.lon) & np.isfinite(points.lat))
    beyond = ~nowhere & ((points.lat < SOUTH) | (points.lat > NORTH))
    if not (nowhere | beyond).any():
        return points
    reasons = {points.ids[i]: "no coordinates" for i in np.flatnonzero(nowhere)} | {
        points.ids[i]: f"outside {-SOUTH:g}° S to {NORTH:g}° N, where Sentinel-2's tiles end"
        for i in np.flatnonzero(beyond)
    }
    return replace(points.take(np.flatnonzero(~(nowhere | beyond))), left_out=reasons)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_LISTED])
    return shown if len(names) <= _MOST_LISTED else f"{shown} and {len(names) - _MOST_LISTED} more"
