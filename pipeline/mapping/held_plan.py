"""The plan that a run's folder holds: taken up again only if all of it is of that run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.numpy import load as load_tensors

from models.towers.text_embeddings import TextEmbeddings
from pipeline.classification.other_land import OtherLand
from pipeline.errors import OutputError
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store
from pipeline.layout import ITEMS_FILE, OTHER_LAND_FILE, TEXT_FILE
from pipeline.product.ledger import finished_cells, held_run, require_replaceable
from pipeline.product.manifest import RunManifest, read_planned


@dataclass(frozen=True)
class HeldPlan:
    """A run that was planned, its snapshot of items, its text embeddings, and what they leave out.

    Runs of early versions have no `other_land`.
    """

    manifest: RunManifest
    items: bytes
    text: TextEmbeddings
    other_land: OtherLand | None


def held_plan(store: Store, parts: Mapping[str, Any]) -> HeldPlan | None:
    """The plan in the folder of a run with these parts; None if it must be planned.

    Raises OutputError where cells of another run are begun there, or where a file has gone or is
    another, and finished cells were made of the former one.
    """
    held = held_run(store)
    if held is None:
        return None
    differing = differences({k: v for k, v in held.parts.items() if k in parts}, parts)
    if differing:
        require_replaceable(store, differing)
        return None
    try:
        items = read_planned(store, held, ITEMS_FILE)
        text = TextEmbeddings.from_tensors(load_tensors(read_planned(store, held, TEXT_FILE)))
        other = None
        if OTHER_LAND_FILE in held.files:
            tensors = load_tensors(read_planned(store, held, OTHER_LAND_FILE))
            other = OtherLand.from_tensors(tensors)
    except OutputError:
        if finished_cells(store, held.fingerprint):
            raise
        return None
    return HeldPlan(held, items, text, other)
