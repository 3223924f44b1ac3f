"""The gaps between UTM zones in a tile, closed as those of a run's mosaic are.

At a border of zones some places are owned by no pixel (`pipeline.product.zone_seams`). Here, and
nowhere else, a tile shows the number of the nearest pixel that has one.
"""

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import distance_transform_edt, maximum_filter1d

from pipeline.grid.cells import PIXEL
from pipeline.product.zone_seams import owned_by_none
from pipeline.viewer.map_tiles import MapTile

_COARSEST = 20.0  # metres a side of a pixel: overviews have no gaps


def close_gaps(whole: np.ndarray, seen: Mapping[int, np.ndarray], tile: MapTile) -> None:
    """Fill the places of a tile that no zone owns, in place.

    Args:
        whole: The numbers of the tile, (band, 256, 256).
        seen: Where the cells of each zone have one, bool (256, 256), by EPSG code.
        tile: The tile.
    """
    empty = ~np.logical_or.reduce(list(seen.values()))
    if len(seen) < 2 or tile.ground > _COARSEST or not empty.any():
        return
    # A gap has numbers of two zones beside it in its row; at a border along a parallel, above and
    # below it.
    reach = int(np.ceil(PIXEL / tile.ground)) + 1
    between = np.zeros_like(empty)
    for axis in (0, 1):
        near = [maximum_filter1d(one, 2 * reach + 1, axis=axis) for one in seen.values()]
        between |= np.sum(near, axis=0) > 1
    rows, columns = np.nonzero(empty & between)
    lon, lat = tile.lonlat()
    lost = owned_by_none(seen, lon[columns], lat[rows])
    rows, columns = rows[lost], columns[lost]
    if len(rows):
        _, nearest = distance_transform_edt(empty, return_indices=True)
        whole[:, rows, columns] = whole[:, *nearest[:, rows, columns]]
