"""Sen4Map's HDF5 files: each group is one LUCAS point and its year of Sentinel-2.

Two layouts are read (Sharma et al. 2024, doi:10.1109/JSTARS.2024.3435081, and the TimeSenCLIP
authors' crops of it). *Patches*: a group `Lucas_Point_<id>` holds one dataset (date, y, x) per band
(B2 … B12) and `SCL`, and the attribute `Image_ID`, one text per date. *Crops*: it holds `image`
(12, 10, 1, 1), the monthly composites of one pixel. Both carry `lc1`, `lu1`, `nuts0`,
`bioregion_class_code`, `EUNIS_L2` and `Coordinates`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pyproj import Transformer

from models.encoder.preprocessing import BANDS, MONTHS
from models.errors import UserError
from pipeline.observations.monthly_median import clear_pixels, monthly_medians
from pipeline.point_series.table import SeriesRows

LABELS = ("lc1", "lu1", "nuts0", "bioregion_class_code", "EUNIS_L2")
_YEAR = 2018  # of the LUCAS survey and of the observations
SEN4MAP_ATTRIBUTION = (
    f"Contains modified Copernicus Sentinel data {_YEAR}; Sen4Map, Sharma et al. 2024, "
    "doi:10.1109/JSTARS.2024.3435081; LUCAS, Eurostat"
)
LICENCE = "that of Sen4Map (doi:10.1109/JSTARS.2024.3435081)"

_GROUP = "Lucas_Point_"
# Earth Engine's name of an image begins with the sensing time of the datatake, which granules of
# one overpass share: 20180105T105421_20180105T105420_T31UFS.
_DATE = re.compile(r"(20\d{2})(0[1-9]|1[0-2])([0-3]\d)(T\d{6})?")
_FORMS = "Give Sen4Map's files as they come: groups Lucas_Point_<id> of patches or of 1×1 crops"
_FARTHEST = 3.0  # degrees from the place in a point's id to its coordinates


class Sen4MapError(UserError):
    """A file that is not Sen4Map's, or of an unknown layout."""


def group_names(path: Path) -> list[str]:
    """The names of a file's groups, sorted. Raises Sen4MapError for another kind of file."""
    with _opened(path) as file:
        names = sorted(name for name in file if name.startswith(_GROUP))
    if not names:
        raise Sen4MapError(str(path), f"it has no group {_GROUP}<id>", _FORMS)
    return names


def read_groups(
    path: Path, names: Sequence[str], keep: Sequence[int]
) -> tuple[SeriesRows | None, dict[str, str]]:
    """The series of some groups, and the reasons why others have none, by the point's id.

    A patch gives its centre pixel, masked and composited as a map's pixels are; its gaps stay 0. A
    crop gives its months. A month of a crop is missing where no band is above 1: the authors add 1
    to all values, and masked months are 0. The number of observations in a crop's month is not
    known: `clear` is 1 where there is one.

    Args:
        path: The file.
        names: The groups to read.
        keep: The scene classes that count as clear in patches.

    Raises:
        Sen4MapError: The file cannot be opened.
    """
    rows: list[_Row] = []
    left_out: dict[str, str] = {}
    with _opened(path) as file:
        for name in names:
            try:
                row = _read(file[name], name.removeprefix(_GROUP), keep)
            except _Unusable as error:
                left_out[name.removeprefix(_GROUP)] = str(error)
            except (KeyError, OSError) as error:
                left_out[name.removeprefix(_GROUP)] = f"damaged: {error}"
            else:
                rows.append(row)
    return (_rows(rows) if rows else None), left_out


class _Unusable(Exception):
    """The reason why a group gives no series."""


@dataclass(frozen=True, eq=False)
class _Row:
    id: str
    lon: float
    lat: float
    year: int
    series: np.ndarray
    clear: np.ndarray
    labels: Mapping[str, str | None]


def _read(group: Any, point: str, keep: Sequence[int]) -> _Row:
    lon, lat = _place(group.attrs.get("Coordinates"), point)
    if "image" in group:
        series, clear, year = *_of_crop(group["image"][()]), _YEAR
    else:
        series, clear, year = _of_patch(group, keep)
    if not series.any():
        raise _Unusable("no clear observation in the year")
    labels = {name: _text(group.attrs.get(name)) for name in LABELS}
    return _Row(point, lon, lat, year, series, clear, labels)


