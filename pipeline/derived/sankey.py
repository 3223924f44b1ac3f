"""A Sankey chart of a transition matrix: from the classes of one map to those of another."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from models.vocabulary.vocabulary_class import VocabularyParent
from pipeline.areas.chart_file import FAINT, INK, chart_bytes

_WIDTH, _HEIGHT, _TITLE = 9.0, 5.4, 0.7  # inches
_BAR, _GAP = 0.018, 0.012  # of the width, and of the height between classes
_LEFT, _RIGHT = 0.24, 0.76
_LEAST_LABEL = 0.012  # of the height: the bars of smaller classes have no name
_LONGEST = 26


def sankey_chart(
    hectares: np.ndarray,
    legend: Sequence[VocabularyParent],
    maps: tuple[str, str],
    title: str,
    form: str,
) -> bytes:
    """Draw the transitions between two maps as bands whose widths are areas.

    Args:
        hectares: float64 (class, class): rows are the earlier map's classes.
        legend: The classes.
        maps: What the two maps are called, such as their years.
        title: The title.
        form: "svg" or "png".
    """
    figure = Figure(figsize=(_WIDTH, _HEIGHT + _TITLE), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0.02, 1, _HEIGHT / (_HEIGHT + _TITLE) - 0.03))
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.axis("off")
    shown = np.flatnonzero(hectares.sum(axis=0) + hectares.sum(axis=1) > 0)
    matrix = hectares[np.ix_(shown, shown)]
    entries = [legend[k] for k in shown.tolist()]
    scale = (1 - _GAP * max(len(entries) - 1, 0)) / matrix.sum()
    left, right = _tops(matrix.sum(axis=1) * scale), _tops(matrix.sum(axis=0) * scale)
    used_left, used_right = left.copy(), right.copy()
    for i, j in np.ndindex(matrix.shape):
        if width := float(matrix[i, j] * scale):
            _band(axes, float(used_left[i]), float(used_right[j]), width, entries[i].colour, i == j)
            used_left[i] += width
            used_right[j] += width
    for k, entry in enumerate(entries):
        areas = float(matrix[k].sum()), float(matrix[:, k].sum())
        _bar(axes, _LEFT - _BAR, float(left[k]), areas[0] * scale, entry, areas[0], "right")
        _bar(axes, _RIGHT, float(right[k]), areas[1] * scale, entry, areas[1], "left")
    top = 1 - 0.24 / (_HEIGHT + _TITLE)
    heading = textwrap.shorten(title, 90, placeholder=" …")
    style: dict[str, Any] = {"va": "center", "parse_math": False}
    figure.text(0.025, top, heading, fontsize=11, fontweight="bold", color=INK, **style)
    for x, name, align in ((_LEFT, maps[0], "right"), (_RIGHT, maps[1], "left")):
        figure.text(x, top - 0.05, name, fontsize=9.5, color=FAINT, ha=align, **style)
    return chart_bytes(figure, form)


def _tops(heights: np.ndarray) -> np.ndarray:
    """The upper ends of bars one below the other."""
    tops: np.ndarray = np.concatenate([[0.0], np.cumsum(heights[:-1] + _GAP)])
    return tops


def _band(axes: Axes, start: float, end: float, width: float, colour: str, stays: bool) -> None:
    """A band from the earlier to the later map; what changes is in stronger colour."""
    middle = (_LEFT + _RIGHT) / 2
    corners = [
        (_LEFT, start),
        (middle, start),
        (middle, end),
        (_RIGHT, end),
        (_RIGHT, end + width),
        (middle, end + width),
        (middle, start + width),
        (_LEFT, start + width),
        (_LEFT, start),
    ]
    curve = [Path.CURVE4] * 3
    codes = [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY]
    alpha = 0.25 if stays else 0.7
    axes.add_patch(PathPatch(Path(corners, codes), facecolor=colour, alpha=alpha, linewidth=0))


def _bar(
    axes: Axes,
    x: float,
    top: float,
    height: float,
    entry: VocabularyParent,
    hectares: float,
    side: str,
) -> None:
    """A class's bar, with its name and area on the outer side."""
    if not height:
        return
    axes.add_patch(Rectangle((x, top), _BAR, height, facecolor=entry.colour, linewidth=0))
    if height >= _LEAST_LABEL:
        name = textwrap.shorten(entry.name, _LONGEST, placeholder=" …")
        place = x - 0.008 if side == "right" else x + _BAR + 0.008
        text = f"{name}  {hectares:,.0f} ha"
        y = top + height / 2
        axes.text(place, y, text, fontsize=7.5, color=INK, ha=side, va="center", parse_math=False)
