"""Seams between the UTM zones of a run, and the ribbon one pixel wide that closes their gaps.

Each zone owns the pixels whose centres lie on its side of the border. The grids of two zones are
rotated against each other. At some places on the border, the pixel of the eastern grid has its
centre west of the border, and the pixel of the western grid has its centre east of it: no zone owns
the place. A nearest-neighbour warp of each zone leaves a gap there, about one pixel in six rows.
In a gap, and nowhere else, a zone's last pixel in a row is shown once more, one column further.

No library does this: GDAL's mosaics would either keep the gaps or resample whole zones.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from pyproj import CRS, Transformer
from shapely.geometry.base import BaseGeometry

from pipeline.grid.cells import PIXEL
from pipeline.grid.mgrs import Strip, strips_of, to_lonlat, to_utm, unwrapped, zone_at

_CHORD = 0.02  # degrees; in UTM so long a piece of a meridian or parallel bends by 4 cm at most
_SLACK = 0.05  # metres by which a ribbon is wider than a pixel: its chords and its rounding
_NEAR = 0.002  # degrees within which a cell lies at a border: its frame ends at a whole pixel
_PIECE = 0.5  # degrees of a border to a window: narrow, and about a thousand for Europe


@dataclass(frozen=True)
class Seam:
    """A side of a zone that borders on other zones of the run.

    Attributes:
        epsg: The zone's CRS.
        side: "east", "west", "north" or "south".
        step: Columns and rows from the zone's last pixel in a row, or in a column, to the next one
            beyond the border.
        ribbon: The area with the centres of these last pixels, in metres of EPSG:`epsg`.
        windows: Rectangles (min x, min y, max x, max y) of the mosaic's CRS that hold the pixels
            beyond the border.
    """

    epsg: int
    side: str
    step: tuple[int, int]
    ribbon: BaseGeometry
    windows: tuple[tuple[float, float, float, float], ...]


_STEPS = {"east": (1, 0), "west": (-1, 0), "north": (0, -1), "south": (0, 1)}


def seams_between(boxes: Mapping[int, Sequence[Sequence[float]]], crs: CRS) -> list[Seam]:
    """The seams of a mosaic, along the stretches of borders that have cells on both sides.

    Args:
        boxes: The cells' bboxes (degrees, RFC 7946) by the EPSG code of their zone.
        crs: The mosaic's CRS.
    """
    seams = []
    for epsg in sorted(boxes):
        for side, step in _STEPS.items():
            paths = [
                _in_utm(line, epsg)
                for other in sorted(boxes)
                for border in _borders(epsg, other, side)
                for line in _shared(border, epsg, boxes[epsg], boxes[other])
            ]
            if paths:
                seams.append(_seam(epsg, side, step, paths, crs))
    return seams


def _seam(
    epsg: int, side: str, step: tuple[int, int], paths: Sequence[np.ndarray], crs: CRS
) -> Seam:
    transformer = Transformer.from_crs(epsg, crs, always_xy=True)
    across = np.array([step[0], -step[1]], float)
    windows = []
    per_window = round(_PIECE / _CHORD)
    for path in paths:
        for start in range(0, len(path) - 1, per_window):
            piece = path[start : start + per_window + 1]
            beyond = _ribbon(piece, across, -PIXEL, 2 * PIXEL)
            x, y = transformer.transform(*shapely.get_coordinates(beyond).T)
            windows.append((float(min(x)), float(min(y)), float(max(x)), float(max(y))))
    last = [_ribbon(path, across, -PIXEL - _SLACK, _SLACK) for path in paths]
    return Seam(epsg, side, step, shapely.MultiPolygon(last), tuple(windows))


def _ribbon(path: np.ndarray, across: np.ndarray, start: float, end: float) -> shapely.Polygon:
    """The area between two copies of a path (n, 2), moved by metres along a unit vector."""
    return shapely.Polygon(np.concatenate([path + start * across, path[::-1] + end * across]))


def _borders(epsg: int, other: int, side: str) -> Iterator[BaseGeometry]:
    """The borders of a zone with another on one side, as lines in degrees."""
    if epsg == other:
        return
    for mine in _strips(epsg):
        for theirs in _strips(other):
            south, north = max(mine.south, theirs.south), min(mine.north, theirs.north)
            west, east = max(mine.west, theirs.west), min(mine.east, theirs.east)
            if side == "east" and (mine.east - theirs.west) % 360 == 0 and south < north:
                yield shapely.LineString([(mine.east, south), (mine.east, north)])
            elif side == "west" and (mine.west - theirs.east) % 360 == 0 and south < north:
                yield shapely.LineString([(mine.west, south), (mine.west, north)])
            elif side == "north" and mine.north == theirs.south and west < east:
                yield shapely.LineString([(west, north), (east, north)])
            elif side == "south" and mine.south == theirs.north and west < east:
                yield shapely.LineString([(west, south), (east, south)])


def _strips(epsg: int) -> list[Strip]:
    """The strips of a zone, north or south of the equator as its EPSG code says."""
    low, high = (-90.0, 0.0) if epsg // 100 == 327 else (0.0, 90.0)
    halves = [
        Strip(s.west, max(s.south, low), s.east, min(s.north, high)) for s in strips_of(epsg % 100)
    ]
    return [strip for strip in halves if strip.south < strip.north]


def _shared(
    border: BaseGeometry,
    epsg: int,
    mine: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
) -> list[np.ndarray]:
    """The stretches of a border, as points (n, 2) in degrees, that have cells on both sides."""
    for boxes in (mine, theirs):
        west, south, east, north = np.array(boxes, float).T
        width = (east - west) % 360
        west = unwrapped(west + width / 2, epsg % 100) - width / 2
        cells = shapely.box(west - _NEAR, south - _NEAR, west + width + _NEAR, north + _NEAR)
        near = cells[shapely.intersects(cells, border)]
        border = shapely.intersection(border, shapely.union_all(near))
    lines = shapely.get_parts(shapely.segmentize(border, _CHORD))
    return [shapely.get_coordinates(line) for line in lines if line.length > 0]


def _in_utm(line: np.ndarray, epsg: int) -> np.ndarray:
    return np.column_stack(to_utm(epsg).transform(line[:, 0], line[:, 1]))


def owned_by_none(zones: Iterable[int], lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Whether places (degrees) lie in pixels that none of some zones owns: bool (n,)."""
    lost = np.ones(len(lon), bool)
    for epsg in zones:
        lost &= ~_owned_by(epsg, lon, lat)
    return lost


def _owned_by(epsg: int, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Whether a zone owns the pixels of its grid in which places lie: bool (n,)."""
    x, y = to_utm(epsg).transform(lon, lat)
    x, y = ((axis // PIXEL + 0.5) * PIXEL for axis in (x, y))
    centres = np.column_stack(to_lonlat(epsg).transform(x, y)).tolist()
    return np.array(
        [zone_at(*at) == epsg % 100 and (at[1] >= 0) == (epsg < 32700) for at in centres]
    )
