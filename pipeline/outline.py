"""A region of any number of vertices → a simpler one that holds it, as a request can carry it."""

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

_EDGES = 2000  # boxes on the region's border that are looked at in one step


def outline(geometry: BaseGeometry, most: int) -> BaseGeometry:
    """The polygons themselves, or where they have more than `most` vertices, boxes that hold them.

    The box around all is halved again and again, and halves without ground left out, for as long
    as the boxes' union has no more than `most` vertices. Unlike a buffer that is simplified, this
    takes well under a second for a coast of a million vertices, and loses nothing of it.
    """
    if shapely.get_num_coordinates(geometry) <= most:
        return geometry
    shapely.prepare(geometry)
    boxes = np.array([geometry.bounds])
    inside: list[BaseGeometry] = []
    found: BaseGeometry = shapely.box(*geometry.bounds)
    while 0 < len(boxes) <= _EDGES:
        boxes = _halved(boxes)
        polygons = shapely.box(*boxes.T)
        touched = shapely.intersects(geometry, polygons)
        boxes, polygons = boxes[touched], polygons[touched]
        full = shapely.covers(geometry, polygons)
        inside += list(polygons[full])
        finer = shapely.union_all([*inside, *polygons[~full]]).simplify(0)
        if shapely.get_num_coordinates(finer) > most:
            break
        found, boxes = finer, boxes[~full]
    return found


def _halved(boxes: np.ndarray) -> np.ndarray:
    """Boxes (n, 4: west, south, east, north) cut across their longer side: (2n, 4)."""
    first, second = boxes.copy(), boxes.copy()
    wide = boxes[:, 2] - boxes[:, 0] > boxes[:, 3] - boxes[:, 1]
    for low, high, cut in ((0, 2, wide), (1, 3, ~wide)):
        middle = (boxes[cut, low] + boxes[cut, high]) / 2
        first[cut, high] = second[cut, low] = middle
    return np.concatenate([first, second])
