"""Items of a catalogue: a malformed one is left out alone, and what is read can be read again."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry import mapping, shape

from pipeline.catalog.description import CatalogDescription
from pipeline.catalog.item import Item
from pipeline.catalog.item_snapshot import make_snapshot, read_snapshot
from pipeline.catalog.search import NothingFound, search
from pipeline.errors import CatalogError
from pipeline.grid.cells import cells_of
from pipeline.grid.mgrs import parse_tile
from pipeline.grid.region import read_region
from pipeline.mapping.source_reading import TileReader
from pipeline.observations.cube import is_opened, observations, reaching, substituted
from pipeline.settings.map import make_search_settings
from tests.catalog_servers import published_in
from tests.fuzz.mutate import changed_bytes, changed_document, to_json
from tests.fuzz.target import Files, Target, Wrong
from tests.stac_items import cdse_item, earth_search_item

_FILE = "items.json"
_REGION = "5.30,49.75,5.31,49.76"
_TILE = "31UFR"
_ASSETS = {"blue", "blue-jp2", "nir08", "swir16", "scl", "B02_10m", "B11_20m", "SCL_20m"}
_BANDS = ("B02", "B8A", "B11")
_TABLE = "as-a-table-too"  # a mark: items are written as a run's table, and read again
_SECRET = "holds a password"  # one such address ends the search: access is to be described
_TABLES = 16  # inputs of which one has the mark: tables take most of the time


class Items(Target):
    """Saved items, of which the first is sound, as a catalogue that is searched."""

    name = "items"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._published = json.loads((seeds / _FILE).read_bytes())
        self._region = read_region(_REGION)
        self._cell = cells_of(parse_tile(_TILE), self._region)[0]

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        earlier = earth_search_item(_TILE, "2021-03-03", baseline="02.14", sequence=3)
        older = earlier["properties"] | {"mgrs:utm_zone": 31, "mgrs:latitude_band": "U"}
        older |= {"mgrs:grid_square": "FR", "created": "2021-03-04T00:00:00Z"}
        items = [
            earth_search_item(_TILE, "2021-06-01"),
            earth_search_item(_TILE, "2021-07-02", baseline="05.00", applied=True),
            cdse_item(_TILE, "2021-08-03"),
            earlier | {"properties": {k: v for k, v in older.items() if k != "grid:code"}},
        ]
        (folder / _FILE).write_bytes(json.dumps([_small(item) for item in items]).encode())

    def make(self, draw: random.Random) -> Files:
        table = {_TABLE: b""} if draw.randrange(_TABLES) == 0 else {}
        return self._saved(draw) | table

    def _saved(self, draw: random.Random) -> dict[str, bytes]:
        sound, *others = self._published
        if draw.random() < 0.1:
            collection = {"type": "FeatureCollection", "features": [sound]}
            return {_FILE: changed_bytes(json.dumps(collection).encode(), draw)}
        changed: list[Any] = [
            changed_document(draw.choice(others), draw, others, most=3)
            for _ in range(draw.choice((1, 1, 2)))
        ]
        return {_FILE: to_json({"type": "FeatureCollection", "features": [sound, *changed]})}

    def read(self, files: Files) -> None:
        folder = self.write(files)
        settings = make_search_settings(
            {"region": _REGION, "year": 2021, "catalog": {"url": str(folder / _FILE)}}
        )
        description = CatalogDescription(url=str(folder / _FILE))
        try:
            found = search(self._region, settings, description)
        except (NothingFound, CatalogError) as error:
            if _SECRET not in str(error) and _sound_is_first(files[_FILE], self._published[0]):
                raise Wrong("the sound item beside malformed ones is not found") from None
            raise
        for error in found.refused:
            str(error).encode()
        self._observe([*found.items])
        if _TABLE in files:
            kept = read_snapshot(make_snapshot(published_in(found), description), "items.parquet")
            if list(map(_comparable, kept)) != list(map(_comparable, found.items)):
                raise Wrong("the kept items are not those that were found")

    def restored(self, files: Files) -> Files:
        return {**files, _TABLE: b""}

    def _observe(self, items: list[Item]) -> None:
        """What a run does with items before it reads a raster."""
        near = substituted(reaching(items, self._cell), {"B05": "B04"})
        reader = TileReader([self._cell], _BANDS)
        for item in near:
            reader.add(item, np.ones(1, bool), reader.clear_share(item), 0)
            is_opened(item, "B02", self._cell.bounds, self._cell.epsg)
        observations(near, _BANDS, self._cell.bounds, self._cell.epsg, 10.0)


def _comparable(item: Item) -> tuple[Item, tuple[float, ...]]:
    """An item and its bounds; corners of what was made valid are kept to 0.1 mm only."""
    bounds = () if item.footprint is None else item.footprint.bounds
    return replace(item, footprint=None), tuple(round(edge, 6) for edge in bounds)


def _small(item: dict[str, Any]) -> dict[str, Any]:
    """The item with fewer rasters, and a footprint of few corners: each is one place to change."""
    assets = {key: asset for key, asset in item["assets"].items() if key in _ASSETS}
    footprint = mapping(shape(item["geometry"]).simplify(0.01))
    return item | {"assets": assets, "geometry": json.loads(json.dumps(footprint))}


def _sound_is_first(content: bytes, sound: dict[str, Any]) -> bool:
    try:
        document = json.loads(content)
        return bool(document["type"] == "FeatureCollection" and document["features"][0] == sound)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
