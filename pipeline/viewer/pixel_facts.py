"""What a run says of one pixel: its class, how sure it is, the next best classes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rasterio.windows import Window

from models.visible_text import visible_text
from pipeline.product.layers import (
    CLASS,
    CLEAR_MONTHS,
    CLEAR_OBSERVATIONS,
    CONFIDENCE,
    NODATA_CONFIDENCE,
    TOP_CLASSES,
    TOP_CONFIDENCES,
    UNLIKE_TRAINING,
    OutputLayer,
)
from pipeline.product.read_layer import opened_raster
from pipeline.viewer.viewed_run import ViewedCell, ViewedRun

_NOT_KEPT = "This run kept the best class only: map with --top-k 3 to see the next ones."


@dataclass(frozen=True)
class PixelFacts:
    """A pixel of a run.

    Attributes:
        cell: Its cell's id, `row` and `column` its place there.
        value: The value of its class, `name` and `colour` those of the legend.
        confidence: Percent; None where it has none.
        top: Names, colours and percentages of the best classes, best first.
        note: Why there are no more of these, or "".
        clear: Clear observations by month, January first; None where the run keeps none.
        clear_months: Months with one; None likewise.
        unlike_training: Percent of the usual distance from the training; None likewise.
    """

    cell: str
    row: int
    column: int
    value: int
    name: str
    colour: str
    confidence: int | None
    top: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""
    clear: list[int] | None = None
    clear_months: int | None = None
    unlike_training: int | None = None


def pixel_facts(run: ViewedRun, lon: float, lat: float) -> PixelFacts | None:
    """The facts of the pixel that holds a place (degrees); None where the map has no class there.

    Raises OutputUnreadable where a raster cannot be read.
    """
    legend = {entry.value: entry for entry in run.vocabulary.legend}
    for cell, row, column in run.cell_at(lon, lat):
        value = _one(run, cell, CLASS, row, column)
        if value is None or value not in legend:
            continue
        confidence = _known(_one(run, cell, CONFIDENCE, row, column))
        clear = _values(run, cell, CLEAR_OBSERVATIONS, row, column)
        own = legend[value]
        top = _top(run, cell, row, column)
        return PixelFacts(
            cell=cell.id,
            row=row,
            column=column,
            value=value,
            name=visible_text(own.name),
            colour=own.colour,
            confidence=confidence,
            top=top or [_bar(own.name, own.colour, value, confidence or 0)],
            note="" if top else _NOT_KEPT,
            clear=None if clear is None else clear.tolist(),
            clear_months=_one(run, cell, CLEAR_MONTHS, row, column),
            unlike_training=_one(run, cell, UNLIKE_TRAINING, row, column),
        )
    return None


def _top(run: ViewedRun, cell: ViewedCell, row: int, column: int) -> list[dict[str, Any]]:
    classes = _values(run, cell, TOP_CLASSES, row, column)
    shares = _values(run, cell, TOP_CONFIDENCES, row, column)
    if classes is None or shares is None:
        return []
    legend = {entry.value: entry for entry in run.vocabulary.legend}
    pairs = zip(classes.tolist(), shares.tolist(), strict=False)  # the last share is the margin
    return [
        _bar(legend[value].name, legend[value].colour, value, _known(share) or 0)
        for value, share in pairs
        if value in legend
    ]


def _bar(name: str, colour: str, value: int, percent: int) -> dict[str, Any]:
    return {"name": visible_text(name), "colour": colour, "value": value, "percent": percent}


def _one(run: ViewedRun, cell: ViewedCell, layer: OutputLayer, row: int, column: int) -> int | None:
    values = _values(run, cell, layer, row, column)
    return None if values is None or values[0] == layer.nodata else int(values[0])


def _known(percent: int | None) -> int | None:
    return None if percent == NODATA_CONFIDENCE else percent


def _values(
    run: ViewedRun, cell: ViewedCell, layer: OutputLayer, row: int, column: int
) -> np.ndarray | None:
    """The bands of a layer at a pixel of 10 m, (band,); None where the cell has no such raster."""
    if layer.name not in cell.layers:
        return None
    with opened_raster(run.store, cell.key(layer)) as raster:
        ratio = max(1, round(cell.shape[0] / raster.height))
        row, column = min(row // ratio, raster.height - 1), min(column // ratio, raster.width - 1)
        values: np.ndarray = raster.read(window=Window(column, row, 1, 1))
    return values[:, 0, 0]
