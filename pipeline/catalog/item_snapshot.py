"""The items of a run as GeoParquet in its folder, so that the run can be repeated exactly."""

import io
import marshal
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.catalog.description import TABLE_KEY, CatalogDescription
from pipeline.catalog.item import Item
from pipeline.catalog.item_assets import ANY, Conventions, StacJson
from pipeline.catalog.normalise import normalise, resolve_duplicates, tile_of
from pipeline.catalog.origin import origin_metadata
from pipeline.catalog.reduced_item import reduced_item
from pipeline.catalog.stac_table import read_stac_table, stac_items, write_stac_table
from pipeline.errors import OutputError

_PLACE = (
    *("id", "grid:code", "s2:mgrs_tile"),
    *("mgrs:utm_zone", "mgrs:latitude_band", "mgrs:grid_square"),
)  # the fields of `tile_of`
_CODEC = pa.Codec("lz4_raw")  # a tenth of zlib's time, and a fifth more bytes
_Row = tuple[tuple[datetime, str], int, bytes]
_TILES = 64  # of which the items are kept: as many as a run works on at once, and more


@dataclass(frozen=True)
class ItemFacts:
    """What a run must know of its items as a whole.

    Attributes:
        count: The number of items, duplicates resolved.
        offering: How many of them have a raster of a band, by band (or SCL).
        attributions: The notices that their publishers want.
    """

    count: int = 0
    offering: Counter[str] = field(default_factory=Counter)
    attributions: frozenset[str] = frozenset()

    def __add__(self, other: "ItemFacts") -> "ItemFacts":
        """The facts of the items of both."""
        return ItemFacts(
            self.count + other.count,
            self.offering + other.offering,
            self.attributions | other.attributions,
        )

    @classmethod
    def of(cls, items: Sequence[Item]) -> "ItemFacts":
        """The facts of items."""
        offering = Counter(band for item in items for band in item.assets)
        return cls(len(items), offering, frozenset(item.attribution for item in items))


class ItemSnapshot:
    """The items of a run, kept as a table; those of a tile are read when they are asked for.

    They are in normal form, duplicates resolved, by time and id.

    Args:
        content: The bytes of the file in the run's folder.
        name: The file's name, for errors.
        conventions: Those of the items' catalogue.

    Raises:
        OutputError: The file is damaged, or holds no item at all.
        CatalogError: An item has no tile.
    """

    def __init__(self, content: bytes, name: str, conventions: Conventions = ANY) -> None:
        self.content, self._conventions = content, conventions
        try:
            self._table = pq.read_table(io.BytesIO(content))
            pa.default_memory_pool().release_unused()  # what decoding took
            self._rows = _rows_by_tile(self._table)
        except (pa.ArrowException, OSError, UnicodeDecodeError):  # of a damaged page, of a name
            raise _damaged(name) from None
        if not self._rows:
            raise _damaged(name)
        self._facts: dict[str, ItemFacts] = {}
        self.of_tile = lru_cache(_TILES)(self._of_tile)

    @property
    def published_count(self) -> int:
        """The number of items with their duplicates."""
        return len(self._table)

    def __eq__(self, other: object) -> bool:
        """Whether the items are the same, wherever they are from."""
        if not isinstance(other, ItemSnapshot):
            return NotImplemented
        same = self.content == other.content and self._conventions == other._conventions
        return same or (
            self.tiles == other.tiles
            and all(self.of_tile(tile) == other.of_tile(tile) for tile in self.tiles)
        )

    def __hash__(self) -> int:
        """A hash that equal snapshots share."""
        return hash(self.tiles)

    def __iter__(self) -> Iterator[Item]:
        """All items, tile by tile."""
        for tile in self.tiles:
            yield from self.of_tile(tile)

    @property
    def tiles(self) -> tuple[str, ...]:
        """The names of the tiles that have items, sorted."""
        return tuple(sorted(self._rows))

    def _of_tile(self, tile: str) -> tuple[Item, ...]:
        """The items of a tile; none where it has none. Raises CatalogError for malformed ones."""
        rows = self._rows.get(tile)
        if rows is None:
            return ()
        published = stac_items(self._table.take(pa.array(rows)))
        items = resolve_duplicates(normalise(item, self._conventions) for item in published)
        self._facts.setdefault(tile, ItemFacts.of(items))
        return tuple(items)

    @property
    def facts(self) -> ItemFacts:
        """The facts of all items; tiles that were read before are not read again."""
        for tile in self._rows.keys() - self._facts.keys():
            self._of_tile(tile)
        return sum(self._facts.values(), ItemFacts())


