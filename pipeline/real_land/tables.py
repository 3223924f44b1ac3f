"""Long tables of labelled pixels, one row per step, as `tables.toml` describes each."""

import tomllib
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from models.encoder.preprocessing import BANDS, MONTHS
from pipeline.errors import DatasetError
from pipeline.grid.blocks import blocks_of

BLOCK_KM = 50.0
"""The side of a block of land: points of one block are never on both sides of a comparison."""

_NO_OBSERVATION = 65535
_STEPS_PER_MONTH = 4  # a month can hold the starts of four steps of ten days
_REMEDY = (
    "Give a long table: one row per step, with sample_id, timestamp, one column per band, and the "
    "label columns that tables.toml names"
)


@dataclass(frozen=True)
class TableDescription:
    """What is known of a table, from `tables.toml`.

    Attributes:
        name: The file is `<folder>/<name>.parquet`.
        place: The land where the points are; tables of one place are one source.
        months: The months that a step covers; 1 for all steps of a month or less.
        lacks: The bands that it does not have.
        labels: The columns of labels; a point takes the first that `classes` knows.
        classes: The classes that a label may mean, as in `wordings.toml`.
        blocks: The column of the blocks, for tables without coordinates.
    """

    name: str
    place: str
    months: int
    lacks: tuple[str, ...]
    labels: tuple[str, ...]
    classes: dict[str, frozenset[str]]
    blocks: str | None
    licence: str
    attribution: str


