"""STAC items in the form of the public catalogues, for tests."""

from typing import Any

from shapely.geometry import mapping

from pipeline.grid.mgrs import parse_tile

EARTH_SEARCH = {
    "blue": 10, "green": 10, "red": 10, "nir": 10, "rededge1": 20, "rededge2": 20,
    "rededge3": 20, "nir08": 20, "swir16": 20, "swir22": 20, "scl": 20,
}  # fmt: skip


def earth_search_item(
    tile: str = "31UFS",
    date: str = "2021-06-01",
    *,
    sequence: int = 0,
    baseline: str = "03.00",
    applied: bool = False,
    datastrip: str = "103021",
    made: str = "T125000",
    base: str = "https://example.com/cogs",
    **properties: Any,
) -> dict[str, Any]:
    """Make an item like Earth Search v1, which states the offset even if it has been applied."""
    where = parse_tile(tile)
    left, top = where.grid_origin
    day = date.replace("-", "")
    name = f"S2A_{tile}_{day}_{sequence}_L2A"
    assets: dict[str, Any] = {}
    for key, metres in EARTH_SEARCH.items():
        side = 109_800 // metres
        assets[key] = {
            "href": f"{base}/{name}/{key}.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "gsd": metres,
            "proj:shape": [side, side],
            "proj:transform": [metres, 0, left, 0, -metres, top],
            "raster:bands": [
                {"nodata": 0, "data_type": "uint8"}
                if key == "scl"
                else {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}
            ],
            "file:size": 1000 * side,
        }
        assets[f"{key}-jp2"] = {"href": f"s3://bucket/{name}/{key}.jp2", "type": "image/jp2"}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": mapping(where.owned),
        "bbox": list(where.owned.bounds),
        "links": [
            {"rel": "self", "href": f"https://example.com/items/{name}"},
            {"rel": "collection", "href": "https://example.com/collection"},
        ],
        "properties": {
            "datetime": f"{date}T10:35:57.000000Z",
            "platform": "sentinel-2a",
            "proj:epsg": where.epsg,
            "grid:code": f"MGRS-{tile}",
            "eo:cloud_cover": 12.5,
            "s2:processing_baseline": baseline,
            "s2:generation_time": f"{date}{made}.000000Z",
            "s2:datatake_id": f"GS2A_{day}T103021_031041_N{baseline}",
            "s2:datastrip_id": f"S2A_OPER_MSI_L2A_DS_VGS2_{day}{made}_S{day}T{datastrip}"
            f"_N{baseline}",
            "earthsearch:boa_offset_applied": applied,
            **properties,
        },
        "assets": assets,
    }


def cdse_item(tile: str = "31UFS", date: str = "2023-06-01") -> dict[str, Any]:
    """Make an item like the Copernicus Data Space: JPEG 2000, STAC 1.1, several resolutions."""
    where = parse_tile(tile)
    left, top = where.grid_origin
    day = date.replace("-", "")
    name = f"S2B_MSIL2A_{day}T103629_N0509_R008_T{tile}_{day}T135000"
    assets = {}
    for band in ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "SCL"):
        for metres in (10, 20, 60):
            if metres == 10 and band not in ("B02", "B03", "B04", "B08"):
                continue
            side = 109_800 // metres
            assets[f"{band}_{metres}m"] = {
                "href": f"s3://eodata/{name}/{band}_{metres}m.jp2",
                "type": "image/jp2",
                "gsd": metres,
                "proj:code": f"EPSG:{where.epsg}",
                "proj:shape": [side, side],
                "proj:transform": [metres, 0, left, 0, -metres, top, 0, 0, 1],
                **({} if band == "SCL" else {"raster:scale": 0.0001, "raster:offset": -0.1}),
            }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": mapping(where.owned),
        "bbox": list(where.owned.bounds),
        "links": [],
        "properties": {
            "datetime": f"{date}T10:36:29.024Z",
            "platform": "sentinel-2b",
            "proj:code": f"EPSG:{where.epsg}",
            "grid:code": f"MGRS-{tile}",
            "eo:cloud_cover": 3.0,
            "processing:version": "05.09",
            "processing:datetime": f"{date}T13:50:00Z",
            "sat:relative_orbit": 8,
        },
        "assets": assets,
    }
