"""Points with a label, read from a vector file or a table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.io.tables import cell_text
from pipeline.point_series.point_file import PointsError, read_frame


@dataclass(frozen=True, eq=False)
class ReferencePoints:
    """Points with a label: `lon`, `lat` float64 (n,), degrees of WGS 84, NaN for no place."""

    lon: np.ndarray
    lat: np.ndarray
    labels: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.labels)


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
    )
