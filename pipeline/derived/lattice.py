"""The pixels around a cell: of its neighbours in all tiles and UTM zones.

All tiles of a UTM zone share one lattice of pixels of 10 m, so a window of any of its cells is put
together without resampling. Beyond the border of zones stand the nearest pixels of the other zone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from affine import Affine
from rasterio.windows import Window
from scipy.ndimage import maximum_filter

from pipeline.grid.cells import PIXEL, lonlat_bounds_of
from pipeline.grid.mgrs import to_lonlat, to_utm
from pipeline.io.store import Store
from pipeline.product.layers import NODATA_CLASS, OutputLayer
from pipeline.product.read_layer import read_layer

_Bounds = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class CellLattice:
    """The finished cells of a run, to be read across their borders.

    Attributes:
        store: The run's folder.
        items: The cells' STAC items.
    """

    store: Store
    items: Sequence[Mapping[str, Any]]
    _zones: dict[int, "_ZoneCells"] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        by_zone: dict[int, list[Mapping[str, Any]]] = {}
        for item in self.items:
            by_zone.setdefault(int(item["properties"]["proj:epsg"]), []).append(item)
        self._zones.update({epsg: _ZoneCells.of(epsg, items) for epsg, items in by_zone.items()})

    def cells_in(self, epsg: int, bounds: _Bounds) -> list[Mapping[str, Any]]:
        """The items of the cells of a zone that share pixels with a rectangle in metres."""
        zone = self._zones.get(epsg)
        return [] if zone is None else zone.within(bounds)

    def read(
        self, layers: Sequence[OutputLayer], epsg: int, bounds: _Bounds
    ) -> dict[str, np.ndarray]:
        """Layers of 10 m in a rectangle of a zone's lattice, nodata where no cell is.

        Args:
            layers: The layers.
            epsg: The zone.
            bounds: Min x, min y, max x, max y in metres, whole pixels.

        Returns:
            (band, y, x) by the name of the layer; none where no cell is there.

        Raises:
            OutputUnreadable: A raster cannot be read.
        """
        found: dict[str, np.ndarray] = {}
        for item in self.cells_in(epsg, bounds):
            inner, outer = _overlap(item, bounds)
            for layer in layers:
                values = read_layer(self.store, item, layer, inner)
                if layer.name not in found:
                    rows = round((bounds[3] - bounds[1]) / PIXEL)
                    columns = round((bounds[2] - bounds[0]) / PIXEL)
                    shape = (len(values), rows, columns)
                    found[layer.name] = np.full(shape, layer.nodata or 0, values.dtype)
                found[layer.name][:, outer[0], outer[1]] = values
        return found

    def around(
        self, item: Mapping[str, Any], halo: int, layers: Sequence[OutputLayer]
    ) -> dict[str, np.ndarray]:
        """Layers of a cell and of `halo` pixels around it: (band, y, x) by name, as `read`.

        The first layer must be of classes, nodata where a pixel has none. Pixels of another zone
        are there as far as `halo` pixels from pixels of the cell's own zone.
        """
        properties = item["properties"]
        left, bottom, right, top = properties["proj:bbox"]
        margin = halo * PIXEL
        bounds = (left - margin, bottom - margin, right + margin, top + margin)
        epsg = int(properties["proj:epsg"])
        found = self.read(layers, epsg, bounds)
        if others := self._other_zones(epsg, bounds):
            own = found[layers[0].name][0] != NODATA_CLASS
            wanted = ~own & maximum_filter(own, 2 * halo + 1)
            row, column = np.nonzero(wanted)
            x = bounds[0] + PIXEL * (column + 0.5)
            y = bounds[3] - PIXEL * (row + 0.5)
            lon, lat = to_lonlat(epsg).transform(x, y)
            for other in others:
                self._fill(found, layers, other, (row, column), to_utm(other).transform(lon, lat))
        return found

    def _other_zones(self, epsg: int, bounds: _Bounds) -> list[int]:
        around = lonlat_bounds_of(bounds, epsg)
        return [
            other for other, zone in self._zones.items() if other != epsg and zone.is_near(around)
        ]

    def _fill(
        self,
        found: dict[str, np.ndarray],
        layers: Sequence[OutputLayer],
        epsg: int,
        pixels: tuple[np.ndarray, np.ndarray],
        places: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Put the values of another zone's pixels at places (metres there) into windows."""
        (row, column), (x, y) = pixels, places
        if not len(x):
            return
        near = (float(x.min()), float(y.min()), float(x.max()), float(y.max()))
        if not np.isfinite(near).all():
            return
        for item in self.cells_in(epsg, near):
            transform = Affine(*item["properties"]["proj:transform"][:6])
            rows, columns = item["properties"]["proj:shape"]
            across = np.floor((x - transform.c) / transform.a).astype(np.int64)
            down = np.floor((y - transform.f) / transform.e).astype(np.int64)
            inside = (across >= 0) & (across < columns) & (down >= 0) & (down < rows)
            if not inside.any():
                continue
            across, down = across[inside], down[inside]
            first, begin = int(across.min()), int(down.min())
            window = Window(
                first, begin, int(across.max()) - first + 1, int(down.max()) - begin + 1
            )
            to = (row[inside], column[inside])
            is_class = read_layer(self.store, item, layers[0], window)[0] != NODATA_CLASS
            known = is_class[down - begin, across - first]
            for layer in layers:
                values = read_layer(self.store, item, layer, window)
                target = found[layer.name]
                target[:, to[0][known], to[1][known]] = values[
                    :, (down - begin)[known], (across - first)[known]
                ]


