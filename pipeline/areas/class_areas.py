"""The areas of a map's classes in zones: hectares on the ellipsoid, mapped or expected."""

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from affine import Affine
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from models.vocabulary.vocabulary import Vocabulary
from pipeline.areas.coverage import covered_share
from pipeline.areas.pixel_area import PixelAreas
from pipeline.areas.zones import Zones
from pipeline.io.store import Store
from pipeline.product.layers import CLASS, CONFIDENCE, TOP_CLASSES, TOP_CONFIDENCES
from pipeline.product.rank_shares import RankShares, rank_shares
from pipeline.product.read_layer import read_layer

_READERS = 4
_ROWS = 512  # of a cell at once: the height of its COGs' blocks


@dataclass(frozen=True, eq=False)
class ClassAreas:
    """Areas in hectares by zone and class.

    Attributes:
        values: The class values, int64 (class,), in the order of the vocabulary's legend.
        mapped: What is mapped as each class, float64 (zone, class).
        expected: The sum over pixels of their area × the probability of each class, likewise; None
            where it was not asked for.
        unranked: The sum of area × the probability that was not kept, of classes behind the kept
            ranks, float64 (zone,); None without `expected`.
    """

    values: np.ndarray
    mapped: np.ndarray
    expected: np.ndarray | None = None
    unranked: np.ndarray | None = None


@dataclass(frozen=True)
class _Sums:
    """The sums of a cell: the places of zones, float64 (zone, class), and as in `ClassAreas`."""

    zones: tuple[int, ...]
    mapped: np.ndarray
    expected: np.ndarray
    unranked: np.ndarray


def class_areas_in(
    store: Store,
    items: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    zones: Zones | None = None,
    *,
    by_confidence: bool = False,
    done: Callable[[int], None] = lambda count: None,
) -> ClassAreas:
    """Sum up the areas of a map's classes.

    Each pixel counts with its area on the ellipsoid (`PixelAreas`) and, at a zone's edge, with the
    exact share of it that the zone covers (`covered_share`). Zones may overlap, and each counts by
    itself. Cells are read a strip at a time, a few cells at once.

    Args:
        store: The run's folder.
        items: The STAC items of its finished cells.
        vocabulary: Its classes.
        zones: The zones; None for one zone, the whole run.
        by_confidence: Sum up probabilities, too: those of the kept ranks (`rank_shares`).
        done: Called with the number of cells that are done.

    Raises:
        OutputUnreadable: A raster cannot be read.
    """
    values = np.array([entry.value for entry in vocabulary.legend], np.int64)
    place = np.full(int(np.iinfo(vocabulary.dtype).max) + 1, len(values), np.int64)
    place[values] = np.arange(len(values))
    count = 1 if zones is None else len(zones)
    mapped, expected = np.zeros((count, len(values))), np.zeros((count, len(values)))
    unranked = np.zeros(count)

    def read(item: Mapping[str, Any]) -> _Sums | None:
        return _cell_sums(
            store, item, place, len(values), vocabulary.none_value, zones, by_confidence
        )

    with ThreadPoolExecutor(_READERS) as pool:
        for number, sums in enumerate(pool.map(read, items), start=1):
            if sums is not None:
                own = list(sums.zones)
                mapped[own] += sums.mapped
                expected[own] += sums.expected
                unranked[own] += sums.unranked
            done(number)
    if not by_confidence:
        return ClassAreas(values, mapped)
    return ClassAreas(values, mapped, expected, unranked)


def _cell_sums(
    store: Store,
    item: Mapping[str, Any],
    place: np.ndarray,
    classes: int,
    none_value: int,
    zones: Zones | None,
    by_confidence: bool,
) -> _Sums | None:
    """The sums of a cell; None where no zone reaches into it. `place` is that of a class value."""
    properties = item["properties"]
    epsg = int(properties["proj:code"].removeprefix("EPSG:"))
    transform = Affine(*properties["proj:transform"][:6])
    rows, columns = properties["proj:shape"]
    polygons: list[tuple[int, BaseGeometry | None]] = [(0, None)]
    if zones is not None and not (
        polygons := [*zones.in_utm(epsg, tuple(properties["proj:bbox"]))]
    ):
        return None
    areas = PixelAreas.of_grid(epsg, transform, (rows, columns))
    mapped, expected = (np.zeros((len(polygons), classes)) for _ in range(2))
    unranked = np.zeros(len(polygons))
    for top in range(0, rows, _ROWS):
        strip = slice(top, min(top + _ROWS, rows))
        ranks = _read_ranks(store, item, strip, columns, none_value, by_confidence)
        of_class = place[ranks.classes]
        hectares = areas.hectares(strip, slice(0, columns))
        for number, (_, polygon) in enumerate(polygons):
            weights, part = hectares, (slice(None), slice(None))
            if polygon is not None:
                down, across = _reach(polygon, transform, strip, columns)
                if down.start >= down.stop or across.start >= across.stop:
                    continue
                corner = transform @ Affine.translation(across.start, down.start)
                shape = (down.stop - down.start, across.stop - across.start)
                part = (slice(down.start - top, down.stop - top), across)
                weights = hectares[part] * covered_share(polygon, corner, shape)
            mapped[number] += _summed(of_class[0][part], weights, classes)
            if by_confidence:
                for rank, shares in zip(of_class, ranks.shares, strict=True):
                    expected[number] += _summed(rank[part], weights * shares[part], classes)
                unranked[number] += float((weights * ranks.rest[part]).sum())
    return _Sums(tuple(number for number, _ in polygons), mapped, expected, unranked)


def _reach(
    polygon: BaseGeometry, transform: Affine, strip: slice, columns: int
) -> tuple[slice, slice]:
    """The rows of a strip and the columns that a polygon's bounds reach; perhaps none."""
    left, bottom, right, top = polygon.bounds
    first_column, first_row = ~transform @ (left, top)
    last_column, last_row = ~transform @ (right, bottom)
    return (
        slice(max(math.floor(first_row), strip.start), min(math.ceil(last_row), strip.stop)),
        slice(max(math.floor(first_column), 0), min(math.ceil(last_column), columns)),
    )


def _summed(of_class: np.ndarray, weights: np.ndarray, classes: int) -> np.ndarray:
    """The sums of weights by class, float64 (class,); what is of no class is left out."""
    return np.bincount(of_class.ravel(), weights.ravel(), classes + 1)[:classes]


def _read_ranks(
    store: Store,
    item: Mapping[str, Any],
    rows: slice,
    columns: int,
    none_value: int,
    by_confidence: bool,
) -> RankShares:
    """The kept ranks of a strip of a cell; without `by_confidence`, the classes alone."""
    window = Window(0, rows.start, columns, rows.stop - rows.start)
    if not by_confidence:
        classes = read_layer(store, item, CLASS, window)
        return RankShares(classes, np.empty(0), np.empty(0))
    top = TOP_CLASSES.name in item["assets"]
    classes = read_layer(store, item, TOP_CLASSES if top else CLASS, window)
    percents = read_layer(store, item, TOP_CONFIDENCES if top else CONFIDENCE, window)
    return rank_shares(classes, percents, none_value)
