"""Regions: what a user writes, and vector files."""

import json
import random
import zlib
from pathlib import Path

import geopandas
import shapely

from pipeline.grid.cells import cells_of, tiles_of
from pipeline.grid.region import outline, read_region
from tests.fuzz.mutate import TEXTS, changed_bytes, changed_document, to_json
from tests.fuzz.target import Files, Target, Wrong

_TEXT = "region.txt"
_TEXTS = (
    *("5.1,49.6,5.2,49.7", "-10,-20,10,20.5", "179.9,-17,-179.9,-16.9", "31UFS,T31UFR", "6VVN"),
    *("-1e3,2,3,4", "nan,1,2,3", "5.1,49.6,5.2,84", "region.geojson#layer", "~/a.gpkg", "{}"),
)
_FORMATS = ("region.geojson", "region.gpkg", "region.parquet", "utm.gpkg", "layers.gpkg#two")
_MOST_VERTICES = 500
_CUT = 10  # regions of which one is cut into cells, which takes most of the time


class Regions(Target):
    """A text, or a file of polygons, read and cut into tiles and cells."""

    name = "regions"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._files = {name: (seeds / name.partition("#")[0]).read_bytes() for name in _FORMATS}
        self._features = json.loads(self._files["region.geojson"])

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        hole = shapely.box(5.1, 49.6, 5.4, 49.8) - shapely.box(5.2, 49.65, 5.3, 49.7)
        island = shapely.box(5.45, 49.6, 5.5, 49.65)
        polygons = [hole, shapely.MultiPolygon([island, shapely.box(6.0, 49.6, 6.1, 49.7)])]
        frame = geopandas.GeoDataFrame({"name": ["a", "b"]}, geometry=polygons, crs=4326)
        frame.to_file(folder / "region.geojson")
        frame.to_file(folder / "region.gpkg")
        frame.to_parquet(folder / "region.parquet")
        frame.to_crs(32631).to_file(folder / "utm.gpkg")
        frame.to_file(folder / "layers.gpkg", layer="one")
        frame.to_crs(3035).to_file(folder / "layers.gpkg", layer="two")

    def make(self, draw: random.Random) -> Files:
        kind = draw.randrange(10)
        if kind < 3:
            text = changed_document([draw.choice(_TEXTS)], draw, [list(TEXTS)])
            spec = str(text[0]) if isinstance(text, list) and text else str(text)
            return {_TEXT: spec.encode("utf-8", "surrogatepass")}
        if kind < 8:
            features = changed_document(self._features, draw, most=3)
            return {"region.geojson": to_json(features)}
        name = draw.choice(_FORMATS)
        within = 2000 if draw.random() < 0.5 else None
        return {name.partition("#")[0]: changed_bytes(self._files[name], draw, within=within)}

    def read(self, files: Files) -> None:
        folder = self.write(files)
        (name, content), = files.items()  # fmt: skip
        if name == _TEXT:
            spec = content.decode("utf-8", "surrogatepass")
            if "/" in spec or spec.startswith("~"):
                spec = spec.replace("/", "").lstrip("~")  # no files of this machine
        else:
            spec = str(folder / name) + ("#two" if name == "layers.gpkg" else "")
        region = read_region(spec)
        if not region.geometry.is_valid or region.geometry.is_empty:
            raise Wrong("a region that is invalid or empty")
        outline(region.geometry, _MOST_VERTICES)
        west, south, east, north = region.geometry.bounds
        small = (east - west) * (north - south) < 4  # others take minutes, as they should
        if small and zlib.crc32(content) % _CUT == 0:
            for tile in tiles_of(region)[:2]:
                cells_of(tile, region.within(west, south, west + 0.01, south + 0.01))