@dataclass(frozen=True, eq=False)
class _ZoneCells:
    """The cells of a zone, found by their rectangles, and their extents in degrees."""

    items: Sequence[Mapping[str, Any]]
    tree: shapely.STRtree
    degrees: np.ndarray

    @classmethod
    def of(cls, epsg: int, items: Sequence[Mapping[str, Any]]) -> "_ZoneCells":
        bounds = [tuple(item["properties"]["proj:bbox"]) for item in items]
        degrees = [lonlat_bounds_of(one, epsg) for one in bounds]
        tree = shapely.STRtree([shapely.box(*one) for one in bounds])
        return cls(items, tree, np.array(degrees))

    def within(self, bounds: _Bounds) -> list[Mapping[str, Any]]:
        """The items of the cells with pixels in a rectangle, in their order."""
        found = []
        for place in sorted(self.tree.query(shapely.box(*bounds)).tolist()):
            left, bottom, right, top = self.items[place]["properties"]["proj:bbox"]
            if left < bounds[2] and right > bounds[0] and bottom < bounds[3] and top > bounds[1]:
                found.append(self.items[place])
        return found

    def is_near(self, around: _Bounds) -> bool:
        """Whether any cell's extent meets another one, degrees that may pass ±180."""
        west, south, east, north = around
        level = (self.degrees[:, 1] < north) & (self.degrees[:, 3] > south)
        meets = [
            (self.degrees[:, 0] + shift < east) & (self.degrees[:, 2] + shift > west)
            for shift in (-360, 0, 360)
        ]
        return bool((level & np.logical_or.reduce(meets)).any())


def _overlap(item: Mapping[str, Any], bounds: _Bounds) -> tuple[Window, tuple[slice, slice]]:
    """The pixels that a cell shares with a rectangle: its own window, and their place there."""
    left, bottom, right, top = item["properties"]["proj:bbox"]
    first, last = max(left, bounds[0]), min(right, bounds[2])
    low, high = max(bottom, bounds[1]), min(top, bounds[3])
    width, height = round((last - first) / PIXEL), round((high - low) / PIXEL)
    inner = Window(round((first - left) / PIXEL), round((top - high) / PIXEL), width, height)
    row, column = round((bounds[3] - high) / PIXEL), round((first - bounds[0]) / PIXEL)
    return inner, (slice(row, row + height), slice(column, column + width))
