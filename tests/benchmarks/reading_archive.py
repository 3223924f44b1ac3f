"""The archive of the reading benchmarks on its server: more dates, thicker clouds, more land."""

import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.grid.cells import PIXEL, Cell
from pipeline.grid.footprint import footprint
from pipeline.grid.mgrs import parse_tile
from pipeline.sample.raster import write_raster
from tests.benchmarks import archive

Stac = list[dict[str, Any]]

# Earth Search's asset names, in the order of Sentinel-2's bands; then the scene classification.
BAND_ASSETS = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08",
               "swir16", "swir22")  # fmt: skip
ALL_ASSETS = (*BAND_ASSETS, "scl")
OFFSET = 1000
"""The offset of the archive's stored numbers (DN), by its baseline."""

SIDE = 3
"""Blocks of the wide archive each way."""

_WIDE_DATES = 2 * archive.A_MONTH
_COPIES = 3  # of every date, on the days after it: 20 dates a month
_CLEAR_DATES = (0, 2, 3, 5, 6, 8, 9, 11)  # months of the cloudy year that have a clear date


@dataclass(frozen=True)
class Archives:
    """Folders below `root`, which a server shows.

    `year` has 60 dates, `copies` those again on the three days after each, `cloudy` the same 60
    dates with a scene classification that is 85 to 100 % cloud but for eight dates. `wide` has two
    months of SIDE × SIDE such blocks side by side, each a granule of its own.
    """

    root: Path
    made: archive.BenchArchive

    @property
    def year(self) -> Path:
        return self.made.folder

    @property
    def copies(self) -> Path:
        return self.root / "copies"

    @property
    def cloudy(self) -> Path:
        return self.root / "cloudy"

    @property
    def wide(self) -> Path:
        return self.root / "wide"

    def items(self, folder: Path, address: str) -> Stac:
        """The items below a folder, by date, their hrefs below a server's address."""
        files = folder.rglob("S2*_L2A.json")
        items = [_at(file, f"{address}/{file.parent.relative_to(self.root)}") for file in files]
        return sorted(items, key=lambda item: str(item["properties"]["datetime"]))


def write_archives(root: Path) -> Archives:
    """Write the archives; rasters that are the same are hard links."""
    archives = Archives(root, archive.write_archive(root / "year"))
    files = sorted(archives.year.rglob("S2*_L2A.json"))
    for file in files:
        for days in range(1, _COPIES + 1):
            _copy(file, archives.copies, days)
    for number, file in enumerate(files):
        copied = _copy(file, archives.cloudy, 0)
        (copied / "SCL.tif").unlink()
        scl = archive.scene_classes(np.random.default_rng([7, number]), _cover(number))
        place = next(iter(json.loads(file.read_text())["assets"].values()))["proj:transform"]
        transform = (2 * PIXEL, 0.0, place[2], 0.0, -2 * PIXEL, place[5])
        write_raster(copied / "SCL.tif", scl, transform, parse_tile(archive.TILE).epsg)
    first_dates = sorted(files, key=lambda file: file.stem.split("_")[2])[:_WIDE_DATES]
    for place in range(SIDE**2):
        _write_block(archives.wide / f"{place}", first_dates, place)
    return archives


def cell_of(size: int) -> Cell:
    """The upper left `size` pixels of the block that the archive covers."""
    first = archive.BLOCK * archive.SIZE
    at = first // size
    return Cell(parse_tile(archive.TILE), at, at, first, first, size, size)


def edited(item: dict[str, Any], href: Callable[[str], str]) -> dict[str, Any]:
    """The item with its hrefs changed."""
    assets = {name: asset | {"href": href(asset["href"])} for name, asset in item["assets"].items()}
    return item | {"assets": assets}


def _at(file: Path, address: str) -> dict[str, Any]:
    item: dict[str, Any] = json.loads(file.read_text())
    return edited(item, lambda href: f"{address}/{href.removeprefix('./')}")


def _copy(file: Path, folder: Path, days: int) -> Path:
    """An item as of some days later, its rasters linked; gives its folder."""
    text = file.read_text()
    moment = json.loads(text)["properties"]["datetime"]
    year, month, day = moment[:4], moment[5:7], moment[8:10]
    later = f"{int(day) + days:02d}"
    name = file.stem.replace(f"{year}{month}{day}", f"{year}{month}{later}")
    place = folder / name
    place.mkdir(parents=True)
    for text_of in ("{}{}{}", "{}-{}-{}"):
        text = text.replace(text_of.format(year, month, day), text_of.format(year, month, later))
    (place / f"{name}.json").write_text(text)
    for raster in file.parent.glob("*.tif"):
        os.link(raster, place / raster.name)
    return place


def _write_block(folder: Path, files: list[Path], place: int) -> None:
    """Write the dates once more, as of another block: other georeferencing, the same pixels."""
    row, column = divmod(place, SIDE)
    east, south = (n * archive.SIZE * PIXEL for n in (column, row))
    moved: dict[int, Path] = {}  # by the number of the file that others are links to
    for file in files:
        item: dict[str, Any] = json.loads(file.read_text())
        item["id"] = name = file.stem.replace("_0_L2A", f"_{place}_L2A")
        left, top = (item["assets"]["blue"]["proj:transform"][k] for k in (2, 5))
        side = archive.SIZE * PIXEL
        bounds = (left + east, top - south - side, left + east + side, top - south)
        item["geometry"], item["bbox"] = footprint(bounds, parse_tile(archive.TILE).epsg)
        for asset in item["assets"].values():
            asset["proj:transform"][2] += east
            asset["proj:transform"][5] -= south
        (folder / name).mkdir(parents=True)
        (folder / name / f"{name}.json").write_text(json.dumps(item))
        for raster in file.parent.glob("*.tif"):
            target = folder / name / raster.name
            if (number := raster.stat().st_ino) in moved:
                os.link(moved[number], target)
                continue
            origin = struct.pack("<dd", left, top)
            content = raster.read_bytes()
            if content.count(origin) != 1:
                raise RuntimeError(f"{raster} does not have its origin in one place")
            target.write_bytes(content.replace(origin, struct.pack("<dd", bounds[0], bounds[3])))
            moved[number] = target


def _cover(number: int) -> float:
    """The share of clouds on a date of the cloudy year."""
    month, date = divmod(number, archive.A_MONTH)
    if month in _CLEAR_DATES and date == month % archive.A_MONTH:
        return 0.2
    # Beyond 1 the whole block is cloud, but for a pixel.
    return min(float(np.random.default_rng([8, number]).uniform(0.85, 1.05)), 1.0)


def rasters_of(items: Stac) -> Iterator[tuple[str, str]]:
    """(asset's name, href) of all bands and scene classifications of the items."""
    for item in items:
        for name in ALL_ASSETS:
            yield name, item["assets"][name]["href"]
