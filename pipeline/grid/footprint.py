"""Where a rectangle of projected metres lies in degrees, as GeoJSON and STAC want it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from pyproj import Transformer
from shapely import affinity
from shapely.geometry import Polygon, box, mapping
from shapely.geometry.polygon import orient

_STEPS = 10**7  # of a degree: bboxes have seven decimals
_ROUND = 360 * _STEPS


def footprint(
    bounds: Sequence[float], epsg: int, points: int = 8
) -> tuple[dict[str, Any], list[float]]:
    """GeoJSON geometry and bbox in EPSG:4326 of a rectangle (min x, min y, max x, max y).

    Each side has `points` segments, since it is curved in degrees. One that crosses the
    antimeridian becomes two polygons and its bbox runs from west to east (RFC 7946).
    """
    left, bottom, right, top = bounds
    outline = box(left, bottom, right, top).exterior
    ring = np.array(outline.segmentize(max(right - left, top - bottom) / points).coords)
    lon, lat = _to_degrees(epsg).transform(ring[:, 0], ring[:, 1])
    lon = np.where(np.asarray(lon) - lon[0] > 180, lon - 360, lon)
    lon = np.where(lon - lon[0] < -180, lon + 360, lon)
    polygon = orient(Polygon(np.round(np.column_stack([lon, lat]), 7)))
    west, south, east, north = polygon.bounds
    if west >= -180 and east <= 180:
        return mapping(polygon), [west, south, east, north]
    pieces = [
        affinity.translate(polygon.intersection(box(edge - 180, -90, edge + 180, 90)), -edge)
        for edge in (-360, 0, 360)
    ]
    coordinates = [
        mapping(orient(piece))["coordinates"]
        for piece in pieces
        if isinstance(piece, Polygon) and piece.area
    ]
    bbox = [_wrapped(west), south, _wrapped(east), north]
    return {"type": "MultiPolygon", "coordinates": coordinates}, bbox


def joint_bbox(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The smallest bbox in degrees around some; west > east where it crosses the antimeridian.

    Longitudes are compared as whole numbers of 1e-7 degree, so that boxes that touch leave no gap.
    """
    if not boxes:
        return [-180.0, -90.0, 180.0, 90.0]
    south, north = min(b[1] for b in boxes), max(b[3] for b in boxes)
    edges = [(round(west * _STEPS), round(east * _STEPS)) for west, _, east, _ in boxes]
    spans = sorted(
        (west % _ROUND, west % _ROUND + ((east - west) % _ROUND or _ROUND * (east != west)))
        for west, east in edges
    )
    # The widest stretch of longitude that no box covers is what the joint box leaves out.
    gap, west, reach = 0, spans[0][0], max(end for _, end in spans) - _ROUND
    for start, end in spans:
        if start - reach > gap:
            gap, west, east = start - reach, start, reach
        reach = max(reach, end)
    if not gap:
        return [-180.0, south, 180.0, north]
    # 180° east and west are one meridian: a box begins at -180 and ends at 180.
    half = _ROUND // 2
    west, east = (west + half) % _ROUND - half, half - (half - east) % _ROUND
    return [west / _STEPS, south, east / _STEPS, north]


def _wrapped(degrees: float) -> float:
    return (degrees + 180) % 360 - 180


@lru_cache(maxsize=128)
def _to_degrees(epsg: int) -> Transformer:
    return Transformer.from_crs(epsg, 4326, always_xy=True)
