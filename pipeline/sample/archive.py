"""The writer of the sample archive: a static STAC catalogue of COGs, and the truth beside it."""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from pipeline.grid.mgrs import tile_at
from pipeline.sample.classes import sample_classes
from pipeline.sample.crop import Crop
from pipeline.sample.landscape import LandscapePixels, from_plane, make_landscape
from pipeline.sample.phenology import Parcels, draw_parcels, draw_season
from pipeline.sample.raster import write_raster
from pipeline.sample.scene import Scene, draw_conditions, make_scene
from pipeline.sample.stac import (
    BAND_ASSETS,
    SAMPLE_COLLECTION,
    AssetFile,
    Granule,
    make_catalog,
    make_collection,
    make_item,
)
from pipeline.sample.weather import Overpass, make_sky, overpasses

ARCHIVE_SEED = 20210
SIZE = 4000.0
_LARGEST = 30_000.0  # metres: farther out, other tiles would begin
_DUPLICATES = 2
_OLD, _NEW = "03.01", "05.00"


@dataclass(frozen=True)
class SampleArchive:
    """A sample archive on disk.

    `bbox` (west, south, east, north; degrees) is the area that its rasters cover wholly.
    """

    folder: Path
    year: int
    bbox: tuple[float, float, float, float]
    tiles: tuple[str, ...]
    items: tuple[str, ...]

    @property
    def catalog(self) -> Path:
        """The root catalogue's file."""
        return self.folder / "catalog.json"

    @property
    def truth(self) -> Path:
        """The folder of truth rasters, one per tile (uint8, class values 1 … 12)."""
        return self.folder / "truth"

    @property
    def region(self) -> str:
        """The area as a setting of a run, "west,south,east,north"."""
        return ",".join(f"{edge:.5f}" for edge in self.bbox)


def write_archive(
    folder: Path,
    *,
    year: int = 2021,
    seed: int = ARCHIVE_SEED,
    size: float = SIZE,
    per_month: int = 3,
    threads: int | None = None,
) -> SampleArchive:
    """Write the archive of a square area and a calendar year.

    An earlier archive in the folder is replaced; `catalog.json` is removed first and written last.
    The same arguments give the same archive, byte by byte, whatever `threads`.

    Args:
        folder: The archive's folder.
        year: The calendar year.
        seed: The seed of landscape, season and weather.
        size: The side of the area in metres, up to 30 km.
        per_month: Overpasses of each of the two orbits in a month, up to 6.
        threads: Threads that write; by default one per core.

    Raises:
        ValueError: The size is 0 or less, or above 30 km.
    """
    if not 0 < size <= _LARGEST:
        raise ValueError(f"an archive of {size} m: its side is above 0 and up to {_LARGEST:.0f} m")
    folder = Path(folder)
    (folder / "catalog.json").unlink(missing_ok=True)  # it is there once all else is
    for old in (SAMPLE_COLLECTION, "truth"):
        shutil.rmtree(folder / old, ignore_errors=True)
    (folder / "truth").mkdir(parents=True)
    bbox = _area(size)
    landscape = make_landscape(seed)
    season = draw_season(np.random.default_rng([seed, 5]))
    parcels = draw_parcels(landscape.land, np.random.default_rng([seed, 4]), season)
    west, south, east, north = bbox
    tiles = sorted({tile_at(lon, lat) for lon in (west, east) for lat in (south, north)})
    crops = [Crop.of(tile, bbox) for tile in tiles]
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        seen = list(pool.map(lambda crop: crop.pixels_of(landscape), crops))
        for crop, pixels in zip(crops, seen, strict=True):
            name = folder / "truth" / f"{crop.tile.name}.tif"
            write_raster(name, pixels.truth, crop.transform(10), crop.tile.epsg)
        passes = overpasses(year, per_month, seed)
        oddities = _Oddities.choose(passes, seed)

        def write(overpass: Overpass) -> list[tuple[str, str]]:
            return list(_write_overpass(folder, overpass, oddities, crops, seen, parcels, size))

        items = sorted(item for written in pool.map(write, passes) for item in written)
    legend = [
        {"value": entry.value, "name": entry.name, "code": entry.code, "colour": entry.colour}
        for entry in sample_classes()
    ]
    _write_json(folder / "truth" / "classes.json", legend)
    _write_json(folder / SAMPLE_COLLECTION / "collection.json", make_collection(year, bbox, items))
    _write_json(folder / "region.geojson", _region(bbox))
    unfinished = folder / "catalog.json.part"
    _write_json(unfinished, make_catalog())
    unfinished.replace(folder / "catalog.json")
    names = tuple(sorted(tile.name for tile in tiles))
    return SampleArchive(folder, year, bbox, names, tuple(name for name, _path in items))


