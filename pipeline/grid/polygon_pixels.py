"""The pixels whose centres lie in a polygon."""

import warnings

import numpy as np
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

# rasterize() opens an array without a place. It hides the warning of that by catch_warnings, which
# threads undo for one another.
warnings.filterwarnings(
    "ignore", "Dataset has no geotransform", NotGeoreferencedWarning, r"rasterio\.features"
)


def pixels_inside(area: BaseGeometry, shape: tuple[int, int], transform: Affine) -> np.ndarray:
    """The pixels whose centres lie in an area: bool (height, width).

    `transform` leads from (column, row) to the coordinates of the area.
    """
    burnt = rasterize([(area, 1)], out_shape=shape, transform=transform, fill=0, dtype=np.uint8)
    return burnt.astype(bool)
