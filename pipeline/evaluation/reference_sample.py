"""A stratified random sample of a map's pixels, to be labelled as references.

The strata are the map's classes, as Olofsson et al. 2014 (Remote Sensing of Environment 148,
42–57, section 5.1) advise: every class gets some points, and the others are shared out by area.
Within a stratum, each pixel is as likely as any other, so a point's probability is its stratum's
number of points over its pixels.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError, SettingsError
from pipeline.evaluation.area_accuracy import FEWEST
from pipeline.evaluation.map_points import cell_classes
from pipeline.grid.mgrs import to_lonlat
from pipeline.io.store import Store, public_url
from pipeline.product.cell_report import CellReport, class_hectares

_READERS = 4
_USUAL_MINIMUM = 50  # points of a rare class, as Olofsson et al. advise


@dataclass(frozen=True)
class SampleStratum:
    """A class of the map: its value and name, its pixels and their area, and its points."""

    value: int
    name: str
    pixels: int
    hectares: float
    points: int


@dataclass(frozen=True, eq=False)
class ReferenceSample:
    """Pixels of a map, drawn at random within strata, in random order.

    Attributes:
        lon: Longitudes of the pixels' centres, float64 (n,), degrees of WGS 84; `lat` likewise.
        value: The mapped class values, int64 (n,).
        strata: The classes, by value.
    """

    lon: np.ndarray
    lat: np.ndarray
    value: np.ndarray
    strata: tuple[SampleStratum, ...]


def draw_sample(
    store: Store,
    items: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    points: int,
    minimum: int | None = None,
    seed: int = 0,
) -> ReferenceSample:
    """Draw pixels of the finished cells; no pixel is drawn twice.

    The cells' items say how many pixels each class has in each cell. So only the rasters of cells
    with a point are read, a few at a time.

    Args:
        store: The run's folder.
        items: The STAC items of its finished cells, in a fixed order.
        vocabulary: The run's classes.
        points: The number of points.
        minimum: Points of each class, or all its pixels where it has fewer. By default half of
            the points, shared out equally, but no more than 50 a class.
        seed: Of the random draw.

    Raises:
        OutputError: No cell is finished, or a raster is not the one that its item describes.
        SettingsError: The points are too few for the classes, or more than the map has pixels.
        OutputUnreadable: A raster cannot be read.
    """
    counts = [CellReport.from_item(item).pixels for item in items]
    names = {entry.value: entry.name for entry in vocabulary.legend}
    values = sorted({value for cell in counts for value in cell if value in names})
    if not values:
        raise OutputError(
            public_url(store.root), "no cell of this run is finished, or all are nodata", "Map it"
        )
    by_cell = np.array([[cell.get(value, 0) for value in values] for cell in counts], np.int64)
    pixels, areas = by_cell.sum(axis=0), class_hectares(items)
    hectares = np.array([areas[value] for value in values])
    drawn = allocate_points(points, pixels, hectares, minimum)
    rng = np.random.default_rng(seed)
    chosen: dict[int, list[tuple[int, int]]] = {}  # by cell: classes, and places among its pixels
    for k, count in enumerate(drawn.tolist()):
        ends = np.cumsum(by_cell[:, k])
        places = np.sort(rng.choice(int(pixels[k]), count, replace=False, shuffle=False))
        cells = np.searchsorted(ends, places, side="right")
        inner = places - (ends - by_cell[:, k])[cells]
        for cell, place in zip(cells.tolist(), inner.tolist(), strict=True):
            chosen.setdefault(cell, []).append((values[k], place))

    def read(cell: int) -> np.ndarray:
        return _centres(store, items[cell], chosen[cell])

    with ThreadPoolExecutor(_READERS) as pool:
        rows = np.concatenate(list(pool.map(read, sorted(chosen))))
    rows = rows[rng.permutation(len(rows))]  # else neighbours in the list were of one class
    return ReferenceSample(
        lon=rows[:, 0],
        lat=rows[:, 1],
        value=rows[:, 2].astype(np.int64),
        strata=tuple(
            SampleStratum(value, names[value], int(pixels[k]), float(hectares[k]), int(drawn[k]))
            for k, value in enumerate(values)
        ),
    )


def allocate_points(
    points: int, pixels: np.ndarray, hectares: np.ndarray, minimum: int | None = None
) -> np.ndarray:
    """Share out points among strata: a minimum for each, the others by area.

    Args:
        points: The number of points.
        pixels: The strata's pixels, int64 (stratum,), each one or more.
        hectares: Their areas, float64 (stratum,).
        minimum: As of `draw_sample`.

    Returns:
        int64 (stratum,): their sum is `points`, and no stratum has more points than pixels.

    Raises:
        SettingsError: That is not possible.
    """
    strata = len(pixels)
    least = FEWEST if minimum is None else minimum
    if points < least * strata:
        raise SettingsError(
            f"{points} points",
            f"the map has {strata} classes, and each needs {least}",
            f"Draw {least * strata:,} points or more"
            + ("" if minimum is None else ", or lower --minimum"),
        )
    if points > pixels.sum():
        raise SettingsError(
            f"{points:,} points", f"the map has {pixels.sum():,} pixels", "Draw fewer points"
        )
    if minimum is None:
        least = max(least, min(_USUAL_MINIMUM, points // (2 * strata)))
    drawn = np.minimum(least, pixels)
    while (rest := points - int(drawn.sum())) > 0:
        room = pixels - drawn
        weights = np.where(room > 0, hectares, 0.0)
        wanted = rest * weights / weights.sum()
        whole = np.floor(wanted).astype(np.int64)
        more = np.minimum(whole, room)
        if (whole <= room).all():  # the last ones: to the largest remainders
            order = np.argsort(np.where(room > more, whole - wanted, np.inf), kind="stable")
            left = min(rest - int(more.sum()), np.count_nonzero(room > more))
            more[order[:left]] += 1
        drawn = drawn + more
    return drawn


def _centres(
    store: Store, item: Mapping[str, Any], chosen: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Longitude, latitude and class value, float64 (n, 3), of pixels' centres.

    `chosen` are a class value and the place among the cell's pixels of this class, row by row.
    """
    classes = cell_classes(store, item).ravel()
    columns = int(item["properties"]["proj:shape"][1])
    step, _, left, _, down, top = item["properties"]["proj:transform"][:6]
    pixels = np.empty(len(chosen), np.int64)
    for value in {value for value, _ in chosen}:
        where = [k for k, (of, _) in enumerate(chosen) if of == value]
        own = np.flatnonzero(classes == value)
        places = np.array([chosen[k][1] for k in where])
        if places.max() >= len(own):
            raise OutputError(
                f"{public_url(store.root)}, cell {item['id']}",
                f"its raster has {len(own):,} pixels of class {value}, its STAC item counts more",
                "Remove the cell's folder, and map it again",
            )
        pixels[where] = own[places]
    row, column = np.divmod(pixels, columns)
    zone = to_lonlat(int(item["properties"]["proj:code"].removeprefix("EPSG:")))
    x, y = left + step * (column + 0.5), top + down * (row + 0.5)
    lon, lat = zone.transform(x, y)
    return np.column_stack([lon, lat, [value for value, _ in chosen]]).astype(np.float64)
