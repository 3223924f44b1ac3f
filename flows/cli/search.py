"""A catalogue searched once, its items kept as a table to work with offline."""

from pathlib import Path

from rich.console import Console

from pipeline.catalog.description import describe_catalog, is_table
from pipeline.catalog.item_snapshot import make_snapshot
from pipeline.catalog.search import search
from pipeline.errors import OutputError
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.settings.map import SearchSettings


def run_search(settings: SearchSettings, table: Path, console: Console) -> None:
    """Write the items of the settings' region and twelve months; say how many they are.

    Raises UserError for what the user must mend, WorldError where catalogue or disk fail; a table
    that was there is replaced only by a whole one.
    """
    if not is_table(str(table)):
        raise OutputError(str(table), "not the name of a table", "Call it NAME.parquet")
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    found = search(read_region(settings.region), settings, catalog)
    content = make_snapshot(found.published, catalog)
    Store(str(table.parent)).write(table.name, content)
    if found.refused:
        first = found.refused[0]
        console.print(
            f"warning: {len(found.refused)} items cannot be used and are left out, for one "
            f"{first.given}: {first.problem}",
            style="yellow", markup=False, soft_wrap=True,
        )  # fmt: skip
    tiles = len({item.tile for item in found.items})
    console.print(f"{len(found.published)} items of {tiles} tiles: {table}", soft_wrap=True)
