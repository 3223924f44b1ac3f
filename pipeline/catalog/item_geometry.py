"""The footprint of a STAC item, from its geometry or its bbox, in one form for all catalogues."""

from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.catalog.by_content import shared_by_content
from pipeline.catalog.item_assets import MALFORMED, StacJson, naming_item
from pipeline.grid.mgrs import polygons_of, wrapped

# Decimals of a degree that are kept: 0.1 mm. Servers and projections add noise in further decimals,
# and 180.00000000000003 would lie beyond the antimeridian.
_DIGITS = 9
# Degrees, of longitude and of latitude. Longitudes may count on across the antimeridian, and a
# footprint may lie a little over a pole.
_FARTHEST = (720.0, 91.0)


def footprint_of(stac_item: StacJson) -> BaseGeometry | None:
    """The area that an item covers: polygons in EPSG:4326 within ±180°.

    A footprint that crosses the antimeridian and is therefore drawn across the whole world is cut
    there.

    Returns:
        None where the item states no area: neither geometry nor bbox, a point or a line, or a
        bbox around the whole world.

    Raises:
        CatalogError: Geometry or bbox are malformed.
    """
    geometry = stac_item.get("geometry")
    with naming_item(stac_item):
        return _footprint(geometry, None if geometry else stac_item.get("bbox"))


@shared_by_content
def _footprint(stated: Any, box: Any) -> BaseGeometry | None:
    geometry = _published(stated, box)
    if geometry is None or geometry.is_empty:
        return None
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise ValueError("its geometry is not of numbers")
    if (np.abs(shapely.get_coordinates(geometry)) > _FARTHEST).any():
        raise ValueError("its geometry lies beyond the world")
    geometry = shapely.transform(shapely.force_2d(geometry), lambda xy: np.round(xy, _DIGITS))
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


def _published(geometry: Any, box: Any) -> BaseGeometry | None:
    if geometry:
        try:
            return shapely.geometry.shape(geometry)
        except MALFORMED as error:
            raise ValueError(f"its geometry is none ({error})") from None
    if not box:
        return None
    if len(box) not in (4, 6):
        raise ValueError(f"its bbox holds {len(box)} numbers")
    if not np.isfinite(box).all():
        raise ValueError("its bbox is not of numbers")
    west, south, east, north = box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1]
    return shapely.box(west, south, east + 360.0 if west > east else east, north)
