"""A table of items (stac-geoparquet) as a catalogue: searched once, used offline ever after."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.catalog.item_snapshot import read_snapshot_stac
from pipeline.catalog.static_catalog import absolute, links_of
from pipeline.errors import CatalogError, OutputError
from pipeline.grid.region import Region

_WRITE = "Give a table that `timesen search` or another tool has written as stac-geoparquet"


@dataclass(frozen=True)
class ItemTable:
    """The items of a Parquet file, as `timesen search` or another tool has written it."""

    path: str

    def candidates(
        self, region: Region, period: tuple[datetime, datetime]
    ) -> Iterator[dict[str, Any]]:
        """All items, whatever their place and time, with absolute hrefs. Raises CatalogError."""
        yield from self._items()

    def of_any_time(self, region: Region) -> Iterator[dict[str, Any]]:
        """All items."""
        yield from self._items()

    def _items(self) -> Iterator[dict[str, Any]]:
        place = Path(self.path).expanduser().absolute()
        try:
            content = place.read_bytes()
        except OSError as error:
            reason = f"it cannot be read ({(error.strerror or '').lower()})"
            raise CatalogError(self.path, reason, _WRITE) from None
        try:
            for item in read_snapshot_stac(content, self.path):
                itself = links_of((str(place), item), "self")
                yield absolute(item, itself[0] if itself else str(place))
        except OutputError:
            raise CatalogError(self.path, "this is no table of items", _WRITE) from None
