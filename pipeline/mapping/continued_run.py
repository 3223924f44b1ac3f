"""What a later start of a run may ask for: more rasters, or its items from another place."""

import json
from typing import Any

from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item_snapshot import make_snapshot, read_snapshot
from pipeline.catalog.search import search
from pipeline.grid.region import Region
from pipeline.io.fingerprint import canonical_json
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE
from pipeline.product.ledger import ADDED_OUTPUTS
from pipeline.product.manifest import RunManifest, read_planned
from pipeline.settings.map import MapSettings


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
    now = json.loads(canonical_json(known))
    before = {name: value for name, value in begun.parts.items() if name in known}
    place = dict.fromkeys(("url", "collection"))
    if before == now or {**before, "catalog": {**before.get("catalog", {}), **place}} != {
        **now,
        "catalog": {**now["catalog"], **place},
    }:
        return False
    name = public_url(store.path(ITEMS_FILE))
    held = read_planned(store, begun, ITEMS_FILE)
    found = make_snapshot(search(region, settings, catalog).published, catalog)
    conventions = catalog.conventions
    return read_snapshot(found, name, conventions) == read_snapshot(held, name, conventions)
