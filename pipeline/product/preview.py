"""The map as a picture: `preview.png`, with legend, scale bar and north."""

import io
import math
import textwrap
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import rasterio
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pyproj import CRS, Geod, Transformer

from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.store import Store
from pipeline.layout import PREVIEW
from pipeline.product.cog_writer import rgb
from pipeline.product.layers import CLASS
from pipeline.product.manifest import RunManifest

LONGER_SIDE = 1400
"""Pixels of the map's longer side at most: the mosaic is read through its overviews."""
LEGEND_ROWS = 24

_DPI = 150
_INK, _FAINT = "#1b1f24", "#6b7280"


@dataclass(frozen=True)
class _Picture:
    """The mosaic read coarsely: class values (y, x), upper left corner and pixel size in metres."""

    classes: np.ndarray
    corner: tuple[float, float]
    pixel: tuple[float, float]
    crs: CRS


def write_preview(
    store: Store,
    run: RunManifest,
    vocabulary: Vocabulary,
    hectares: Mapping[int, float],
    *,
    demonstration: bool = False,
) -> None:
    """Write `preview.png` of the class mosaic, whose VRT must be there.

    `hectares` by class value (`pipeline.product.cell_report.class_hectares`) give the legend's
    shares and order; `demonstration` says below the map that it is not meant for use.
    """
    picture = _read(store)
    store.write(PREVIEW, _draw(picture, run, vocabulary, hectares, demonstration))


def _read(store: Store) -> _Picture:
    with (
        rasterio.Env(**store.gdal_options()),
        rasterio.open(store.gdal_path(CLASS.mosaic_file)) as mosaic,
    ):
        factor = max(1.0, max(mosaic.shape) / LONGER_SIDE)
        rows, columns = (max(1, round(side / factor)) for side in mosaic.shape)
        classes = mosaic.read(1, out_shape=(rows, columns))
        left, bottom, right, top = mosaic.bounds
        pixel = ((right - left) / columns, (top - bottom) / rows)
        return _Picture(classes, (left, top), pixel, CRS.from_wkt(mosaic.crs.to_wkt()))


