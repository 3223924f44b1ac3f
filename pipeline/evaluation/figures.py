"""Pictures of an evaluation, as PNG: confusion, calibration, few-shot curves."""

import io
import textwrap
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.evaluation.calibration import Calibration
from pipeline.evaluation.probes import FewShot

_INK, _FAINT, _BLUE, _ORANGE = "#1b1f24", "#6b7280", "#2563a8", "#d9772b"
_WRITTEN = 30  # classes up to which shares are written into the cells
_LONGEST = 34


def confusion_figure(
    matrix: np.ndarray, names: Sequence[str], title: str, rows: str, columns: str
) -> bytes:
    """A confusion matrix: counts or areas (class, class), shown as shares of each row.

    Classes that occur in neither row nor column are left out. `rows` and `columns` are the labels
    of the axes. Colours show shares; with up to 30 classes, the percentages are written, too.
    """
    shown = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1) > 0)
    values = matrix[np.ix_(shown, shown)].astype(np.float64)
    totals = values.sum(axis=1, keepdims=True)
    shares = np.divide(values, totals, out=np.full_like(values, np.nan), where=totals > 0)
    n = len(shown)
    labels = [textwrap.shorten(names[k], _LONGEST, placeholder=" …") for k in shown.tolist()]
    cell = 0.46 if n <= 15 else 0.34 if n <= _WRITTEN else 0.19
    font = 8.5 if n <= 15 else 7.5 if n <= _WRITTEN else 6
    margin = 0.35 + 0.0125 * font * min(_LONGEST, max(map(len, labels)))
    side = max(n * cell, 1.6)
    width, height = side + margin + 1.3, side + margin + 0.7
    figure = _figure(width, height)
    axes = figure.add_axes(
        (margin / width, margin / height, side / width, side / height), facecolor="#f1f2f4"
    )
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks(range(n), labels, rotation=90, fontsize=font)
    axes.set_yticks(range(n), labels, fontsize=font)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel(columns, color=_FAINT, fontsize=9)
    axes.set_ylabel(rows, color=_FAINT, fontsize=9)
    if n <= _WRITTEN:
        for row, column in zip(*np.nonzero(np.nan_to_num(shares) >= 0.005), strict=True):
            share = shares[row, column]
            axes.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=font - 0.5,
                color="white" if share > 0.55 else _INK,
            )
    bar = figure.add_axes(
        ((margin + side + 0.15) / width, margin / height, 0.12 / width, min(side, 2.4) / height)
    )
    figure.colorbar(picture, cax=bar, ticks=[0, 0.5, 1]).ax.tick_params(labelsize=7)
    bar.set_yticklabels(["0 %", "50 %", "100 %"])
    bar.set_title("of the row", fontsize=7, color=_FAINT, loc="left")
    _title(figure, title, margin, width, height)
    return _png(figure)


def calibration_figure(before: Calibration, after: Calibration | None, title: str) -> bytes:
    """Accuracy and counts of rows by confidence; `after` is with the fitted logit scale."""
    figure = _figure(5.6, 6.0)
    curve = figure.add_axes((0.13, 0.36, 0.83, 0.53))
    below = figure.add_axes((0.13, 0.1, 0.83, 0.2))
    curve.plot([0, 1], [0, 1], color=_FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    _reliability(curve, below, before, "as the card says", _BLUE, -0.5)
    if after is not None:
        _reliability(curve, below, after, "with the fitted logit scale", _ORANGE, 0.5)
    curve.set(xlim=(0, 1), ylim=(0, 1), xticklabels=[])
    curve.set_ylabel("accuracy", color=_FAINT, fontsize=9)
    below.set(xlim=(0, 1))
    below.set_xlabel("confidence", color=_FAINT, fontsize=9)
    below.set_ylabel("rows", color=_FAINT, fontsize=9)
    curve.legend(frameon=False, fontsize=8.5, loc="upper left")
    for axes in (curve, below):
        _plain(axes)
    _title(figure, title, 0.13 * 5.6, 5.6, 6.0)
    return _png(figure)


def few_shot_figure(
    curve: Sequence[FewShot], zero_shot: float | None, all_rows: float, title: str
) -> bytes:
    """Accuracy by rows per class, mean and standard deviation; zero-shot and all rows as lines."""
    figure = _figure(5.6, 4.2)
    axes = figure.add_axes((0.13, 0.15, 0.83, 0.7))
    shots = [point.shots for point in curve]
    axes.errorbar(
        shots,
        [point.accuracy for point in curve],
        yerr=[point.accuracy_sd for point in curve],
        color=_BLUE,
        marker="o",
        markersize=4,
        capsize=3,
        linewidth=1.5,
        label="linear probe, mean ± sd",
    )
    axes.axhline(all_rows, color=_FAINT, linewidth=1, label="linear probe, all rows")
    if zero_shot is not None:
        axes.axhline(zero_shot, color=_ORANGE, linewidth=1.4, linestyle="--", label="zero-shot")
    axes.set(xscale="log", ylim=(0, 1), xlim=(0.85 * shots[0], 1.18 * shots[-1]))
    axes.set_xticks(shots, [str(k) for k in shots])
    axes.minorticks_off()
    axes.set_xlabel("rows per class", color=_FAINT, fontsize=9)
    axes.set_ylabel("accuracy", color=_FAINT, fontsize=9)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")
    _plain(axes)
    _title(figure, title, 0.13 * 5.6, 5.6, 4.2)
    return _png(figure)


def _reliability(
    curve: Axes, below: Axes, calibration: Calibration, label: str, colour: str, side: float
) -> None:
    full = calibration.counts > 0
    curve.plot(
        calibration.confidence[full],
        calibration.accuracy[full],
        color=colour,
        marker="o",
        markersize=4,
        linewidth=1.5,
        label=f"{label}: ECE {calibration.ece:.3f}",
    )
    step = calibration.edges[1] - calibration.edges[0]
    middle = (calibration.edges[1:] + calibration.edges[:-1]) / 2 + side * 0.4 * step
    below.bar(middle, calibration.counts, 0.4 * step, color=colour)


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _title(figure: Figure, title: str, left: float, width: float, height: float) -> None:
    most = max(20, int((width - min(left, 0.3)) * 11))
    figure.text(
        0.3 / width,
        1 - 0.32 / height,
        textwrap.shorten(title, most, placeholder=" …"),
        fontsize=10.5,
        fontweight="bold",
        color=_INK,
        va="center",
        parse_math=False,
    )


def _plain(axes: Axes) -> None:
    axes.tick_params(labelsize=8, colors=_INK)
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    with warnings.catch_warnings():  # the picture shows which glyphs the font lacks
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        figure.savefig(content, format="png", metadata={"Software": "timesen"})
    return content.getvalue()
