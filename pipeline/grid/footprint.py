"""Footprints of rectangles of UTM metres, as GeoJSON geometry and bbox in degrees."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from shapely.geometry import Polygon, box, mapping
from shapely.geometry.polygon import orient

from pipeline.grid.mgrs import to_lonlat, unwrapped, wrapped

_STEPS = 10**7  # of a degree: bboxes have seven decimals
_ROUND = 360 * _STEPS


def footprint(
    bounds: Sequence[float], epsg: int, points: int = 8
) -> tuple[dict[str, Any], list[float]]:
    """GeoJSON geometry and bbox in EPSG:4326 of a rectangle (min x, min y, max x, max y) of UTM.

    Each side has `points` segments, since it is curved in degrees. A rectangle that crosses the
    antimeridian becomes two polygons, and its bbox has west > east (RFC 7946).
    """
    left, bottom, right, top = bounds
    outline = box(left, bottom, right, top).exterior
    ring = np.array(outline.segmentize(max(right - left, top - bottom) / points).coords)
    lon, lat = to_lonlat(epsg).transform(ring[:, 0], ring[:, 1])
    lon = unwrapped(lon, epsg % 100)
    polygon = Polygon(np.round(np.column_stack([lon, lat]), 7))
    west, south, east, north = polygon.bounds
    if west >= -180 and east <= 180:
        return mapping(orient(polygon)), [west, south, east, north]
    pieces = [mapping(orient(piece)) for piece in shapely.get_parts(wrapped(polygon))]
    coordinates = [piece["coordinates"] for piece in pieces]
    bbox = [(west + 180) % 360 - 180, south, (east + 180) % 360 - 180, north]
    return {"type": "MultiPolygon", "coordinates": coordinates}, bbox


def joint_bbox(boxes: Sequence[Sequence[float]]) -> list[float]:
    """The smallest bbox in degrees around several; west > east where it crosses the antimeridian.

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
    # The joint box leaves out the widest stretch of longitude that no box covers.
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
