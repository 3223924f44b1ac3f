"""The pixels whose centres lie in a polygon."""

import numpy as np
from affine import Affine
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry


def pixels_inside(area: BaseGeometry, shape: tuple[int, int], transform: Affine) -> np.ndarray:
    """The pixels whose centres lie in an area: bool (height, width).

    `transform` leads from (column, row) to the coordinates of the area.
    """
    burnt = rasterize([(area, 1)], out_shape=shape, transform=transform, fill=0, dtype=np.uint8)
    return burnt.astype(bool)
