"""A table of items (stac-geoparquet) as a catalogue: searched once, used offline ever after."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import CatalogError, OutputError
from pipeline.frozen import thaw_published
from pipeline.region import Region


@dataclass(frozen=True)
class ItemTable:
    """The items of a Parquet file, as `timesen search` or another tool has written it."""

    path: str

    def candidates(
        self, region: Region, period: tuple[datetime, datetime]
    ) -> Iterator[dict[str, Any]]:
        """All items, whatever their place and time. Raises CatalogError."""
        yield from self._items()

    def of_any_time(self, region: Region) -> Iterator[dict[str, Any]]:
        """All items."""
        yield from self._items()

    def _items(self) -> list[dict[str, Any]]:
        try:
            return thaw_published(Path(self.path).expanduser().read_bytes(), self.path)
        except OSError as error:
            reason = f"it cannot be read ({(error.strerror or '').lower()})"
            raise CatalogError(self.path, reason, "`timesen search` writes one") from None
        except OutputError:
            raise CatalogError(
                self.path, "this is no table of items", "`timesen search` writes one"
            ) from None
