"""Charts of areas by class and zone, as PNG or SVG."""

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.areas.chart_file import FAINT, INK, chart_bytes
from pipeline.areas.zone_areas import ClassHectares, ZoneAreas

_MARK = "#111827"
_MOST = 40  # zones, or classes of one zone, the largest
_LONGEST = 34
_ROW, _WIDTH, _LEFT = 0.3, 9.0, 2.6  # inches


def area_chart(zones: Sequence[ZoneAreas], title: str, note: str, form: str) -> bytes:
    """Draw areas by class, as "png" or "svg"; `note` stands below.

    One zone has a bar for each class, in hectares, with the adjusted area and its 95 % interval as
    a mark. Several zones have a bar each, of the shares of their classes.
    """
    shown = [zone for zone in zones if zone.mapped]
    bars = len(shown[0].classes) if len(shown) == 1 else len(shown)
    legend = 0 if len(shown) == 1 else -(-len(_all_classes(shown)) // 3)
    height = 1.5 + _ROW * min(bars, _MOST) + 0.24 * legend
    figure = Figure(figsize=(_WIDTH, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    low = (0.75 + 0.24 * legend) / height
    box = (_LEFT / _WIDTH, low, 1 - (_LEFT + 0.5) / _WIDTH, 1 - low - 0.55 / height)
    axes = figure.add_axes(box)
    if len(shown) == 1:
        _class_bars(axes, shown[0])
    else:
        _zone_bars(axes, shown)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(axis="x", color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    heading = textwrap.shorten(title, 100, placeholder=" …")
    left = 0.2 / _WIDTH
    top = 1 - 0.28 / height
    figure.text(
        left,
        top,
        heading,
        fontsize=11,
        fontweight="bold",
        color=INK,
        va="center",
        parse_math=False,
    )
    figure.text(left, 0.14 / height, note, fontsize=6.5, color=FAINT, va="center", parse_math=False)
    return chart_bytes(figure, form)


def _class_bars(axes: Axes, zone: ZoneAreas) -> None:
    """A bar for each class, the largest on top."""
    entries = sorted(zone.classes, key=lambda entry: -entry.mapped)[:_MOST]
    rows = range(len(entries))
    axes.barh(
        rows,
        [e.mapped for e in entries],
        0.66,
        color=[e.colour for e in entries],
        edgecolor="#00000033",
        linewidth=0.5,
    )
    expected = [(k, e.expected) for k, e in enumerate(entries) if e.expected is not None]
    if expected:
        axes.plot(
            [v for _, v in expected],
            [k for k, _ in expected],
            "D",
            color="white",
            markeredgecolor=_MARK,
            markersize=4.5,
            label="expected by confidence",
        )
    known = [(k, e.adjusted) for k, e in enumerate(entries) if e.adjusted is not None]
    if known:
        axes.errorbar(
            [one.value for _, one in known],
            [k for k, _ in known],
            xerr=[
                [min(one.half_width, one.value) for _, one in known],
                [one.half_width for _, one in known],
            ],
            fmt="o",
            color=_MARK,
            markersize=3.5,
            capsize=3,
            linewidth=1.1,
            label="by reference points, 95 % interval",
        )
    if expected or known:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    _label(axes, [entry.name for entry in entries], "hectares")
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}"
    )


def _zone_bars(axes: Axes, zones: Sequence[ZoneAreas]) -> None:
    """A bar for each zone, of the shares of its classes; the zones in their own order."""
    shown = list(zones)
    if len(shown) > _MOST:
        largest = sorted(shown, key=lambda zone: -zone.mapped)[:_MOST]
        shown = [zone for zone in shown if zone in largest]
    for entry in _all_classes(shown):
        shares, starts = [], []
        for zone in shown:
            before = 0.0
            for other in zone.classes:
                if other.name == entry.name:
                    break
                before += other.mapped
            own = sum(other.mapped for other in zone.classes if other.name == entry.name)
            shares.append(100 * own / zone.mapped)
            starts.append(100 * before / zone.mapped if own else 0.0)
        axes.barh(
            range(len(shown)),
            shares,
            0.7,
            left=starts,
            color=entry.colour,
            label=textwrap.shorten(entry.name, _LONGEST, placeholder=" …"),
        )
    axes.set_xlim(0, 100)
    _label(
        axes,
        [f"{zone.name} ({zone.mapped:,.0f} ha)" for zone in shown],
        "share of what is mapped, %",
    )
    axes.legend(
        frameon=False,
        fontsize=7.5,
        ncols=3,
        loc="upper left",
        bbox_to_anchor=(-0.25, -0.5 / (_ROW * len(shown))),
    )


def _all_classes(zones: Sequence[ZoneAreas]) -> list[ClassHectares]:
    """The classes of all zones, once each."""
    return list(
        {entry.name: entry for zone in zones for entry in zone.classes if entry.mapped}.values()
    )


def _label(axes: Axes, names: Sequence[str], unit: str) -> None:
    texts = [
        textwrap.shorten(name, _LONGEST, placeholder=" …").replace("$", r"\$") for name in names
    ]
    axes.set_yticks(range(len(names)), texts, fontsize=8.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(unit, color=FAINT, fontsize=8.5)
