"""What a STAC item covers, by its geometry or its bbox, whatever its publisher made of them."""

from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.catalog.item_assets import MALFORMED, Published, understood
from pipeline.grid.mgrs import polygons_of, wrapped

# Decimals of a degree that are kept: 0.1 mm. What servers and projections write beyond is noise,
# which would have 180.00000000000003 lie beyond the antimeridian.
_DIGITS = 9


def footprint_of(stac_item: Published) -> BaseGeometry | None:
    """What an item covers, polygons in EPSG:4326 within ±180°; None where it does not say.

    One that is drawn across the whole world because it crosses the antimeridian is cut there.
    A point, a line or a bbox around the whole world says nothing. Raises CatalogError where
    geometry or bbox are malformed.
    """
    with understood(stac_item):
        stated = _stated(stac_item.get("geometry"), stac_item.get("bbox"))
        if stated is None or stated.is_empty:
            return None
        if not np.isfinite(shapely.get_coordinates(stated)).all():
            raise ValueError("its geometry is not of numbers")
        geometry = shapely.transform(shapely.force_2d(stated), lambda xy: np.round(xy, _DIGITS))
        if geometry.bounds[2] - geometry.bounds[0] > 180.0:
            geometry = shapely.transform(
                geometry, lambda xy: np.column_stack([xy[:, 0] % 360.0, xy[:, 1]])
            )
        geometry = polygons_of(shapely.make_valid(geometry))
        if geometry.is_empty:
            return None
        if geometry.bounds[0] < -180.0 or geometry.bounds[2] > 180.0:
            geometry = wrapped(geometry)
        return geometry


def _stated(geometry: Any, box: Any) -> BaseGeometry | None:
    if geometry:
        try:
            return shapely.geometry.shape(geometry)
        except (*MALFORMED, shapely.errors.ShapelyError) as error:
            raise ValueError(f"its geometry is none ({error})") from None
    if not box:
        return None
    if len(box) not in (4, 6):
        raise ValueError(f"its bbox holds {len(box)} numbers")
    if not np.isfinite(box).all():
        raise ValueError("its bbox is not of numbers")
    west, south, east, north = box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1]
    return shapely.box(west, south, east + 360.0 if west > east else east, north)
