"""A real square kilometre of Belgium as a static archive with one acquisition per month.

The patch and WorldCereal's map of it are test resources of WorldCereal/worldcereal-classification:
`real/belgium_2021_patch.nc` and `real/belgium_2021_worldcereal_cropland.nc`.
"""

import json
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from pyproj import Transformer

from pipeline.errors import DatasetError

TILE = "31UFS"
EPSG = 32631
ASSETS = {
    "B02": "blue",
    "B03": "green",
    "B04": "red",
    "B05": "rededge1",
    "B06": "rededge2",
    "B07": "rededge3",
    "B08": "nir",
    "B11": "swir16",
    "B12": "swir22",
}  # the patch has no B8A
NO_OBSERVATION = 65535
BBOX = "5.3188,50.6285,5.3335,50.6379"
"""A box around the patch: west, south, east, north in degrees."""


def read_patch(data: Path) -> xr.Dataset:
    """Read the patch: uint16 (t, y, x) per band, reflectance × 10000, 65535 = no observation."""
    return _read(data / "real" / "belgium_2021_patch.nc")


def read_cropland(data: Path) -> xr.DataArray:
    """Read WorldCereal's layer of the patch: bool (y, x), True for cropland.

    Its class value is 0 for cropland and 1 for the rest, which its two probabilities (whole
    percent, equal for a few pixels) confirm.

    Raises:
        ValueError: Classes and probabilities contradict each other.
    """
    layers = _read(data / "real" / "belgium_2021_worldcereal_cropland.nc")
    (variable,) = layers.data_vars
    layer = {str(name): layers[variable].sel(bands=name, drop=True) for name in layers.bands.values}
    cropland = layer["classification"] == 0
    likelier = layer["probability_cropland"] > layer["probability_other"]
    undecided = layer["probability_cropland"] == layer["probability_other"]
    if not (undecided | (likelier == cropland)).all():
        raise ValueError("the layer's classes do not go with its probabilities")
    return cropland


def _read(path: Path) -> xr.Dataset:
    try:
        return xr.load_dataset(path)
    except (OSError, ValueError) as error:
        raise DatasetError(
            str(path),
            f"it cannot be read as NetCDF ({error})",
            "Give the folder that holds real/belgium_2021_patch.nc, WorldCereal's test resource",
        ) from error


def patch_transform(patch: xr.Dataset) -> Affine:
    """The grid of the patch in EPSG:32631."""
    return Affine(10, 0, float(patch.x[0]) - 5, 0, -10, float(patch.y[0]) + 5)


def patch_bbox(patch: xr.Dataset) -> tuple[float, float, float, float]:
    """West, south, east and north (degrees) of a box that contains every pixel of the patch."""
    transform = patch_transform(patch)
    rows, columns = patch.sizes["y"], patch.sizes["x"]
    left, top = transform.c, transform.f
    right, bottom = left + 10 * columns, top - 10 * rows
    xs, ys = [left, left, right, right], [top, bottom, top, bottom]
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(xs, ys)
    return min(lon), min(lat), max(lon), max(lat)


def write_belgian_archive(data: Path, folder: Path) -> Path:
    """Write COGs and STAC items like those of a public catalogue; return the archive's folder."""
    patch = read_patch(data)
    items = [_write_item(patch, index, folder) for index in range(patch.sizes["t"])]
    west, south, east, north = patch_bbox(patch)
    collection = {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": "sentinel-2-l2a",
        "description": "Monthly composites of one km² in Belgium, each as one acquisition",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [[west, south, east, north]]},
            "temporal": {"interval": [["2020-11-01T00:00:00Z", "2021-10-31T23:59:59Z"]]},
        },
        "links": [{"rel": "item", "href": f"./{name}/item.json"} for name in items],
    }
    (folder / "collection.json").write_text(json.dumps(collection))
    catalog = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "belgian-patch",
        "description": "One real square kilometre",
        "links": [{"rel": "child", "href": "./collection.json"}],
    }
    (folder / "catalog.json").write_text(json.dumps(catalog))
    return folder


def _write_item(patch: xr.Dataset, index: int, folder: Path) -> str:
    """Write the COGs and the item of a month; give the item's id."""
    transform, shape = patch_transform(patch), (patch.sizes["y"], patch.sizes["x"])
    west, south, east, north = patch_bbox(patch)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    day = np.datetime64(patch.t.values[index], "D") + 14
    item_id = f"S2A_{TILE}_{str(day).replace('-', '')}_0_L2A"
    layers = {band: patch[f"S2-L2A-{band}"].values[index] for band in ASSETS}
    seen = np.logical_and.reduce([layer != NO_OBSERVATION for layer in layers.values()])
    rasters = {ASSETS[band]: np.where(seen, layer, 0) for band, layer in layers.items()}
    rasters["scl"] = np.where(seen, 4, 0).astype(np.uint8)
    assets = {}
    (folder / item_id).mkdir(parents=True, exist_ok=True)
    for name, raster in rasters.items():
        with rasterio.open(
            folder / item_id / f"{name}.tif",
            "w",
            driver="COG",
            height=shape[0],
            width=shape[1],
            count=1,
            dtype=raster.dtype,
            crs=EPSG,
            transform=transform,
            nodata=0,
        ) as file:
            file.write(raster, 1)
        assets[name] = {
            "href": f"./{name}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
            "proj:shape": list(shape),
            "proj:transform": list(transform)[:6],
        }
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": "sentinel-2-l2a",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {
            "datetime": f"{day}T10:46:00Z",
            "platform": "sentinel-2a",
            "constellation": "sentinel-2",
            "proj:code": f"EPSG:{EPSG}",
            "grid:code": f"MGRS-{TILE}",
            "eo:cloud_cover": round(100 * float((~seen).mean()), 2),
            "s2:processing_baseline": "03.01",
            "s2:generation_time": f"{day}T18:00:00Z",
            "sat:relative_orbit": 51,
        },
        "assets": assets,
        "links": [{"rel": "collection", "href": "../collection.json"}],
    }
    (folder / item_id / "item.json").write_text(json.dumps(item))
    return item_id
