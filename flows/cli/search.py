"""The command `timesen search`: a catalogue's items as a table to work with offline."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from flows.cli.settings_command import settings_command
from flows.execution.console import PlainConsole
from models.encoder.preprocessing import BANDS
from models.option import Option, RelativePath
from pipeline.errors import OutputError
from pipeline.settings.map import MapSettings, SearchSettings


class ItemTableSettings(SearchSettings):
    """A table of the items of a search. A run's other settings are allowed and unused."""

    items: Annotated[str, RelativePath(), Option(metavar="ITEMS.parquet")] = Field(
        "items.parquet", description="the table to write"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_a_run(cls, raw: Any) -> Any:
        unused = MapSettings.model_fields.keys() - SearchSettings.model_fields.keys()
        return {k: v for k, v in raw.items() if k not in unused} if isinstance(raw, dict) else raw


@settings_command(
    "search",
    ItemTableSettings,
    file="RUN.toml",
    examples=(
        "timesen search run.toml --items items.parquet",
        "timesen search --region 31UFS --year 2024 --catalog planetary-computer",
        "timesen map run.toml --catalog items.parquet",
    ),
)
def search_app(settings: ItemTableSettings) -> int:
    """Write the items of a region and year as a table, which is a catalogue to work with offline.

    `timesen map --catalog ITEMS.parquet` then reads the table in place of the catalogue. A table
    that was there is replaced only by a whole one.
    """
    from pipeline.catalog.description import describe_catalog, is_table
    from pipeline.catalog.search import search
    from pipeline.grid.region import read_region
    from pipeline.io.store import Store

    table, console = Path(settings.items), PlainConsole()
    if not is_table(str(table)):
        raise OutputError(str(table), "not the name of a table", "Call it NAME.parquet")
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    found = search(read_region(settings.region), settings, catalog)
    Store(str(table.parent)).write(table.name, found.items.content)
    warnings = list(found.shortfalls)
    if found.refused:
        first = found.refused[0]
        warnings.append(
            f"{len(found.refused)} items cannot be used and are left out, for one "
            f"{first.given}: {first.problem}"
        )
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    facts, tiles = found.items.facts, len(found.items.tiles)
    items = facts.count
    for band in BANDS:
        if count := items - facts.offering[band]:
            share = "no item has" if count == items else f"{count} of {items} items lack"
            console.print(f"{share} band {band}", markup=False, soft_wrap=True)
    console.print(f"{found.items.published_count} items of {tiles} tiles: {table}", soft_wrap=True)
    return 0