def _of_crop(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if image.shape != (MONTHS, len(BANDS), 1, 1):
        raise _Unusable(f"image is of shape {image.shape}, not {(MONTHS, len(BANDS), 1, 1)}")
    values = image[:, :, 0, 0].astype(np.float64)
    if not np.isfinite(values).all():
        raise _Unusable("its series holds NaN or infinity")
    series = np.rint(values.clip(0, 65535)).astype(np.uint16)
    series[(series <= 1).all(axis=1)] = 0
    return series, series.any(axis=1).astype(np.uint16)


def _of_patch(group: Any, keep: Sequence[int]) -> tuple[np.ndarray, np.ndarray, int]:
    names = {band: band if band in group else f"B{band[1:].lstrip('0')}" for band in BANDS}
    missing = [name for name in (*names.values(), "SCL") if name not in group]
    if missing:
        raise _Unusable(f"it lacks {', '.join(missing)}")
    dates = _dates(group.attrs.get("Image_ID"))
    stored = {name: _centre(group[name]) for name in ("SCL", *names.values())}
    for name, values in stored.items():
        if len(values) != len(dates):
            raise _Unusable(f"Image_ID names {len(dates)} dates, and {name} has {len(values)}")
    order = np.argsort([date[0] for date in dates], kind="stable")  # by time, as items are
    dates = [dates[place] for place in order]
    month = np.array([int(date[2]) - 1 for date in dates], np.int64)
    _, acquisition = np.unique([date[0] for date in dates], return_inverse=True)
    scl = np.nan_to_num(stored["SCL"][order]).astype(np.uint8)
    clear = clear_pixels(scl, keep)
    series = np.zeros((MONTHS, len(BANDS)), np.uint16)
    for index, band in enumerate(BANDS):
        # A value that is not a number was not observed.
        numbers = np.nan_to_num(stored[names[band]][order], nan=0.0)
        values = np.rint(numbers.clip(0, 65535)).astype(np.uint16)
        medians = monthly_medians(values[:, None, None], clear[:, None, None], month, acquisition)
        counted = np.bincount(month[clear & (values > 0)], minlength=MONTHS) > 0
        series[:, index] = np.where(counted, medians[:, 0, 0], 0)
    overpasses = {(number, m) for number, m, c in zip(acquisition, month, clear, strict=True) if c}
    counts = np.bincount([m for _, m in overpasses], minlength=MONTHS).astype(np.uint16)
    years = Counter(int(date[1]) for date in dates)
    return series, counts, years.most_common(1)[0][0] if years else _YEAR


def _centre(dataset: Any) -> np.ndarray:
    """The centre pixel of all dates: of 64 × 64 pixels number 32, 32, as the authors crop."""
    if len(dataset.shape) != 3:
        raise _Unusable(f"{dataset.name} is of shape {dataset.shape}, not (date, y, x)")
    _, height, width = dataset.shape
    values: np.ndarray = dataset[:, height // 2, width // 2]
    return values


def _dates(names: Any) -> list[re.Match[str]]:
    """The dates in `Image_ID`: groups 1 and 2 are year and month, the whole is the overpass."""
    if names is None:
        raise _Unusable("it lacks Image_ID")
    dates = []
    for name in map(_text, np.atleast_1d(names).tolist()):
        match = _DATE.search(name or "")
        if not match:
            raise _Unusable(f"Image_ID {name!r} names no date")
        dates.append(match)
    return dates


def _text(value: Any) -> str | None:
    if value is None:
        return None
    value = np.atleast_1d(value).tolist()[0]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text.strip() or None


def _place(coordinates: Any, point: str) -> tuple[float, float]:
    """Longitude and latitude of a group.

    Files differ in the order of `Coordinates`. A LUCAS id gives the place of its point, kilometres
    east and north in EPSG:3035: it decides the order, and replaces missing coordinates.
    """
    expected = _of_lucas(point)
    if coordinates is None:
        if expected is None:
            raise _Unusable("it has neither Coordinates nor the id of a LUCAS point")
        return expected
    numbers = np.asarray(coordinates, np.float64).reshape(-1)
    if numbers.size < 2 or numbers.size % 2 or not np.isfinite(numbers).all():
        raise _Unusable("its Coordinates are no pair of numbers")
    first, second = numbers.reshape(-1, 2).mean(axis=0).tolist()  # the middle of corners
    if expected is None:
        return first, second
    lon, lat = expected
    straight, swapped = (
        max(abs(x - lon), abs(y - lat)) for x, y in ((first, second), (second, first))
    )
    if min(straight, swapped) > _FARTHEST:
        raise _Unusable(f"its Coordinates {first:g}, {second:g} are not where its id lies")
    return (first, second) if straight <= swapped else (second, first)


_FROM_LAEA = Transformer.from_crs(3035, 4326, always_xy=True)


def _of_lucas(point: str) -> tuple[float, float] | None:
    if not re.fullmatch(r"\d{8}", point):
        return None
    lon, lat = _FROM_LAEA.transform(1000 * int(point[:4]), 1000 * int(point[4:]))
    return float(lon), float(lat)


def _rows(rows: Sequence[_Row]) -> SeriesRows:
    return SeriesRows(
        ids=[row.id for row in rows],
        lon=np.array([row.lon for row in rows], np.float64),
        lat=np.array([row.lat for row in rows], np.float64),
        year=np.array([row.year for row in rows], np.int32),
        series=np.stack([row.series for row in rows]),
        clear=np.stack([row.clear for row in rows]),
        labels={name: [row.labels[name] for row in rows] for name in LABELS},
        # The key of the ground photos of a point, before the direction's letter.
        photo_keys=[
            f"{row.labels['nuts0']}_{row.id}" if row.labels["nuts0"] else None for row in rows
        ],
    )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file, opened for reading. Raises Sen4MapError."""
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise Sen4MapError(str(path), "there is no such file", _FORMS) from None
    except OSError as error:
        raise Sen4MapError(str(path), f"it cannot be opened as HDF5 ({error})", _FORMS) from None
    with file:
        yield file
