"""The plan that a run's folder holds: taken up again only if all of it is of that run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from safetensors.numpy import load as load_tensors

from models.files.json_text import parse_json
from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary
from pipeline.classification.other_land import OtherLand
from pipeline.costs.prices import Prices
from pipeline.costs.resources import Resources
from pipeline.errors import OutputError, RegionError
from pipeline.grid.cells import PIXEL
from pipeline.grid.mgrs import parse_tile
from pipeline.io.fingerprint import as_read, differences
from pipeline.io.store import Store
from pipeline.layout import ITEMS_FILE, OTHER_LAND_FILE, TEXT_FILE
from pipeline.mapping.make_plan import PlannedTiles
from pipeline.mapping.plan import PLAN_KEY
from pipeline.mapping.plan_geojson import CellPlan, plan_of, read_cell_plans
from pipeline.product.committed_cells import finished_ids
from pipeline.product.cost_report import PlannedCost
from pipeline.product.ledger import held_run, only_adds, require_replaceable
from pipeline.product.manifest import RunManifest, read_planned, run_vocabulary

_NO_PLAN = (ValueError, LookupError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True)
class HeldPlan:
    """A run that was planned: its items, its text embeddings, what they leave out, its classes.

    Runs of early versions have no `other_land`.
    """

    manifest: RunManifest
    items: bytes
    text: TextEmbeddings
    other_land: OtherLand | None
    vocabulary: Vocabulary


def held_plan(store: Store, parts: Mapping[str, Any]) -> HeldPlan | None:
    """The plan in the folder of a run with these parts, or one that they only add to.

    None if the run must be planned.

    Raises OutputError where cells of another run are begun there, or where a file has gone or is
    another, and finished cells were made of the former one.
    """
    held = held_run(store)
    if held is None:
        return None
    before = {name: value for name, value in held.parts.items() if name in parts}
    differing = differences(before, parts)
    if differing and not only_adds(before, as_read(parts)):
        require_replaceable(store, differing)
        return None
    try:
        items = read_planned(store, held, ITEMS_FILE)
        text = TextEmbeddings.from_tensors(load_tensors(read_planned(store, held, TEXT_FILE)))
        other = None
        if OTHER_LAND_FILE in held.files:
            tensors = load_tensors(read_planned(store, held, OTHER_LAND_FILE))
            other = OtherLand.from_tensors(tensors)
        vocabulary = run_vocabulary(store, held)
    except OutputError:
        if finished_ids(store, held.fingerprint):
            raise
        return None
    return HeldPlan(held, items, text, other, vocabulary)


def planned_tiles(store: Store, run: RunManifest) -> PlannedTiles | None:
    """The tiles of the plan in a run's folder.

    None where its files are gone or of others, or of an early version: then it is made again of the
    run's items.
    """
    try:
        numbers = parse_json(read_planned(store, run, PLAN_KEY))
        by_tile: dict[str, list[CellPlan]] = {name: [] for name in numbers["by_tile"]}
        for cell in read_cell_plans(store, run):
            by_tile[cell.cell.tile.name].append(cell)
        return PlannedTiles(
            tiles=tuple(
                plan_of(parse_tile(name), cells, numbers["by_tile"][name])
                for name, cells in by_tile.items()
            ),
            band_pixels=tuple(float(metres) for metres in numbers["band_pixels"]),
            absent_bands=_counts(numbers["absent_bands"]),
            scarce_bands=_counts(numbers["scarce_bands"]),
        )
    except (OutputError, RegionError, *_NO_PLAN):
        return None


def _counts(stated: dict[str, Any]) -> dict[str, int]:
    return {str(band): int(count) for band, count in stated.items()}


def planned_warnings(store: Store, run: RunManifest) -> tuple[str, ...] | None:
    """The warnings of the plan that a run began with; None where its file is gone or another.

    A plan that is made again from the run's own items knows nothing of those that the search left
    out.
    """
    try:
        warnings = parse_json(read_planned(store, run, PLAN_KEY))["warnings"]
    except (OutputError, *_NO_PLAN):
        return None
    if not isinstance(warnings, list) or not all(isinstance(text, str) for text in warnings):
        return None
    return tuple(warnings)


def planned_cost(store: Store, run: RunManifest) -> PlannedCost | None:
    """What the plan that a run began with says that it takes; None as `planned_warnings`."""
    try:
        plan = parse_json(read_planned(store, run, PLAN_KEY))
        cost = plan["cost"]
        resources = Resources(*(float(cost[field.name]) for field in fields(Resources)))
        area = float(plan["pixels"]) * PIXEL**2 / 1e6
        return PlannedCost(resources, Prices.model_validate(cost["prices"]), area)
    except (OutputError, *_NO_PLAN):
        return None