@cache
def described_tables() -> tuple[TableDescription, ...]:
    """All tables that `tables.toml` describes, in its order."""
    content = Path(__file__).with_name("tables.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(content)
    legends = {
        name: {label: frozenset(classes) for label, classes in legend.items()}
        for name, legend in raw["legends"].items()
    }
    return tuple(
        TableDescription(
            name=entry["name"],
            place=entry["place"],
            months=_covered_months(entry["step"]),
            lacks=tuple(entry.get("lacks", ())),
            labels=tuple(entry["labels"]),
            classes=legends[entry["legend"]],
            blocks=entry.get("blocks"),
            licence=entry["licence"],
            attribution=entry["attribution"],
        )
        for entry in raw["tables"]
    )


def _covered_months(step: str) -> int:
    count, unit = step.split()
    return int(count) if unit.startswith("month") else 1


@dataclass(frozen=True, eq=False)
class LabelledPoints:
    """Labelled points and their steps.

    Attributes:
        tables: The name of each point's table; `places` the land.
        labels: The source's own word.
        classes: The classes that the label may mean: frozensets.
        lon: Degrees, WGS 84; `lat` too. NaN in a table without coordinates.
        blocks: The name of the block of land in which the point lies.
        year: The year in which the middle of the last twelve months lies.
        first: The first month's number, 12 · year + month − 1.
        months: The number of months, 12 or more.
        steps: float32 (n, month, 4, band): reflectance × 10000 without offset, NaN = no
            observation. Bands as `models.encoder.preprocessing.BANDS`; a band that the table lacks
            is NaN everywhere. A step of several months stands in each of them.
    """

    ids: np.ndarray
    tables: np.ndarray
    places: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    lon: np.ndarray
    lat: np.ndarray
    blocks: np.ndarray
    year: np.ndarray
    first: np.ndarray
    months: np.ndarray
    steps: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> "LabelledPoints":
        """Some of the points, by a mask or by their numbers."""
        return LabelledPoints(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def folder_name(place: str) -> str:
    """A place's name as that of a folder: "California and Arkansas" → "california-and-arkansas"."""
    plain = unicodedata.normalize("NFKD", place).encode("ascii", "ignore").decode()
    return "-".join(plain.casefold().split())


def read_labelled_points(folder: Path, names: Collection[str] | None = None) -> LabelledPoints:
    """The points of the described tables, or of those of some `names`, in order.

    Points whose label has no class, or without an observation in their last twelve months, are left
    out.

    Raises:
        DatasetError: A file is missing or not such a table.
    """
    tables = [one for one in described_tables() if names is None or one.name in names]
    return joined_points([read_table(folder, one) for one in tables])


def joined_points(parts: Sequence[LabelledPoints]) -> LabelledPoints:
    """The points of several tables, their months and steps padded to the most."""
    months, most = (max(part.steps.shape[axis] for part in parts) for axis in (1, 2))
    gathered = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in LabelledPoints.__dataclass_fields__
        if name != "steps"
    }
    steps = [
        np.pad(
            part.steps,
            (
                (0, 0),
                (0, months - part.steps.shape[1]),
                (0, most - part.steps.shape[2]),
                (0, 0),
            ),
            constant_values=np.nan,
        )
        for part in parts
    ]
    return LabelledPoints(**gathered, steps=np.concatenate(steps))


def read_table(folder: Path, table: TableDescription) -> LabelledPoints:
    """The points of one table, as `read_labelled_points`."""
    path = folder / f"{table.name}.parquet"
    try:
        rows = pd.read_parquet(path)
        values = _bands(rows, table.lacks)
        month = (rows["timestamp"].dt.year * MONTHS + rows["timestamp"].dt.month - 1).to_numpy()
        points = rows.groupby("sample_id", sort=False).first()
        labels = _labels(points, table)
        lon, lat = (_degrees(points, name, table) for name in ("lon", "lat"))
        blocks = blocks_of(lon, lat, BLOCK_KM) if table.blocks is None else points[table.blocks]
    except (OSError, KeyError, AttributeError, ValueError) as error:
        raise DatasetError(str(path), f"it is not such a table ({error})", _REMEDY) from error
    first = int(month.min())
    count = int(month.max()) - first + table.months
    # A step's number within its month, in time's order.
    order = rows.assign(month=month).sort_values("timestamp", kind="stable")
    within = order.groupby(["sample_id", "month"]).cumcount().sort_index().to_numpy()
    if count < MONTHS or within.max() >= _STEPS_PER_MONTH:
        raise DatasetError(str(path), f"{count} months of up to {within.max() + 1} steps", _REMEDY)
    place = points.index.get_indexer(pd.Index(rows["sample_id"]))
    steps = np.full((len(points), count, _STEPS_PER_MONTH, len(BANDS)), np.nan, np.float32)
    for later in range(table.months):
        steps[place, month - first + later, within] = values
    read = LabelledPoints(
        ids=points.index.to_numpy(str),
        tables=np.full(len(points), table.name),
        places=np.full(len(points), table.place),
        labels=labels,
        classes=np.array([*(table.classes.get(label) for label in labels), None], object)[:-1],
        lon=lon,
        lat=lat,
        blocks=np.array([f"{table.place} {block}" for block in blocks]),
        year=np.full(len(points), (first + count - MONTHS // 2 - 1) // MONTHS),
        first=np.full(len(points), first),
        months=np.full(len(points), count),
        steps=steps,
    )
    known = np.array([classes is not None for classes in read.classes])
    return read.take(known & np.isfinite(steps[:, -MONTHS:]).any(axis=(1, 2, 3)))


def _bands(rows: pd.DataFrame, lacks: Collection[str]) -> np.ndarray:
    """The values of a table's rows: float32 (row, band), NaN = none; a step has all or none."""
    has = [place for place, band in enumerate(BANDS) if band not in lacks]
    values = np.full((len(rows), len(BANDS)), np.nan, np.float32)
    stored = rows[[BANDS[place] for place in has]].to_numpy(np.float32)
    stored[(stored == _NO_OBSERVATION) | (stored == 0)] = np.nan
    stored[np.isnan(stored).any(axis=1)] = np.nan
    values[:, has] = stored
    return values


def _labels(points: pd.DataFrame, table: TableDescription) -> np.ndarray:
    """The first label of each point that has a class, or "": str (n,)."""
    labels = np.full(len(points), "", object)
    for column in table.labels:
        values = points[column].to_numpy(object)
        known = np.array([value in table.classes for value in values])
        labels = np.where((labels == "") & known, values, labels)
    return labels.astype(str)


def _degrees(points: pd.DataFrame, name: str, table: TableDescription) -> np.ndarray:
    if table.blocks is not None:
        return np.full(len(points), np.nan)
    return points[name].to_numpy(float)