def _rows_by_tile(table: pa.Table) -> Mapping[str, list[int]]:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    columns = [name for name in _PLACE if name in table.schema.names]
    for number, fields in enumerate(table.select(columns).to_pylist()):
        tile = tile_of({"id": fields.get("id"), "properties": fields})
        rows[tile.name].append(number)
    return rows


class SnapshotBuilder:
    """Makes the snapshot of items that come in any order, one after the other.

    Args:
        description: The items' catalogue.
    """

    def __init__(self, description: CatalogDescription) -> None:
        self._description = description
        self._rows: list[_Row] = []

    def __len__(self) -> int:
        """The number of items so far."""
        return len(self._rows)

    def add(self, item: StacJson, time: datetime) -> None:
        """Add an item, given its sensing time; raises CatalogError as `make_snapshot`."""
        row = marshal.dumps(reduced_item(item, self._description))
        self._rows.append(((time, str(item["id"])), len(row), _CODEC.compress(row, asbytes=True)))

    def content(self) -> bytes:
        """The snapshot of all items, by time and id; the builder is empty then."""
        rows, self._rows = self._rows, []
        rows.sort(key=lambda row: row[0])
        rows.reverse()  # not sorted so: those of one time and id stay in order
        return write_stac_table(_unpacked(rows), _metadata(self._description))


def _unpacked(rows: list[_Row]) -> Iterator[dict[str, Any]]:
    """The items of rows, the last first; each row is let go."""
    while rows:
        _, size, packed = rows.pop()
        yield marshal.loads(_CODEC.decompress(packed, size))


def make_snapshot(items: Iterable[StacJson], description: CatalogDescription) -> bytes:
    """Published items as a stac-geoparquet file, with the description of their catalogue.

    The file holds the assets and fields that the pipeline reads: bands and SCL, with their grid,
    offset and acquisition. Hrefs that are signed when they are opened lose their signature.

    Raises:
        CatalogError: An item has no tile, or the address of a raster holds a password or a query:
            a secret, or something that expires while the run lasts.
    """
    reduced = (reduced_item(item, description) for item in items)
    return write_stac_table(reduced, _metadata(description))


def _metadata(description: CatalogDescription) -> dict[bytes, bytes]:
    about = description.model_dump_json(exclude={"url"}, exclude_unset=True).encode()
    return {TABLE_KEY: about, **origin_metadata(description)}


def read_snapshot(content: bytes, name: str, conventions: Conventions = ANY) -> list[Item]:
    """The items of a snapshot in normal form, duplicates resolved, sorted by time and id.

    Args:
        content: The file's bytes.
        name: The file's name, for errors.
        conventions: Those of the items' catalogue.

    Raises:
        OutputError: The file is damaged.
    """
    return resolve_duplicates(
        normalise(item, conventions) for item in read_snapshot_stac(content, name)
    )


def read_snapshot_stac(content: bytes, name: str) -> Iterator[dict[str, Any]]:
    """The items of a snapshot as STAC items, {} for a row that is none.

    Raises:
        OutputError: The file is damaged, or holds no item at all.
    """
    count = 0
    try:
        for items in read_stac_table(content):
            count += sum(map(bool, items))
            if items and not count:
                raise _damaged(name)
            yield from items
    except (pa.ArrowException, OSError, UnicodeDecodeError):  # of a damaged page, of a name
        raise _damaged(name) from None


def _damaged(name: str) -> OutputError:
    return OutputError(name, "the items are damaged", "Put the run's own file back")
