"""The STAC files of the sample archive, in the form of Earth Search v1."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.grid.mgrs import Tile
from pipeline.layout import SAMPLE_CATALOG
from pipeline.sample.weather import SUN_AZIMUTH, Overpass, sun_elevation

SAMPLE_COLLECTION = "sentinel-2-l2a"
_STAC_VERSION = "1.0.0"
ATTRIBUTION = "Contains made-up data of timesen's sample archive"
_EXTENSIONS = (
    "eo/v1.1.0", "file/v2.1.0", "grid/v1.1.0", "mgrs/v1.0.0", "processing/v1.1.0",
    "projection/v2.0.0", "raster/v1.1.0", "view/v1.0.0",
)  # fmt: skip
_SCHEMA = "https://stac-extensions.github.io/{}/schema.json"
_UP = "../" * 6  # from an item's folder to the collection's
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"

# fmt: off
BAND_ASSETS: dict[str, tuple[str, str, float]] = {
    # asset: band of Sentinel-2, Earth Search's title, centre of the band in µm
    "blue": ("B02", "Blue (band 2) - 10m", 0.49), "green": ("B03", "Green (band 3) - 10m", 0.56),
    "red": ("B04", "Red (band 4) - 10m", 0.665), "nir": ("B08", "NIR 1 (band 8) - 10m", 0.842),
    "rededge1": ("B05", "Red edge 1 (band 5) - 20m", 0.704),
    "rededge2": ("B06", "Red edge 2 (band 6) - 20m", 0.74),
    "rededge3": ("B07", "Red edge 3 (band 7) - 20m", 0.783),
    "nir08": ("B8A", "NIR 2 (band 8A) - 20m", 0.865),
    "swir16": ("B11", "SWIR 1 (band 11) - 20m", 1.61),
    "swir22": ("B12", "SWIR 2 (band 12) - 20m", 2.19),
}
"""Asset names: first the four of 10 m, then the six of 20 m, in the bands' order."""

_SCENE_SHARES = {
    "s2:saturated_defective_pixel_percentage": 1, "s2:dark_features_percentage": 2,
    "s2:cloud_shadow_percentage": 3, "s2:vegetation_percentage": 4,
    "s2:not_vegetated_percentage": 5, "s2:water_percentage": 6, "s2:unclassified_percentage": 7,
    "s2:medium_proba_clouds_percentage": 8, "s2:high_proba_clouds_percentage": 9,
    "s2:thin_cirrus_percentage": 10, "s2:snow_ice_percentage": 11,
}
# fmt: on


@dataclass(frozen=True)
class Granule:
    """The identity of one item: an overpass, a tile, and its processing.

    Attributes:
        sequence: Counts the products of one tile, satellite and day, as in Earth Search.
        baseline: The processing baseline, such as "05.00".
        strip: The datastrip's place in the datatake; it differs between the halves of a split
            granule.
    """

    overpass: Overpass
    tile: Tile
    sequence: int
    baseline: str
    generated: datetime
    strip: int = 0

    @property
    def offset(self) -> int:
        """The offset of digital numbers: 1000 from baseline 04.00 on, else 0."""
        return 1000 if self.baseline >= "04.00" else 0

    @property
    def id(self) -> str:
        """Earth Search's identifier, such as S2A_31UGR_20210613_0_L2A."""
        day = self.overpass.moment.strftime("%Y%m%d")
        return f"S2{self.overpass.platform}_{self.tile.name}_{day}_{self.sequence}_L2A"

    @property
    def folder(self) -> str:
        """The folder of the item's files in Earth Search: zone/band/square/year/month/id."""
        moment = self.overpass.moment
        return f"{'/'.join(_parts(self.tile))}/{moment.year}/{moment.month}/{self.id}"


@dataclass(frozen=True)
class AssetFile:
    """The facts of one of an item's files."""

    file: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    size: int


