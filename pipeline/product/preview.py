"""The map as a picture: `preview.png`, with legend, scale bar and north."""

import io
import math
import textwrap
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation
from matplotlib_scalebar.scalebar import ScaleBar
from pyproj import Geod, Transformer

from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.store import Store
from pipeline.layout import PREVIEW
from pipeline.product.coarse_mosaic import CoarseMosaic, read_coarsely
from pipeline.product.cog_writer import rgb
from pipeline.product.layers import CLASS
from pipeline.product.manifest import RunManifest

LONGER_SIDE = 1400
"""Pixels of the map's longer side at most: the mosaic is read through its overviews."""
LEGEND_ROWS = 24

_DPI = 150
_INK, _FAINT, _ALERT = "#1b1f24", "#6b7280", "#b42318"
# Inches: the map's longer side and the least of its shorter one, margins, and the legend.
_LONGER, _LEAST, _LEFT, _TOP, _BOTTOM = 8.0, 2.5, 0.3, 0.85, 0.75
_LEGEND_WIDTH, _LEGEND_ROW = 2.9, 0.27


class _Page:
    """A figure whose places are inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
        FigureCanvasAgg(self._figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self._figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def text(self, top: float, text: str, **style: Any) -> None:
        place = _LEFT / self.width, 1 - top / self.height
        self._figure.text(*place, text, va="center", parse_math=False, **style)

    def png(self) -> bytes:
        content = io.BytesIO()
        with warnings.catch_warnings():  # of signs that the font lacks: the picture shows them
            warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
            self._figure.savefig(content, format="png", metadata={"Software": "timesen"})
        return content.getvalue()


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
    shares and order; `demonstration` says below the map that it is not meant for use. Raises
    OutputUnreadable where the mosaic cannot be read, and OutputUnwritable.
    """
    picture = read_coarsely(store, CLASS, LONGER_SIDE)
    store.write(PREVIEW, _draw(picture, run, vocabulary, hectares, demonstration))


def _draw(
    picture: CoarseMosaic,
    run: RunManifest,
    vocabulary: Vocabulary,
    hectares: Mapping[int, float],
    demonstration: bool,
) -> bytes:
    rows, columns = picture.values.shape
    inches = _LONGER / max(rows, columns)  # of a pixel
    width, height = max(columns * inches, _LEAST), max(rows * inches, _LEAST)
    legend = _legend(vocabulary, hectares)
    body = max(height, _LEGEND_ROW * len(legend) + 0.6)
    page = _Page(_LEFT + width + 0.2 + _LEGEND_WIDTH + 0.1, _TOP + body + _BOTTOM)
    title = textwrap.shorten(vocabulary.title, max(30, int(page.width * 8)), placeholder=" …")
    page.text(0.36, f"{title}, {run.years}", fontsize=13, fontweight="bold", color=_INK)
    what = "Zero-shot classes of Sentinel-2 pixel time series, 10 m"
    if run.derived_kind == "change":
        what = "Transitions between the classes of two maps, 10 m"
    page.text(0.64, what, fontsize=8.5, color=_FAINT)
    axes = page.axes(_LEFT, _TOP, width, height)
    axes.imshow(_coloured(picture.values, vocabulary), interpolation="nearest", aspect="equal")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#c4c9d0", linewidth=0.8)
    has_scale = _draw_scale(axes, picture)
    note = run.attribution + (". Demonstration checkpoint: not for use." if demonstration else ".")
    below = _TOP + height + (0.58 if has_scale else 0.32)
    color = _ALERT if demonstration else _FAINT
    page.text(min(below, page.height - 0.12), note, fontsize=7, color=color)
    _draw_legend(page.axes(_LEFT + width + 0.2, _TOP, _LEGEND_WIDTH, body), legend, body)
    return page.png()


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
    """Draw a line per class, from the top of axes that are `height` inches high."""
    axes.axis("off")
    axes.set(xlim=(0, _LEGEND_WIDTH), ylim=(height, 0))
    axes.text(2.75, 0.08, "share", fontsize=7.5, color=_FAINT, ha="right", va="center")
    for index, (colour, name, share) in enumerate(rows):
        y = 0.36 + _LEGEND_ROW * index
        if colour is not None:
            box = Rectangle((0, y - 0.085), 0.26, 0.17, facecolor=colour, edgecolor="#00000033")
            axes.add_patch(box)
        label = textwrap.shorten(name, 28, placeholder=" …")
        axes.text(0.36, y, label, fontsize=8.5, color=_INK, va="center")
        text = f"{share:.1f} %" if share >= 0.1 else ("0 %" if share == 0 else "< 0.1 %")
        axes.text(2.75, y, text, fontsize=8.5, color=_INK, ha="right", va="center")


def _draw_scale(axes: Axes, picture: CoarseMosaic) -> bool:
    """Draw a scale bar and an arrow to true north below the map; False where neither makes sense.

    Both hold at the map's centre: a projection's scale and its north differ from place to place.
    """
    rows, columns = picture.values.shape
    x = picture.grid.corner[0] + picture.grid.pixel[0] * columns / 2
    y = picture.grid.corner[1] - picture.grid.pixel[1] * rows / 2
    to_degrees = Transformer.from_crs(picture.grid.crs, 4326, always_xy=True)
    lon, lat = to_degrees.transform([x, x + picture.grid.pixel[0]], [y, y])
    if not np.isfinite([*lon, *lat]).all():
        return False
    metres = Geod(ellps="WGS84").inv(lon[0], lat[0], lon[1], lat[1])[2]  # a pixel, on the ground
    axes.add_artist(
        ScaleBar(
            metres,
            length_fraction=1 / 3,
            width_fraction=0.025 * axes.bbox.width / axes.bbox.height / _LONGER,
            location="upper left",
            bbox_to_anchor=(0, 0),
            bbox_transform=axes.transAxes,
            scale_loc="right",
            frameon=False,
            color=_INK,
            pad=0,
            border_pad=0.6,
            font_properties={"size": 8},
        )
    )
    to_map = Transformer.from_crs(4326, picture.grid.crs, always_xy=True)
    east, north = to_map.transform(lon[0], min(lat[0] + 0.001, 90))
    _draw_north(axes, math.atan2(east - x, north - y))
    return True


def _draw_north(axes: Axes, angle: float) -> None:
    """Draw an arrow below the map's right corner; `angle` is clockwise from up, in radians."""
    right, up = 10 * math.sin(angle), 10 * math.cos(angle)  # points
    away = ScaledTranslation((right - 9) / 72, (up - 16) / 72, axes.figure.dpi_scale_trans)
    axes.annotate(
        "N",
        xy=(1, 0),
        xycoords=axes.transAxes + away,
        xytext=(-2 * right, -2 * up),
        textcoords="offset points",
        arrowprops={"arrowstyle": "-|>", "color": _INK, "shrinkA": 3, "shrinkB": 0},
        fontsize=8,
        color=_INK,
        ha="center",
        va="center",
        annotation_clip=False,
    )
