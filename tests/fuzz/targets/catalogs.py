"""Catalogues: their descriptions in TOML, static catalogues of linked files, tables of items."""

import json
import random
from pathlib import Path

from pipeline.catalog.description import CatalogDescription, describe_catalog, shipped_catalogs
from pipeline.catalog.item_snapshot import make_snapshot
from pipeline.catalog.search import open_catalog
from pipeline.grid.region import read_region
from tests.fuzz.mutate import changed_bytes, changed_document, to_json, to_toml
from tests.fuzz.target import Files, Target
from tests.stac_items import earth_search_item

_DESCRIPTION = "catalog.toml"
_TABLE = "items.parquet"
_TREE = ("catalog.json", "collection.json", "item.json")
_ROOT = Path(__file__).parents[3]


class Catalogs(Target):
    """A description, a tree of files, or a table; opened and listed."""

    name = "catalogues"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._region = read_region("5.30,49.75,5.31,49.76")
        self._tree = {name: json.loads((seeds / name).read_bytes()) for name in _TREE}
        self._table = (seeds / _TABLE).read_bytes()
        self._descriptions = json.loads((seeds / "descriptions.json").read_bytes())
        self._texts = [path.read_bytes() for path in sorted(seeds.glob("*.toml"))]

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        item = earth_search_item("31UFR")
        item |= {"geometry": None, "bbox": [5.0, 49.5, 6.0, 50.0]}
        child, up = {"rel": "child", "href": "./collection.json"}, {"rel": "root", "href": "."}
        tree = {
            "catalog.json": {"type": "Catalog", "id": "c", "links": [child, up]},
            "collection.json": {
                "type": "Collection", "id": "sentinel-2-l2a",
                "links": [{"rel": "item", "href": "./item.json"},
                          {"rel": "root", "href": "./catalog.json"}],
            },
            "item.json": item,
        }  # fmt: skip
        for name, document in tree.items():
            (folder / name).write_text(json.dumps({"stac_version": "1.0.0", **document}))
        (folder / _TABLE).write_bytes(make_snapshot([item], CatalogDescription(url="a")))
        described = [describe_catalog(name).model_dump(mode="json") for name in shipped_catalogs()]
        described += [one | {"url": "./catalog.json"} for one in described]
        (folder / "descriptions.json").write_text(json.dumps(described))
        for name in shipped_catalogs():
            text = (_ROOT / "pipeline" / "catalogs" / f"{name}.toml").read_bytes()
            (folder / f"{name}.toml").write_bytes(text)

    def make(self, draw: random.Random) -> Files:
        kind = draw.randrange(10)
        if kind < 3:
            raw = changed_document(draw.choice(self._descriptions), draw, self._descriptions)
            return {_DESCRIPTION: to_toml(raw if isinstance(raw, dict) else {"url": raw})}
        if kind < 4:
            return {_DESCRIPTION: changed_bytes(draw.choice(self._texts), draw, self._texts)}
        if kind < 5:
            return {_TABLE: changed_bytes(self._table, draw)}
        others = list(self._tree.values())
        changed = draw.choice(_TREE)
        files = {name: to_json(document) for name, document in self._tree.items()}
        if kind < 9:
            files[changed] = to_json(changed_document(self._tree[changed], draw, others))
        else:
            files[changed] = changed_bytes(files[changed], draw)
        return files

    def read(self, files: Files) -> None:
        folder = self.write(files)
        name = next(name for name in (_DESCRIPTION, _TABLE, _TREE[0]) if name in files)
        described = describe_catalog(str(folder / name))
        described.model_dump_json()
        described.access.access()
        if name != _DESCRIPTION:
            list(open_catalog(described).items(self._region, None))
