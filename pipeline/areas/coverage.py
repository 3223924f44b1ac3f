"""The exact share of each pixel that a polygon covers.

Each edge is cut where it crosses from one pixel into the next. A piece adds the signed area between
itself and the right side of its pixel, and its height to all pixels further right, by a running sum
over the row. Renderers of fonts convert outlines so (font-rs, Levien 2016). Overlaying each pixel
with the polygon gives the same shares, and takes many times as long for large ones
(`tests/benchmarks/bench_areas.py`).
"""

import numpy as np
import shapely
from affine import Affine
from shapely.geometry.base import BaseGeometry

_ROUNDING = 1e-9  # of a pixel; a share nearer to 0 or 1 is that


def covered_share(area: BaseGeometry, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """The share of each pixel that an area covers, 0 … 1: float64 (row, column).

    Args:
        area: A valid polygon or multi-polygon; parts outside the grid do not matter.
        transform: Pixel (column, row) → the coordinates of the area, north up.
        shape: Rows and columns.
    """
    rows, columns = shape
    left, top = transform.c, transform.f
    right, bottom = transform @ (columns, rows)
    window = shapely.box(left, bottom, right, top)
    if area.covers(window):
        return np.ones(shape)
    inside = shapely.intersection(area, window)
    start, end = _edges(inside)
    origin, pixel = np.array([left, top]), np.array([transform.a, transform.e])
    start, end = (start - origin) / pixel, (end - origin) / pixel
    share = np.zeros((rows, columns + 2))
    _accumulate(start, end, share)
    whole: np.ndarray = np.cumsum(share, axis=1)[:, :columns]
    whole = np.abs(whole)
    whole[whole < _ROUNDING] = 0
    whole[whole > 1 - _ROUNDING] = 1
    return whole


def _edges(area: BaseGeometry) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of all edges, float64 (n, 2): shells run one way, holes the other."""
    starts, ends = [np.empty((0, 2))], [np.empty((0, 2))]
    for part in shapely.get_parts(area):
        if part.geom_type != "Polygon":  # where the area only touches the window
            continue
        for number, ring in enumerate([part.exterior, *part.interiors]):
            corners = shapely.get_coordinates(ring)
            if shapely.is_ccw(ring) == (number > 0):
                corners = corners[::-1]
            starts.append(corners[:-1])
            ends.append(corners[1:])
    return np.concatenate(starts), np.concatenate(ends)


def _accumulate(start: np.ndarray, end: np.ndarray, share: np.ndarray) -> None:
    """Add the signed areas of edges, float64 (n, 2: column, row), to the pixels that they cross."""
    slanted = start[:, 1] != end[:, 1]  # level ones bound no area to their right
    start, along = start[slanted], (end - start)[slanted]
    edge, place = _cuts(start, along)
    first = np.flatnonzero(edge[:-1] == edge[1:])
    edge, begin, stop = edge[first], place[first], place[first + 1]
    height = (stop - begin) * along[edge, 1]
    middle = start[edge] + ((begin + stop) / 2)[:, None] * along[edge]
    rows, width = share.shape
    column = np.clip(middle[:, 0].astype(np.int64), 0, width - 2)
    row = np.clip(middle[:, 1].astype(np.int64), 0, rows - 1)
    right_of = 1 - (middle[:, 0] - column)
    pixel = row * width + column
    flat = share.reshape(-1)
    flat += np.bincount(pixel, height * right_of, flat.size)
    flat += np.bincount(pixel + 1, height * (1 - right_of), flat.size)


def _cuts(start: np.ndarray, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where edges begin, cross lines between pixels, and end: numbers of edges, and 0 … 1 on them.

    In the order of the edges, and along each.
    """
    number = np.arange(len(start))
    edges, places = [number, number], [np.zeros(len(start)), np.ones(len(start))]
    for axis in (0, 1):
        low = np.minimum(start[:, axis], start[:, axis] + along[:, axis])
        high = np.maximum(start[:, axis], start[:, axis] + along[:, axis])
        first = np.floor(low).astype(np.int64) + 1
        count = np.maximum(np.ceil(high).astype(np.int64) - first, 0)
        of = np.repeat(number, count)
        line = (
            np.repeat(first, count) + np.arange(len(of)) - np.repeat(count.cumsum() - count, count)
        )
        edges.append(of)
        places.append((line - start[of, axis]) / along[of, axis])
    edge, place = np.concatenate(edges), np.clip(np.concatenate(places), 0, 1)
    order = np.lexsort((place, edge))
    return edge[order], place[order]
