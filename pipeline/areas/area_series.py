"""Time series of areas: the classes of several maps of one region, year by year."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.areas.area_table import area_frame
from pipeline.areas.chart_file import FAINT, INK, chart_bytes
from pipeline.areas.zone_areas import ZoneAreas

_WIDTH, _PANEL, _TITLE, _BELOW = 9.0, 2.9, 0.6, 0.75  # inches
_MOST, _ACROSS, _LONGEST = 12, 2, 30  # panels in all and side by side; letters of a name


@dataclass(frozen=True)
class MapAreas:
    """The areas of one map.

    Attributes:
        region: What the map is of.
        years: Its year or years in words.
        first_year: The year in which it begins.
        zones: Its areas by zone.
    """

    region: str
    years: str
    first_year: int
    zones: tuple[ZoneAreas, ...]


def series_frame(maps: Sequence[MapAreas]) -> pd.DataFrame:
    """The table of `area_frame` of all maps, with the columns `region` and `year` before it."""
    frames = []
    for one in maps:
        frame = area_frame(one.zones)
        frame.insert(0, "year", one.years)
        frame.insert(0, "region", one.region)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def series_chart(maps: Sequence[MapAreas], title: str, note: str, form: str) -> bytes:
    """Draw hectares by class over the years, a panel for each zone of each region.

    Args:
        maps: The maps.
        title: The title.
        note: A line below.
        form: "png" or "svg".
    """
    panels = list(dict.fromkeys((one.region, z.name) for one in maps for z in one.zones))[:_MOST]
    across = min(_ACROSS, len(panels))
    rows = -(-len(panels) // across)
    legend = {e.name: e.colour for one in maps for z in one.zones for e in z.classes}
    below = _BELOW + 0.2 * -(-len(legend) // 4)
    height = _TITLE + rows * _PANEL + below
    figure = Figure(figsize=(_WIDTH, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    for number, (region, zone) in enumerate(panels):
        row, column = divmod(number, across)
        left = 0.075 + column / across
        bottom = (below + (rows - 1 - row) * _PANEL + 0.35) / height
        axes = figure.add_axes((left, bottom, 0.96 / across - 0.075, (_PANEL - 0.75) / height))
        _panel(axes, [one for one in maps if one.region == region], zone)
        several = any(len(one.zones) > 1 for one in maps)
        name = f"{region}: {zone}" if several else region
        name = textwrap.shorten(name, 50, placeholder=" …")
        axes.set_title(name, fontsize=9, color=INK, loc="left", parse_math=False)
    lines = [Line2D([], [], color=one, marker="o", markersize=4) for one in legend.values()]
    names = [textwrap.shorten(name, _LONGEST, placeholder=" …") for name in legend]
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 0.25 / height)}
    figure.legend(lines, names, frameon=False, fontsize=7.5, ncols=4, **place)
    heading = textwrap.shorten(title, 100, placeholder=" …")
    top = 1 - 0.28 / height
    style: dict[str, Any] = {"va": "center", "parse_math": False}
    figure.text(0.022, top, heading, fontsize=11, fontweight="bold", color=INK, **style)
    figure.text(0.022, 0.12 / height, note, fontsize=6.5, color=FAINT, **style)
    return chart_bytes(figure, form)


def _panel(axes: Axes, maps: Sequence[MapAreas], zone: str) -> None:
    """The lines of the classes of a zone."""
    ordered = sorted(maps, key=lambda one: one.first_year)
    years = [one.first_year for one in ordered]
    own = [next((z for z in one.zones if z.name == zone), None) for one in ordered]
    colours = {e.name: e.colour for z in own if z is not None for e in z.classes}
    for name, colour in colours.items():
        areas = [
            float("nan")
            if z is None or not z.mapped
            else sum(e.mapped for e in z.classes if e.name == name)
            for z in own
        ]
        axes.plot(years, areas, color=colour, marker="o", markersize=3.5, linewidth=1.5)
    axes.set_xticks(years, [one.years for one in ordered], fontsize=8)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("hectares", fontsize=8, color=FAINT)
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:,.0f}" if v >= 10 else f"{v:g}")
    axes.tick_params(labelsize=7.5, colors=INK)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
