"""Points of a user: reference points and labelled examples, in tables and vector files."""

import random
from pathlib import Path

import geopandas
import pandas as pd

from pipeline.point_series.point_file import read_reference
from pipeline.point_series.points import PointColumns, read_points
from tests.fuzz.mutate import TEXTS, changed_bytes
from tests.fuzz.target import Files, Target, Wrong

_FORMATS = ("points.csv", "points.geojson", "points.gpkg", "points.parquet", "table.parquet")
_COLUMNS = PointColumns(labels=("cover",))


class Points(Target):
    """A file of points, read with labels, and as points of a table of series."""

    name = "points"

    def __init__(self, seeds: Path, scratch: Path) -> None:
        super().__init__(seeds, scratch)
        self._files = {name: (seeds / name).read_bytes() for name in _FORMATS}

    @classmethod
    def make_seeds(cls, folder: Path) -> None:
        table = pd.DataFrame(
            {
                "id": ["a", "b", "c"],
                "lon": [5.1, 5.2, 5.3],
                "lat": [49.6, 49.7, 49.8],
                "year": [2021, 2021, 2022],
                "cover": ["forest", "water", None],
            }
        )
        table.to_csv(folder / "points.csv", index=False)
        table.to_parquet(folder / "table.parquet")
        places = geopandas.points_from_xy(table.lon, table.lat, crs=4326)
        frame = geopandas.GeoDataFrame(table.drop(columns=["lon", "lat"]), geometry=places)
        frame.to_file(folder / "points.geojson")
        frame.to_file(folder / "points.gpkg")
        frame.to_parquet(folder / "points.parquet")

    def make(self, draw: random.Random) -> Files:
        name = draw.choice((*_FORMATS, "points.csv", "points.geojson", "points.geojson"))
        content = self._files[name]
        if name == "points.csv" and draw.random() < 0.6:
            cells = [line.split(b",") for line in content.splitlines()]
            row = draw.randrange(len(cells))
            text = draw.choice(TEXTS).encode("utf-8", "replace")
            cells[row][draw.randrange(len(cells[row]))] = text
            content = b"\n".join(b",".join(line) for line in cells)
            return {name: content}
        within = 2000 if draw.random() < 0.5 else None
        return {name: changed_bytes(content, draw, within=within)}

    def read(self, files: Files) -> None:
        folder = self.write(files)
        path = folder / next(iter(files))
        points = read_reference(path, "cover")
        if not len(points.lon) == len(points.lat) == len(points):
            raise Wrong("points without a label each")
        read_points(path, _COLUMNS)
