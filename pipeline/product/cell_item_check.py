"""The check of a cell's STAC item in a run's folder, which others may have written or changed."""

import math
import re
from collections.abc import Mapping
from typing import Any

from pipeline.grid.cells import PIXEL
from pipeline.grid.mgrs import SQUARE, parse_tile
from pipeline.layout import ITEM, cell_key
from pipeline.product.cell_report import PREFIX, CellReport
from pipeline.product.layers import layer_of_asset

_SIDE = SQUARE // PIXEL  # pixels: a cell is a part of its tile's square


def checked_report(item: Mapping[str, Any], key: str) -> CellReport:
    """The report in the item at a key, if its grid, names and numbers can be used without fear.

    Id and tile must be those of the key, or what is made of the cell would lie in other folders.

    Raises:
        ValueError: The item is not that of a cell, or is damaged.
    """
    try:
        _require_place(item, key)
        report = CellReport.from_item(item)
        _require_numbers(report)
    except (LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"a field is missing or of another type ({error})") from None
    return report


def _require_place(item: Mapping[str, Any], key: str) -> None:
    properties, name = item["properties"], item["id"]
    tile = parse_tile(properties[f"{PREFIX}tile"])
    if key != cell_key(tile.name, name, ITEM) or not re.fullmatch(rf"{tile.name}-\d+-\d+", name):
        raise ValueError("it is of another cell")
    rows, columns = properties["proj:shape"]
    step, shear, left, turn, down, top = properties["proj:transform"][:6]
    across, along = left - tile.grid_origin[0], tile.grid_origin[1] - top
    if not (
        properties["proj:code"] == f"EPSG:{tile.epsg}"
        and _is_count(rows, columns)
        and 0 < rows <= _SIDE
        and 0 < columns <= _SIDE
        and (step, shear, turn, down) == (PIXEL, 0, 0, -PIXEL)
        and 0 <= across <= SQUARE + PIXEL * columns
        and 0 <= along <= SQUARE + PIXEL * rows
    ):
        raise ValueError("its grid is not one of its tile")
    bounds = [left, top - PIXEL * rows, left + PIXEL * columns, top]
    if list(properties["proj:bbox"]) != bounds:
        raise ValueError("its proj:bbox is not that of its grid")
    if len(item["bbox"]) != 4 or not all(map(_is_finite, item["bbox"])):
        raise ValueError("its bbox is not of four numbers")
    for name, asset in item["assets"].items():
        layer_of_asset(name)
        if not re.fullmatch(r"\./[\w.-]+", asset["href"]):
            raise ValueError("an asset lies in another folder")


def _require_numbers(report: CellReport) -> None:
    stats = report.stats
    counts = (report.nodata, report.acquisitions, report.observations)
    asked = (stats.retries, stats.requests, stats.fetched)
    optional = 0 if report.unlike_training is None else report.unlike_training
    masked = (0, 0) if report.masked is None else vars(report.masked).values()
    numbers = (report.mean_confidence or 0, *report.coverage, *stats.seconds.values())
    other = [each for names in (report.other_land or {}).values() for each in names.items()]
    texts = [text for fault in stats.faults for text in vars(fault).values()]
    texts += [*stats.seconds, *(name for name, _ in other)]
    seconds = [count for counts in (report.runners_up or {}).values() for count in counts.values()]
    by_class = (report.confidence or {}).values()
    if not (
        _is_count(*counts, *asked, *report.pixels.values(), report.invalid_embeddings, optional)
        and _is_count(*masked)
        and _is_count(*(count for _, count in other), *seconds, *(one.little for one in by_class))
        and all(map(_is_finite, (*numbers, *(one.mean for one in by_class))))
        and all(isinstance(text, str) for text in texts)
    ):
        raise ValueError("its numbers are none")
    "".join(texts).encode()  # raises ValueError for lone surrogates, which nothing can show


def _is_count(*values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 2**53 for value in values)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
