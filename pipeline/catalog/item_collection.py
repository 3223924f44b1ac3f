"""Items that a search has found and saved: a JSON file with an ItemCollection."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.catalog.api_pages import matched_count
from pipeline.catalog.json_client import links_with
from pipeline.catalog.static_catalog import absolute_by_self
from pipeline.errors import CatalogError
from pipeline.grid.region import Region
from pipeline.io.store import public_url


@dataclass(frozen=True)
class ItemCollection:
    """The items of a FeatureCollection, as pystac-client and other tools save them.

    Attributes:
        location: Address or path of the document.
        document: The FeatureCollection.
        tolerate: Is told where it is one page of an answer that has more; None: that is an error.
    """

    location: str
    document: dict[str, Any]
    tolerate: Callable[[str], None] | None = None

    def items(
        self, region: Region, period: tuple[datetime, datetime] | None
    ) -> Iterator[dict[str, Any]]:
        """All items, whatever their place and time, with absolute hrefs. Raises CatalogError."""
        features = self.document.get("features")
        if not isinstance(features, list):
            raise CatalogError(
                public_url(self.location),
                "a FeatureCollection without a list of features",
                "Save the items of the search anew",
            )
        matched = matched_count(self.document)
        if links_with(self.document, "next") or (matched or 0) > len(features):
            self._incomplete(len(features), matched)
        for item in features:
            yield absolute_by_self(item if isinstance(item, dict) else {}, self.location)

    def _incomplete(self, count: int, matched: int | None) -> None:
        whole = f"of the {matched:,} items" if matched is not None else "items of those"
        problem = f"holds only {count:,} {whole} that its search has found"
        if self.tolerate is None:
            raise CatalogError(
                public_url(self.location),
                f"it {problem}: one page of several",
                "Save all pages, or give the address of the STAC API; accept_incomplete = true "
                "under [catalog] goes on with what is there",
            )
        self.tolerate(f"{public_url(self.location)} {problem}")
