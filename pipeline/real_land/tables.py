"""WorldCereal's long tables of labelled pixels: one row per step of ten days or a month."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from models.encoder.preprocessing import BANDS
from pipeline.errors import DatasetError
from pipeline.observations.monthly_median import MONTHS

TABLES = ("france_2022_monthly", "france_2023_dekadal", "flanders_2021_monthly")
IGNORED = "ignore"
_STAND_IN = {"B8A": "B08"}  # the tables have no B8A; maps substitute it in the same way
_NO_OBSERVATION = 65535
_OF_CROPS, _NO_CROP = "temporary_crops", ("ignore", "no_crop")
_STEPS_PER_MONTH = 3
_REMEDY = (
    "Give WorldCereal's long tables: one row per step, with sample_id, timestamp, bands, labels"
)


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Labelled points and their steps.

    Attributes:
        tables: The name of each point's table.
        classes: The finest class: the crop of a temporary crop if it is known, else the land cover.
        year: The year of the label.
        first: The first month's number, 12 · year + month − 1.
        months: The number of months, 12 or more.
        steps: float32 (n, month, 3, band): reflectance × 10000 without offset, NaN = no
            observation. Bands as `models.encoder.preprocessing.BANDS`; a month has up to 3 steps.
    """

    ids: np.ndarray
    tables: np.ndarray
    classes: np.ndarray
    lon: np.ndarray
    lat: np.ndarray
    year: np.ndarray
    first: np.ndarray
    months: np.ndarray
    steps: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> "LabelledPoints":
        """Some of the points, by a mask or by their numbers."""
        return LabelledPoints(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def read_labelled_points(folder: Path, tables: Sequence[str] = TABLES) -> LabelledPoints:
    """The points of some tables, `<folder>/<name>.parquet`, in order.

    Points without a class, or without an observation in their last twelve months, are left out.

    Raises:
        DatasetError: A file is missing or not such a table.
    """
    parts = [_read(folder / f"{name}.parquet", name) for name in tables]
    longest = max(part.steps.shape[1] for part in parts)
    gathered = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in LabelledPoints.__dataclass_fields__
        if name != "steps"
    }
    steps = [
        np.pad(
            part.steps,
            ((0, 0), (0, longest - part.steps.shape[1]), (0, 0), (0, 0)),
            constant_values=np.nan,
        )
        for part in parts
    ]
    return LabelledPoints(**gathered, steps=np.concatenate(steps))


def _read(path: Path, name: str) -> LabelledPoints:
    stored = [_STAND_IN.get(band, band) for band in BANDS]
    try:
        rows = pd.read_parquet(path)
        values = rows[stored].to_numpy(np.float32)
        month = (rows["timestamp"].dt.year * MONTHS + rows["timestamp"].dt.month - 1).to_numpy()
        labels = rows.groupby("sample_id", sort=False)[
            ["lon", "lat", "valid_time", "landcover10", "croptype24"]
        ].first()
    except (OSError, KeyError, AttributeError, ValueError) as error:
        raise DatasetError(str(path), f"it is not such a table ({error})", _REMEDY) from error
    values[(values == _NO_OBSERVATION) | (values == 0)] = np.nan
    place = labels.index.get_indexer(pd.Index(rows["sample_id"]))
    first, count = int(month.min()), int(month.max() - month.min()) + 1
    # A step's number within its month, in time's order.
    order = rows.assign(month=month).sort_values("timestamp", kind="stable")
    within = order.groupby(["sample_id", "month"]).cumcount().sort_index().to_numpy()
    if count < MONTHS or within.max() >= _STEPS_PER_MONTH:
        raise DatasetError(str(path), f"{count} months of up to {within.max() + 1} steps", _REMEDY)
    steps = np.full((len(labels), count, _STEPS_PER_MONTH, len(BANDS)), np.nan, np.float32)
    steps[place, month - first, within] = values
    steps[np.isnan(steps).any(axis=3)] = np.nan  # a step has all bands or none
    cover, crop = (labels[key].to_numpy(str) for key in ("landcover10", "croptype24"))
    is_known = (cover == _OF_CROPS) & ~np.isin(crop, _NO_CROP)
    points = LabelledPoints(
        ids=labels.index.to_numpy(str),
        tables=np.full(len(labels), name),
        classes=np.where(is_known, crop, cover),
        lon=labels["lon"].to_numpy(float),
        lat=labels["lat"].to_numpy(float),
        year=labels["valid_time"].dt.year.to_numpy(),
        first=np.full(len(labels), first),
        months=np.full(len(labels), count),
        steps=steps,
    )
    seen = np.isfinite(steps[:, -MONTHS:]).any(axis=(1, 2, 3))
    return points.take((points.classes != IGNORED) & seen)
