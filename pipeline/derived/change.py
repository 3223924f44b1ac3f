"""The changes between two runs, as a run of transitions with their areas."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.vocabulary.vocabulary import Vocabulary
from pipeline.derived.changed_area import ChangedArea, changed_area, pixel_hectares
from pipeline.derived.derived_run import (
    SourceRun,
    cell_of_item,
    make_derived_cells,
    open_derived_run,
    publish_derived_run,
)
from pipeline.derived.lattice import CellLattice
from pipeline.derived.sankey import sankey_chart
from pipeline.derived.transitions import (
    Transitions,
    change_probability,
    match_transitions,
    transition_vocabulary,
)
from pipeline.errors import OutputError
from pipeline.grid.cells import PIXEL, Cell
from pipeline.io.store import Store, public_url
from pipeline.layout import SANKEY_FILE, TRANSITIONS_FILE
from pipeline.product.cell_report import CellReport, CellResult, class_hectares
from pipeline.product.committed_cells import mapped_items
from pipeline.product.layers import (
    CHANGE_PROBABILITY,
    CLASS,
    CONFIDENCE,
    NODATA_CLASS,
    NODATA_CONFIDENCE,
)
from pipeline.product.manifest import RunManifest
from pipeline.product.rank_shares import RankShares, rank_shares
from pipeline.product.read_layer import read_layer
from pipeline.raster.read_stats import ReadStats

_ROWS = 512  # of a cell whose probabilities are compared at once
_LAYERS = {
    CLASS.name: ["Transition", "The classes of both maps, the earlier one first"],
    CONFIDENCE.name: [
        "Confidence",
        "The product of the probabilities of the two classes shown, as if both maps' errors were "
        "independent",
    ],
}


@dataclass(frozen=True, eq=False)
class MadeChange:
    """A run of changes.

    Attributes:
        store: Its folder.
        area: The areas of its transitions.
        expected: The sum over its pixels of area × probability of a change, in hectares.
        only_before: The hectares that only the earlier map has; `only_after`, the later one.
    """

    store: Store
    area: ChangedArea
    expected: float
    only_before: float
    only_after: float


def change_between(
    before: SourceRun,
    after: SourceRun,
    out: str,
    classes: Mapping[str, str | None] | None = None,
    done: Callable[[str, int, int], None] = lambda stage, count, total: None,
) -> MadeChange:
    """Make the run of the changes between two runs, in a folder of its own.

    Pixels are compared where both maps have a class; the runs may have other regions, and cells of
    other sizes. Each cell has the transitions (`class`), the confidence of the one shown, and the
    probability that the class changed (`change-probability`).

    Args:
        before: The earlier run, or one of two of the same year.
        after: The later run.
        out: The new run's folder.
        classes: The earlier map's class of each class of the later one, where names differ.
        done: Called with a stage, the number of cells that are done, and of all.

    Raises:
        OutputError: The runs cannot be compared, or the folder cannot take the run.
        OutputUnreadable: A raster cannot be read.
        OutputUnwritable: The folder takes no file.
    """
    place = public_url(after.store.root)
    _require_order(before, after)
    transitions = match_transitions(before.vocabulary, after.vocabulary, classes, place)
    lattice = CellLattice(after.store, after.items)
    area = changed_area(before, lattice, transitions, done)
    total = area.hectares.sum()
    if not total:
        raise OutputError(
            place,
            f"it has no pixel in common with {public_url(before.store.root)}",
            "Compare runs whose regions overlap",
        )
    title = f"{before.vocabulary.title}: changes"
    occurring = [int(v) + 1 for v in np.flatnonzero(area.pixels)]
    vocabulary = transition_vocabulary(transitions, occurring, title)
    items = {cell_of_item(item): item for item in before.items}

    def make(cell: Cell) -> CellResult:
        return _changed_cell(before, after, lattice, items[cell], transitions, vocabulary)

    cells = list(area.by_cell)
    table = area.frame().to_csv(index=False, lineterminator="\n").encode()
    titles = before.manifest.years, after.manifest.years
    sankey = sankey_chart(area.hectares, transitions.legend, titles, title, "svg")
    with open_derived_run(
        out,
        [before, after],
        _derived(before, after),
        _settings(before, after),
        vocabulary,
        list(area.by_cell.items()),
    ) as (store, run):
        make_derived_cells(
            store, run, vocabulary, cells, make, lambda count: done("comparing", count, len(cells))
        )
        publish_derived_run(store, run, vocabulary)
        store.write(TRANSITIONS_FILE, table)
        store.write(SANKEY_FILE, sankey)
    return MadeChange(
        store=store,
        area=area,
        expected=_expected(store, run),
        only_before=_left(before, total),
        only_after=_left(after, total),
    )


def _left(run: SourceRun, common: float) -> float:
    """The hectares of a run that are not in common; 0 where it is less than the sums' rounding."""
    whole = sum(class_hectares(run.items).values())
    left = whole - float(common)
    return left if left > 0.0005 * whole else 0.0