def make_item(
    granule: Granule, footprint: BaseGeometry, rasters: Mapping[str, AssetFile], scl: np.ndarray
) -> dict[str, Any]:
    """The STAC item of a granule; `rasters` by asset name, `footprint` in EPSG:4326."""
    overpass, tile = granule.overpass, granule.tile
    sensed, made = _stamp(overpass.moment), _stamp(granule.generated)
    strip = _stamp(overpass.moment + timedelta(seconds=4 + 17 * granule.strip))
    satellite, orbit = f"S2{overpass.platform}", f"R{overpass.orbit.number:03d}"
    baseline, number = granule.baseline, granule.baseline.replace(".", "")
    zone, band, square = _parts(tile)
    counts = np.bincount(scl.ravel(), minlength=12)
    share = 100 / max(1, counts[1:].sum())
    properties = {
        "created": _iso(granule.generated),
        "updated": _iso(granule.generated),
        "datetime": _iso(overpass.moment),
        "platform": f"sentinel-2{overpass.platform.lower()}",
        "attribution": ATTRIBUTION,
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": round(float(counts[8:11].sum() * share), 6),
        "proj:code": f"EPSG:{tile.epsg}",
        "proj:centroid": {
            "lat": round(footprint.centroid.y, 5),
            "lon": round(footprint.centroid.x, 5),
        },
        "grid:code": f"MGRS-{tile.name}",
        "mgrs:utm_zone": int(zone),
        "mgrs:latitude_band": band,
        "mgrs:grid_square": square,
        "view:sun_azimuth": SUN_AZIMUTH,
        "view:sun_elevation": round(sun_elevation(overpass.day), 6),
        "sat:relative_orbit": overpass.orbit.number,
        "sat:orbit_state": "descending",
        "s2:sequence": str(granule.sequence),
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": baseline,
        "s2:product_uri": f"{satellite}_MSIL2A_{sensed}_N{number}_{orbit}_T{tile.name}_{made}.SAFE",
        "s2:generation_time": _iso(granule.generated),
        "s2:datatake_id": f"G{satellite}_{sensed}_{overpass.absolute_orbit:06d}_N{baseline}",
        "s2:datatake_type": "INS-NOBS",
        "s2:datastrip_id": f"{satellite}_OPER_MSI_L2A_DS_S2RP_{made}_S{strip}_N{baseline}",
        "s2:nodata_pixel_percentage": round(float(100 * counts[0] / scl.size), 6),
        **{name: round(float(counts[k] * share), 6) for name, k in _SCENE_SHARES.items()},
        "earthsearch:boa_offset_applied": False,
        "processing:software": {"timesen-sample": "1"},
    }
    return {
        "type": "Feature",
        "stac_version": _STAC_VERSION,
        "stac_extensions": [_SCHEMA.format(extension) for extension in _EXTENSIONS],
        "id": granule.id,
        "collection": SAMPLE_COLLECTION,
        "geometry": shapely.geometry.mapping(footprint),
        "bbox": [round(float(edge), 7) for edge in footprint.bounds],
        "properties": properties,
        "links": [
            {"rel": "root", "href": f"{_UP}../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": f"{_UP}collection.json", "type": "application/json"},
            {"rel": "collection", "href": f"{_UP}collection.json", "type": "application/json"},
        ],
        "assets": {name: _asset(name, raster, granule) for name, raster in rasters.items()},
    }


def make_collection(
    year: int, bbox: tuple[float, float, float, float], items: list[tuple[str, str]]
) -> dict[str, Any]:
    """The collection; `items` are (id, path below the collection's folder) of its items."""
    return {
        "type": "Collection",
        "stac_version": _STAC_VERSION,
        "stac_extensions": [],
        "id": SAMPLE_COLLECTION,
        "title": "Sentinel-2 Level-2A (sample)",
        "description": "A made landscape as Sentinel-2 Level-2A would show it; no measurements.",
        "license": "Apache-2.0",
        "extent": {
            "spatial": {"bbox": [list(bbox)]},
            "temporal": {"interval": [[f"{year}-01-01T00:00:00Z", f"{year}-12-31T23:59:59Z"]]},
        },
        "links": [
            {"rel": "root", "href": "../catalog.json", "type": "application/json"},
            {"rel": "parent", "href": "../catalog.json", "type": "application/json"},
            *(
                {"rel": "item", "href": f"./{path}", "type": "application/geo+json", "title": name}
                for name, path in items
            ),
        ],
    }


def make_catalog() -> dict[str, Any]:
    """The root catalogue."""
    return {
        "type": "Catalog",
        "stac_version": _STAC_VERSION,
        "id": SAMPLE_CATALOG,
        "description": "The sample archive of timesen: a static catalogue of one collection.",
        "links": [
            {"rel": "root", "href": "./catalog.json", "type": "application/json"},
            {
                "rel": "child",
                "href": f"./{SAMPLE_COLLECTION}/collection.json",
                "type": "application/json",
            },
        ],
    }


def _asset(name: str, raster: AssetFile, granule: Granule) -> dict[str, Any]:
    resolution = int(raster.transform[0])
    asset: dict[str, Any] = {
        "href": f"./{raster.file}",
        "type": _COG,
        "title": "Scene classification map (SCL)",
        "roles": ["data", "reflectance"],
        "gsd": resolution,
        "proj:shape": list(raster.shape),
        "proj:transform": list(raster.transform),
        "file:size": raster.size,
    }
    stored: dict[str, Any] = {"nodata": 0, "data_type": "uint8", "spatial_resolution": resolution}
    if name == "scl":
        asset["roles"] = ["data"]
    else:
        band, asset["title"], centre = BAND_ASSETS[name]
        asset["eo:bands"] = [{"name": band, "common_name": name, "center_wavelength": centre}]
        stored |= {
            "data_type": "uint16",
            "bits_per_sample": 15,
            "scale": 0.0001,
            "offset": -granule.offset / 10000,
        }
    asset["raster:bands"] = [stored]
    return asset


def _parts(tile: Tile) -> tuple[str, str, str]:
    return tile.name[:2], tile.name[2], tile.name[3:]


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y%m%dT%H%M%S")


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
