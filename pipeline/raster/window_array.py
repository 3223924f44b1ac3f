"""An array that takes the windows of several rasters, in place of the one that stackstac makes.

stackstac fills a new array with nodata, and then copies each window into it. With a year of a
band that takes a sixth of the time of reading (`tests/benchmarks/bench_reading.py`).
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np


class WindowArray:
    """The windows of items: `values`, uint8 or uint16 (item, y, x), and where each belongs.

    Args:
        values: The array to fill; what it holds is replaced.
        hrefs: The raster of each item; "" where there is none.
    """

    def __init__(self, values: np.ndarray, hrefs: Sequence[str]) -> None:
        if len(hrefs) != len(values):
            raise ValueError(f"{len(hrefs)} rasters for an array of {len(values)} items")
        self._places = defaultdict[str, list[np.ndarray]](list)
        for href, place in zip(hrefs, values, strict=True):
            self._places[href].append(place)
        self._filled = set[str]()

    def place(self, href: str) -> np.ndarray:
        """Where a raster's window belongs, (y, x), for whoever can make it there."""
        return self._places[href][0]

    def put(self, href: str, window: np.ndarray) -> None:
        """Put a raster's window, (y, x), where it belongs, for each item that has this raster."""
        for place in self._places[href]:
            if window.shape != place.shape:
                raise ValueError(f"a window of {window.shape} for a place of {place.shape}")
            if window is not place:
                np.copyto(place, window, casting="no")
        self._filled.add(href)

    def fill_others(self) -> None:
        """Make 0 (nodata) what no window was put into."""
        for href, places in self._places.items():
            if href not in self._filled:
                for place in places:
                    place[:] = 0

    def __dask_tokenize__(self) -> object:
        return id(self)  # else Dask would hash the pixels