def _draw(
    picture: _Picture,
    run: RunManifest,
    vocabulary: Vocabulary,
    hectares: Mapping[int, float],
    demonstration: bool,
) -> bytes:
    rows, columns = picture.classes.shape
    longer = 8.0 / max(rows, columns)  # inches of the map's longer side
    width, height = max(columns * longer, 2.5), max(rows * longer, 2.5)
    shown = _legend(vocabulary, hectares)
    legend_width, top, bottom = 2.9, 0.85, 0.75
    full_height = max(height, 0.27 * len(shown) + 0.6) + top + bottom
    full_width = width + legend_width + 0.6
    figure = Figure(figsize=(full_width, full_height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (
            0.3 / full_width,
            1 - (top + height) / full_height,
            width / full_width,
            height / full_height,
        )
    )
    axes.imshow(_coloured(picture.classes, vocabulary), interpolation="nearest", aspect="equal")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#c4c9d0", linewidth=0.8)
    title = textwrap.shorten(vocabulary.title, max(30, int(full_width * 8)), placeholder=" …")
    figure.text(
        0.3 / full_width,
        1 - 0.36 / full_height,
        f"{title}, {run.years}",
        fontsize=13,
        fontweight="bold",
        color=_INK,
        va="center",
    )
    figure.text(
        0.3 / full_width,
        1 - 0.64 / full_height,
        "Zero-shot classes of Sentinel-2 pixel time series, 10 m",
        fontsize=8.5,
        color=_FAINT,
        va="center",
    )
    note = run.attribution + (". Demonstration checkpoint: not for use." if demonstration else ".")
    below = top + height + (0.46 if _draw_scale(axes, picture, height) else 0.2)
    figure.text(
        0.3 / full_width,
        1 - min(below + 0.12, full_height - 0.12) / full_height,
        note,
        fontsize=7,
        color="#b42318" if demonstration else _FAINT,
        va="center",
        parse_math=False,
    )
    legend = figure.add_axes(
        (
            (width + 0.5) / full_width,
            bottom / full_height,
            legend_width / full_width,
            1 - (top + bottom) / full_height,
        )
    )
    _draw_legend(legend, shown, full_height - top - bottom)
    content = io.BytesIO()
    with warnings.catch_warnings():  # of signs that the font lacks: they are seen in the picture
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        figure.savefig(content, format="png", metadata={"Software": "timesen"})
    return content.getvalue()


def _coloured(classes: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """Class values → uint8 (y, x, 3); nodata is nearly white."""
    palette = np.full((int(max(classes.max(), vocabulary.legend[-1].value)) + 1, 3), 245, np.uint8)
    for entry in vocabulary.legend:
        if entry.value < len(palette):
            palette[entry.value] = rgb(entry.colour)
    return palette[classes]


def _legend(
    vocabulary: Vocabulary, hectares: Mapping[int, float]
) -> list[tuple[str | None, str, float]]:
    """(colour, name, share of the mapped area in percent), the largest first."""
    total = sum(hectares.values()) or 1.0
    rows: list[tuple[str | None, str, float]] = [
        (entry.colour, entry.name, 100 * hectares.get(entry.value, 0.0) / total)
        for entry in vocabulary.legend
    ]
    rows.sort(key=lambda row: -row[2])
    if len(rows) <= LEGEND_ROWS:
        return rows
    rest = rows[LEGEND_ROWS - 1 :]
    others = (None, f"{len(rest)} other classes", sum(row[2] for row in rest))
    return [*rows[: LEGEND_ROWS - 1], others]


def _draw_legend(axes: Axes, rows: list[tuple[str | None, str, float]], height: float) -> None:
    """One line of 0.27 inches a class, from the top of axes that are `height` inches high."""
    axes.axis("off")
    axes.set(xlim=(0, 2.9), ylim=(height, 0))
    axes.text(2.75, 0.08, "share", fontsize=7.5, color=_FAINT, ha="right", va="center")
    for index, (colour, name, share) in enumerate(rows):
        y = 0.36 + 0.27 * index
        if colour is not None:
            box = Rectangle((0, y - 0.085), 0.26, 0.17, facecolor=colour, edgecolor="#00000033")
            axes.add_patch(box)
        label = textwrap.shorten(name, 28, placeholder=" …")
        axes.text(0.36, y, label, fontsize=8.5, color=_INK, va="center")
        text = f"{share:.1f} %" if share >= 0.1 else ("0 %" if share == 0 else "< 0.1 %")
        axes.text(2.75, y, text, fontsize=8.5, color=_INK, ha="right", va="center")


def _draw_scale(axes: Axes, picture: _Picture, height: float) -> bool:
    """A scale bar below the map and an arrow to true north; False where neither makes sense."""
    rows, columns = picture.classes.shape
    to_degrees = Transformer.from_crs(picture.crs, 4326, always_xy=True)
    x = picture.corner[0] + picture.pixel[0] * columns / 2
    y = picture.corner[1] - picture.pixel[1] * rows / 2
    lon, lat = to_degrees.transform([x, x + picture.pixel[0]], [y, y])
    if not np.isfinite([*lon, *lat]).all():
        return False
    metres = Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])[2]  # a pixel, on the ground
    length = _round_length(columns * metres / 3)
    inch = rows / height  # map pixels
    base, left = rows + 0.17 * inch, 0.0
    axes.plot([left, left + length / metres], [base, base], color=_INK, linewidth=2, clip_on=False)
    axes.text(
        left + length / metres + 0.08 * inch,
        base,
        f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m",
        fontsize=8,
        color=_INK,
        va="center",
    )
    east, north = Transformer.from_crs(4326, picture.crs, always_xy=True).transform(
        lon[0], min(lat[0] + 0.001, 90)
    )
    angle = math.atan2(east - x, north - y)
    column, row = columns - 0.12 * inch, rows + 0.22 * inch
    east_part, north_part = 0.14 * inch * math.sin(angle), 0.14 * inch * math.cos(angle)
    axes.annotate(
        "N",
        xy=(column + east_part, row - north_part),
        xytext=(column - east_part, row + north_part),
        arrowprops={"arrowstyle": "-|>", "color": _INK, "shrinkA": 3, "shrinkB": 0},
        fontsize=8,
        color=_INK,
        ha="center",
        va="center",
        annotation_clip=False,
    )
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    return True


def _round_length(most: float) -> float:
    """The largest 1, 2 or 5 × a power of ten that is no more."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most)