@dataclass(frozen=True)
class _Oddities:
    """The moments of special overpasses: reprocessed, split and snowy ones."""

    baselines: dict[datetime, str]
    duplicated: frozenset[datetime]
    split: datetime | None
    snowy: datetime | None

    @classmethod
    def choose(cls, passes: list[Overpass], seed: int) -> "_Oddities":
        rng = np.random.default_rng([seed, 6])
        baselines = {p.moment: _NEW if rng.uniform() < 0.55 else _OLD for p in passes}
        fair = [p for p in passes if p.cloud_cover < 0.4 and baselines[p.moment] == _NEW]
        later = [p for p in fair if 4 <= p.moment.month <= 10] or fair
        picked = rng.permutation(len(later))[: _DUPLICATES + 1]
        chosen = [later[k].moment for k in picked]
        winter = [p.moment for p in passes if p.moment.month in (1, 2) and p.cloud_cover < 0.5]
        return cls(
            baselines,
            frozenset(chosen[1:]),
            chosen[0] if chosen else None,
            winter[len(winter) // 2] if winter else None,
        )


def _write_overpass(
    folder: Path,
    overpass: Overpass,
    oddities: _Oddities,
    crops: list[Crop],
    seen: list[LandscapePixels],
    parcels: Parcels,
    size: float,
) -> Iterator[tuple[str, str]]:
    """Write the granules of an overpass; gives (id, path of the item)."""
    moment = overpass.moment
    sky = make_sky(overpass, size * 0.56)
    conditions = draw_conditions(overpass, moment == oddities.snowy)
    baseline = oddities.baselines[moment]
    generated = moment + timedelta(days=500 if baseline == _NEW else 0, hours=4.7)
    for crop, pixels in zip(crops, seen, strict=True):
        scene = make_scene(pixels, parcels, overpass, sky, conditions)
        if not scene.scl.any():
            continue
        granule = Granule(overpass, crop.tile, 0, baseline, generated)
        if moment in oddities.duplicated:
            older = replace(granule, baseline=_OLD, generated=moment + timedelta(hours=4.7))
            yield from _write_granule(folder, older, crop, _hazier(scene), 0)
            granule = replace(granule, sequence=1)
        if moment == oddities.split:
            middle = len(scene.scl) // 2 * 2
            upper, lower = _rows(scene, 0, middle + 4), _rows(scene, middle, len(scene.ten[0]))
            yield from _write_granule(folder, granule, crop, upper, 0, middle + 4)
            later = generated + timedelta(minutes=3)
            second = replace(granule, sequence=1, generated=later, strip=1)
            yield from _write_granule(folder, second, crop, lower, middle)
            continue
        yield from _write_granule(folder, granule, crop, scene, 0)


def _write_granule(
    folder: Path, granule: Granule, crop: Crop, scene: Scene, first: int, last: int | None = None
) -> Iterator[tuple[str, str]]:
    """Write an item and its rasters, of rows `first` to `last` of 10 m."""
    if not scene.scl.any():
        return
    place = folder / SAMPLE_COLLECTION / granule.folder
    place.mkdir(parents=True)
    names, rasters = list(BAND_ASSETS), {}
    for k, array in enumerate((*scene.ten, *scene.twenty, scene.scl)):
        name = names[k] if k < len(names) else "scl"
        resolution = 10 if k < len(scene.ten) else 20
        stored = array if name == "scl" else array + (array > 0) * np.uint16(granule.offset)
        file = f"{BAND_ASSETS[name][0] if name != 'scl' else 'SCL'}.tif"
        length = write_raster(place / file, stored, crop.transform(resolution), crop.tile.epsg)
        rasters[name] = AssetFile(file, crop.transform(resolution), array.shape, length)
    bottom = crop.bottom if last is None else crop.top - last * 10
    footprint = crop.footprint(granule.overpass, crop.top - first * 10, bottom)
    _write_json(place / f"{granule.id}.json", make_item(granule, footprint, rasters, scene.scl))
    yield granule.id, f"{granule.folder}/{granule.id}.json"


def _hazier(scene: Scene) -> Scene:
    """The same acquisition by an older processor: brighter by an eighth and by 0.02."""

    def brighter(array: np.ndarray) -> np.ndarray:
        return np.where(array > 0, array + array // 64 * 8 + 200, 0).astype(np.uint16)

    return replace(scene, ten=brighter(scene.ten), twenty=brighter(scene.twenty))


def _rows(scene: Scene, first: int, last: int) -> Scene:
    """The scene with nodata outside rows `first` to `last` of 10 m (even numbers)."""

    def cut(array: np.ndarray, start: int, stop: int) -> np.ndarray:
        rows = np.arange(array.shape[-2])[:, None]
        return np.where((rows >= start) & (rows < stop), array, 0).astype(array.dtype)

    coarse = (first // 2, last // 2)
    return Scene(cut(scene.ten, first, last), cut(scene.twenty, *coarse), cut(scene.scl, *coarse))


def _area(size: float) -> tuple[float, float, float, float]:
    """A square around the centre: west, south, east, north (degrees, 5 decimals)."""
    outward = from_plane()
    (west, east), _ = outward.transform([-size / 2, size / 2], [0, 0])
    _, (south, north) = outward.transform([0, 0], [-size / 2, size / 2])
    return (round(west, 5), round(south, 5), round(east, 5), round(north, 5))


def _region(bbox: tuple[float, float, float, float]) -> dict[str, Any]:
    feature = {
        "type": "Feature",
        "properties": {"name": "sample area"},
        "geometry": shapely.geometry.mapping(shapely.box(*bbox)),
    }
    return {"type": "FeatureCollection", "features": [feature]}


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
