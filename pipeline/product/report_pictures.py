"""The pictures beside the map in a run's report: the year in true colour, and its clear months."""

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.image import imsave
from pyproj import CRS, Transformer

from pipeline.io.store import Store
from pipeline.layout import cell_key
from pipeline.product.cell_report import PREFIX
from pipeline.product.coarse_mosaic import CoarseGrid, CoarseMosaic, coarse_grid, read_coarsely
from pipeline.product.layers import CLASS, CLEAR_MONTHS, TRUE_COLOUR
from pipeline.product.mosaic import cells_with
from pipeline.product.read_layer import opened_raster

SIDE = 700
"""Pixels of a picture's longer side at most."""
_NODATA = 245  # nearly white, as in the preview
_MONTHS = 12
_AT_ONCE = 8  # cells that are opened at the same time: object storage answers slowly
_DARKEST, _BRIGHTEST = 1, 99  # percentiles of the picture that become black and white


@dataclass(frozen=True)
class ReportPictures:
    """Pictures of a run, PNG; None where the run has nothing to show.

    Attributes:
        true_colour: The year in true colour, where the map is.
        true_colour_cells: The number of cells that it shows.
        clear_months: The number of clear months, in the colours of `clear_month_colours`.
    """

    true_colour: bytes | None = None
    true_colour_cells: int = 0
    clear_months: bytes | None = None


NO_PICTURES = ReportPictures()
"""Of a run without cells."""


def make_pictures(
    store: Store,
    items: Sequence[Mapping[str, Any]],
    coloured: tuple[Store, Sequence[Mapping[str, Any]]] | None = None,
) -> ReportPictures:
    """Make the pictures of a run whose mosaics are written.

    Args:
        store: The run's folder.
        items: The STAC items of its cells.
        coloured: The folder and the items of another run that has the true colours of its cells.

    Raises:
        OutputUnreadable: A mosaic, or a cell's file of true colours, cannot be read. A cell without
            such a file is left blank.
    """
    months = None
    if cells_with(CLEAR_MONTHS, items):
        months = _clear_months(read_coarsely(store, CLEAR_MONTHS, SIDE))
    folder, others = coloured or (store, items)
    if not (shown := cells_with(TRUE_COLOUR, others)):
        return ReportPictures(clear_months=months)
    grid = coarse_grid(store, CLASS, SIDE, TRUE_COLOUR.step or 1)
    painted, cells = _true_colour(grid, folder, shown)
    return ReportPictures(painted, cells, months)


def clear_month_colours() -> tuple[str, ...]:
    """The colours "#rrggbb" of 0 … 12 clear months."""
    ramp = colormaps["viridis"].resampled(_MONTHS + 1)
    levels = (ramp(month, bytes=True)[:3] for month in range(_MONTHS + 1))
    return tuple("#{:02x}{:02x}{:02x}".format(*map(int, level)) for level in levels)


def _clear_months(mosaic: CoarseMosaic) -> bytes:
    palette = np.full((256, 3), _NODATA, np.uint8)
    for month, colour in enumerate(clear_month_colours()):
        palette[month] = tuple(bytes.fromhex(colour[1:]))
    return _png(palette[mosaic.values])


def _true_colour(
    grid: CoarseGrid, store: Store, items: Sequence[Mapping[str, Any]]
) -> tuple[bytes | None, int]:
    """Paint the true colours of cells onto the grid of a mosaic; also gives their number."""
    canvas = np.zeros((*grid.shape, 3), np.uint8)
    cells = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for content in _in_turn(pool, partial(_read_cell, grid, store), items):
            if content is None:
                continue
            window, colours = content
            part = canvas[window]
            part[...] = np.where(colours.any(axis=-1, keepdims=True), colours, part)
            cells += 1
    seen = np.asarray(canvas.any(axis=-1))
    if not seen.any():
        return None, 0
    low, high = np.percentile(canvas[seen], (_DARKEST, _BRIGHTEST))
    stretched = (canvas.astype(np.float32) - low) / max(high - low, 1) * 255
    return _png(np.where(seen[..., None], stretched.clip(0, 255), _NODATA).astype(np.uint8)), cells


def _in_turn(pool: ThreadPoolExecutor, read: Any, items: Sequence[Any]) -> Iterator[Any]:
    """What `read` gives of each item, a few at a time: a continent's would not fit in memory."""
    for start in range(0, len(items), 4 * _AT_ONCE):
        yield from pool.map(read, items[start : start + 4 * _AT_ONCE])


def _read_cell(
    grid: CoarseGrid, store: Store, item: Mapping[str, Any]
) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """The window of the mosaic that a cell covers, and its colours there: uint8 (y, x, 3)."""
    properties, (rows, columns) = item["properties"], grid.shape
    epsg = int(properties["proj:code"].removeprefix("EPSG:"))
    to_map, from_map = _transformers(epsg, grid.crs.to_wkt())
    bounds = to_map.transform_bounds(*properties["proj:bbox"])
    if not np.isfinite(bounds).all():  # beyond what the map's CRS can show
        return None
    left, bottom, right, top = bounds
    (x0, y0), (width, height) = grid.corner, grid.pixel
    window = (
        slice(max(0, int((y0 - top) / height)), min(rows, int((y0 - bottom) / height) + 1)),
        slice(max(0, int((left - x0) / width)), min(columns, int((right - x0) / width) + 1)),
    )
    y = y0 - height * (np.arange(window[0].start, window[0].stop) + 0.5)
    x = x0 + width * (np.arange(window[1].start, window[1].stop) + 0.5)
    if not len(x) or not len(y):
        return None
    key = cell_key(properties[f"{PREFIX}tile"], item["id"], TRUE_COLOUR.file)
    with opened_raster(store, key) as raster:
        # Through its overviews, where the mosaic's pixels are coarser.
        factor = max(1.0, min(width, height) / raster.res[0])
        shape = tuple(max(1, round(side / factor)) for side in raster.shape)
        stored = raster.read(out_shape=(3, *shape))
        left_edge, top_edge = raster.transform.c, raster.transform.f
        step_x = raster.transform.a * raster.width / shape[1]
        step_y = raster.transform.e * raster.height / shape[0]
    x, y = from_map.transform(*np.meshgrid(x, y))
    column = np.floor((x - left_edge) / step_x).astype(int)
    row = np.floor((y - top_edge) / step_y).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < shape[1]) & (row < shape[0])
    colours = stored[:, row.clip(0, shape[0] - 1), column.clip(0, shape[1] - 1)]
    return window, np.where(inside, colours, 0).transpose(1, 2, 0)


@lru_cache(maxsize=128)
def _transformers(epsg: int, map_wkt: str) -> tuple[Transformer, Transformer]:
    """From a cell's CRS to that of the map, and back; each thread may use both."""
    cell, whole = CRS.from_epsg(epsg), CRS.from_wkt(map_wkt)
    return (
        Transformer.from_crs(cell, whole, always_xy=True),
        Transformer.from_crs(whole, cell, always_xy=True),
    )


def _png(picture: np.ndarray) -> bytes:
    content = io.BytesIO()
    imsave(content, picture, format="png", metadata={"Software": "timesen"})
    return content.getvalue()