def _require_order(before: SourceRun, after: SourceRun) -> None:
    if after.manifest.period[0] < before.manifest.period[0]:
        raise OutputError(
            public_url(after.store.root),
            f"it is of {after.manifest.years}, before the other one ({before.manifest.years})",
            "Give the earlier run first",
        )
    if "change" in (before.manifest.derived_kind, after.manifest.derived_kind):
        raise OutputError(
            public_url(after.store.root), "a map of changes is not compared", "Give two maps"
        )


def _derived(before: SourceRun, after: SourceRun) -> dict[str, Any]:
    runs = (before.manifest, after.manifest)
    text = " and ".join(f"{run.years} ({run.parts.get('vocabulary', 'words')})" for run in runs)
    return {
        "kind": "change",
        "sentence": f"Transitions between the classes of two maps made by timesen, of {text}.",
        "layers": _LAYERS,
    }


def _settings(before: SourceRun, after: SourceRun) -> dict[str, Any]:
    later = after.manifest.settings
    return {
        "top_k": 1,
        "unlike_training": False,
        "last_year": later["year"],
        "last_first_month": later.get("first_month", 1),
        "before": public_url(before.store.root),
        "after": public_url(after.store.root),
    }


def _changed_cell(
    before: SourceRun,
    after: SourceRun,
    lattice: CellLattice,
    item: Mapping[str, Any],
    transitions: Transitions,
    vocabulary: Vocabulary,
) -> CellResult:
    began = time.perf_counter()
    epsg = int(item["properties"]["proj:epsg"])
    left, _, right, top = item["properties"]["proj:bbox"]
    rows, columns = item["properties"]["proj:shape"]
    own = CellLattice(before.store, [item])
    shape, dtype = (1, rows, columns), vocabulary.dtype
    transition = np.full(shape, NODATA_CLASS, dtype)
    confidence, changed = (np.full(shape, NODATA_CONFIDENCE, np.uint8) for _ in range(2))
    for first in range(0, rows, _ROWS):
        strip = slice(first, min(first + _ROWS, rows))
        bounds = (left, top - PIXEL * strip.stop, right, top - PIXEL * strip.start)
        earlier, later = _ranks(own, before, epsg, bounds), _ranks(lattice, after, epsg, bounds)
        if earlier is None or later is None:
            continue
        places = transitions.places(earlier.classes, later=False)
        later_places = transitions.places(later.classes, later=True)
        values = transitions.values(places[0], later_places[0])
        there = values != NODATA_CLASS
        count = len(transitions.legend)
        differs = change_probability(earlier, places, later, later_places, count)
        transition[0, strip] = values
        confidence[0, strip] = _percent(earlier.shares[0] * later.shares[0], there)
        changed[0, strip] = _percent(differs, there)
    report = CellReport.from_item(item)
    return CellResult(
        rasters={
            CLASS.name: transition,
            CONFIDENCE.name: confidence,
            CHANGE_PROBABILITY.name: changed,
        },
        acquisitions=report.acquisitions,
        observations=report.observations,
        stats=ReadStats(seconds={"compare": time.perf_counter() - began}),
    )


def _ranks(
    lattice: CellLattice, run: SourceRun, epsg: int, bounds: tuple[float, float, float, float]
) -> RankShares | None:
    """The kept ranks of a run in a rectangle; None where it has no cell."""
    if not lattice.cells_in(epsg, bounds):
        return None
    found = lattice.read(run.rank_layers, epsg, bounds)
    classes, percents = (found[layer.name] for layer in run.rank_layers)
    return rank_shares(classes, percents, run.vocabulary.none_value)


def _percent(shares: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Shares as percent, uint8 (y, x), nodata where nothing is there."""
    return np.where(there, np.rint(100 * shares), NODATA_CONFIDENCE).astype(np.uint8)


def _expected(store: Store, run: RunManifest) -> float:
    """The hectares that change by the probabilities of all pixels."""
    total = 0.0
    for item in mapped_items(store, run):
        percent = read_layer(store, item, CHANGE_PROBABILITY)[0]
        areas = pixel_hectares(item)
        total += float((areas * np.where(percent == NODATA_CONFIDENCE, 0, percent)).sum()) / 100
    return total
