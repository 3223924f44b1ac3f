"""What a later start of a run may ask for: more rasters, cells again, items from another place."""

from dataclasses import replace
from typing import Any

from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item_snapshot import ItemSnapshot
from pipeline.catalog.search import search
from pipeline.errors import OutputError
from pipeline.grid.region import Region
from pipeline.io.fingerprint import as_read
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE
from pipeline.mapping.run import PreparedRun
from pipeline.product.committed_cells import finished_cells, mapped_items
from pipeline.product.ledger import ADDED_OUTPUTS
from pipeline.product.manifest import RunManifest, read_planned
from pipeline.settings.map import MapSettings

_OUTPUTS = {
    "keep_embeddings": "embeddings",
    "top_k": "the next best classes",
    "unlike_training": "how unlike the training their pixels are",
}


def with_outputs_of(begun: RunManifest, settings: MapSettings) -> MapSettings:
    """The settings, with what a begun run makes beyond them: it goes on making it."""
    more = {
        name: max(value, type(value)(begun.settings.get(name) or 0))
        for name, value in settings.model_dump(include=set(ADDED_OUTPUTS)).items()
    }
    return settings.model_copy(update=more)


def same_items_elsewhere(
    begun: RunManifest,
    store: Store,
    known: dict[str, Any],
    region: Region,
    settings: MapSettings,
    catalog: CatalogDescription,
) -> bool:
    """Whether only the catalogue's address differs from a begun run's, and the items are the same.

    So it is where a table of `timesen search` takes the place of the catalogue that was searched.

    Args:
        begun: The run in the folder.
        store: The folder.
        known: The parts of the fingerprint that are known before the search.
        region: The region to map.
        settings: The settings of this start.
        catalog: Their catalogue.

    Raises:
        CatalogError: The catalogue cannot be searched.
        OutputError: The run's own items are gone or damaged.
    """
    now = as_read(known)
    before = {name: value for name, value in begun.parts.items() if name in known}
    place = dict.fromkeys(("url", "collection"))
    if before == now or {**before, "catalog": {**before.get("catalog", {}), **place}} != {
        **now,
        "catalog": {**now["catalog"], **place},
    }:
        return False
    name = public_url(store.path(ITEMS_FILE))
    held = read_planned(store, begun, ITEMS_FILE)
    found = search(region, settings, catalog).items
    return ItemSnapshot(held, name, catalog.conventions) == found


def with_left_out_again(prepared: PreparedRun) -> PreparedRun:
    """The run, with its finished cells that rasters were left out of to be mapped once more.

    Raises OutputError for a run that classifies the embeddings of another.
    """
    run = prepared.run
    if run.settings.embeddings is not None:
        raise OutputError(
            public_url(run.store.root),
            "it classifies the embeddings of another run, and reads no rasters",
            f"Rerun {public_url(run.settings.embeddings)}, then classify again",
        )
    reports = finished_cells(run.store, run.manifest.fingerprint)
    return replace(prepared, again=frozenset(c for c, one in reports.items() if one.stats.faults))


def made_again(prepared: PreparedRun) -> list[str]:
    """What the user should know of cells that are mapped once more, in sentences."""
    run, notes = prepared.run, []
    if prepared.again:
        notes.append(
            f"{_counted(len(prepared.again))} once more, since rasters were left out; a cell that "
            "would lack more of them than now stays as it is"
        )
    if run.manifest.extends:
        finished = finished_cells(run.store, run.manifest.fingerprint)
        former = [one for one in mapped_items(run.store, run.manifest) if one["id"] not in finished]
        if former:
            written = [
                text
                for name, text in _OUTPUTS.items()
                if getattr(run.settings, name) != MapSettings.model_fields[name].default
            ]
            notes.append(
                f"{_counted(len(former))} once more, to write {' and '.join(written)}, too; their "
                "classes stay the same"
            )
    return notes


def _counted(cells: int) -> str:
    return "1 finished cell is mapped" if cells == 1 else f"{cells} finished cells are mapped"
