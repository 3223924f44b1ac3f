"""The STAC items and the collection that describe a run's product."""

import hashlib
import re
from calendar import month_name
from collections.abc import Mapping, Sequence
from typing import Any

from models.vocabulary.vocabulary import Vocabulary
from pipeline.grid.cells import PIXEL, Cell
from pipeline.grid.footprint import footprint, joint_bbox
from pipeline.layout import CLASS, CONFIDENCE, COUNTS
from pipeline.product.cell_report import PREFIX, CellReport
from pipeline.product.manifest import RunManifest

STAC_VERSION = "1.1.0"
EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/{number}/schema.json"
    for name, number in {
        "projection": "v2.0.0",
        "raster": "v1.1.0",
        "classification": "v2.0.0",
        "processing": "v1.1.0",
        "file": "v2.1.0",
    }.items()
}
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_COPERNICUS = {
    "name": "European Union, Copernicus Sentinel-2",
    "roles": ["licensor", "producer"],
    "url": "https://sentinels.copernicus.eu",
}
_TERMS = {
    "rel": "license",
    "href": "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
    "title": "Terms of the Sentinel data",
}


def cell_item(
    run: RunManifest,
    cell: Cell,
    vocabulary: Vocabulary,
    report: CellReport,
    class_bytes: bytes,
    confidence_bytes: bytes,
    counts_bytes: bytes,
    counts_scale: float,
    kept: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The STAC item (1.1.0) of a finished cell, with its rasters as assets beside it.

    The fingerprint it carries as `timesen:fingerprint` makes it the cell's commit.
    """
    start, end = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in run.period)
    geometry, bbox = footprint(cell.bounds, cell.epsg)
    substitutes = {f"{PREFIX}substitute": dict(run.substitutes)} if run.substitutes else {}
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS.values()),
        "id": cell.id,
        "collection": collection_id(run),
        "geometry": geometry,
        "bbox": bbox,
        "properties": {
            "title": f"{vocabulary.title}, {run.years}, cell {cell.id}",
            "datetime": None,
            "start_datetime": start,
            "end_datetime": end,
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "proj:code": f"EPSG:{cell.epsg}",
            "proj:shape": list(cell.shape),
            "proj:transform": list(cell.transform)[:6],
            "proj:bbox": [float(edge) for edge in cell.bounds],
            "processing:software": dict(run.versions),
            "processing:lineage": lineage(run, vocabulary),
            f"{PREFIX}fingerprint": run.fingerprint,
            f"{PREFIX}tile": cell.tile.name,
            f"{PREFIX}attribution": run.attribution,
            **substitutes,
            **report.to_properties(),
        },
        "assets": {
            "class": {
                "href": f"./{CLASS}",
                **_class_asset(vocabulary, report),
                **file_fields(class_bytes),
            },
            "confidence": {
                "href": f"./{CONFIDENCE}",
                **_confidence_asset(),
                **file_fields(confidence_bytes),
            },
            "clear-observations": {
                "href": f"./{COUNTS}",
                **_counts_asset(cell, counts_scale),
                **file_fields(counts_bytes),
            },
            **{str(asset["href"])[2:].removesuffix(".tif"): dict(asset) for asset in kept},
        },
        "links": [
            {"rel": name, "href": "../../../collection.json", "type": "application/json"}
            for name in ("root", "parent", "collection")
        ],
    }


def collection(
    run: RunManifest, items: Sequence[Mapping[str, Any]], vocabulary: Vocabulary
) -> dict[str, Any]:
    """The STAC collection (1.1.0) of the run's finished cells, given their items."""
    start, end = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in run.period)
    codes = sorted({str(item["properties"]["proj:code"]) for item in items})
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS.values()),
        "id": collection_id(run),
        "title": f"{vocabulary.title}, {run.years}",
        "description": f"{lineage(run, vocabulary)} {run.attribution}.",
        "keywords": ["Sentinel-2", "land cover", "zero-shot", vocabulary.name],
        "license": "other",
        "providers": [
            *([_COPERNICUS] if run.of_sentinel else []),
            {
                "name": "The user of timesen who ran this",
                "roles": ["processor", "host"],
                "processing:software": dict(run.versions),
                "processing:lineage": lineage(run, vocabulary),
            },
        ],
        "extent": {
            "spatial": {"bbox": [joint_bbox([item["bbox"] for item in items])]},
            "temporal": {"interval": [[start, end]]},
        },
        "summaries": {
            "proj:code": codes,
            "gsd": [10],
            "processing:software": [dict(run.versions)],
            "classification:classes": stac_classes(vocabulary),
            f"{PREFIX}fingerprint": [run.fingerprint],
        },
        "item_assets": {
            "class": _class_asset(vocabulary, None),
            "confidence": _confidence_asset(),
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *([_TERMS] if run.of_sentinel else []),
            *(
                {
                    "rel": "item",
                    "href": f"./cells/{item['properties'][f'{PREFIX}tile']}/{item['id']}/item.json",
                    "type": "application/geo+json",
                    "title": str(item["id"]),
                }
                for item in items
            ),
        ],
    }


def collection_id(run: RunManifest) -> str:
    """A name for the run's collection: year and the fingerprint's beginning."""
    return f"timesen-{run.settings['year']}-{run.fingerprint[:12]}"


def lineage(run: RunManifest, vocabulary: Vocabulary) -> str:
    """How the map was made, in words."""
    start, end = run.period
    stands = "".join(
        f" Where {band} is absent from the source, {other} stands for it."
        for band, other in run.substitutes.items()
    )
    reading = run.settings.get("reading") or {}
    composite = str(reading.get("composite", "median")).replace("-", " ")
    return (
        f"Monthly {composite}s of clear Sentinel-2 L2A observations from {start:%Y-%m-%d} to "
        f"{end:%Y-%m-%d}, embedded a pixel at a time by a TimeSenCLIP encoder (checkpoint "
        f"{run.settings.get('checkpoint', 'unknown')}); each pixel has the class of the nearest "
        f"text embedding among the {len(vocabulary.classes)} of “{vocabulary.title}”.{stands}"
    )


def _class_asset(vocabulary: Vocabulary, report: CellReport | None) -> dict[str, Any]:
    band = {"name": "class", "data_type": vocabulary.dtype.name, "nodata": 0}
    return {
        "title": "Class",
        "type": COG,
        "roles": ["data"],
        "bands": [{**band, "description": vocabulary.title}],
        "raster:bands": [_raster_band(vocabulary.dtype.name, 0)],
        "classification:classes": stac_classes(vocabulary, report),
    }


def _confidence_asset() -> dict[str, Any]:
    band = {"name": "confidence", "data_type": "uint8", "nodata": 255, "unit": "%"}
    return {
        "title": "Confidence",
        "description": "Softmax over the classes of the scaled cosine, of the class given",
        "type": COG,
        "roles": ["data"],
        "bands": [band],
        "raster:bands": [{**_raster_band("uint8", 255), "unit": "%"}],
    }


def _counts_asset(cell: Cell, scale: float) -> dict[str, Any]:
    step, (rows, columns) = scale * PIXEL, cell.shape
    left, _, _, top = cell.bounds
    names = [name.lower() for name in month_name[1:]]
    band = {"data_type": "uint8", "spatial_resolution": step, "sampling": "area"}
    return {
        "title": "Clear observations",
        "description": "Clear acquisitions that were read of each pixel, by month",
        "type": COG,
        "roles": ["metadata"],
        "gsd": step,
        "proj:shape": [round(rows / scale), round(columns / scale)],
        "proj:transform": [step, 0.0, left, 0.0, -step, top],
        "bands": [{"name": name, "data_type": "uint8"} for name in names],
        "raster:bands": [band] * len(names),
    }


def _raster_band(dtype: str, nodata: int) -> dict[str, Any]:
    return {"data_type": dtype, "nodata": nodata, "spatial_resolution": 10, "sampling": "area"}


def stac_classes(vocabulary: Vocabulary, report: CellReport | None = None) -> list[dict[str, Any]]:
    """The classes as STAC's classification extension has them; with a cell's counts, if given."""
    total = sum(report.pixels.values()) if report else 0
    classes: list[dict[str, Any]] = [
        {"value": 0, "name": "nodata", "title": "No data", "nodata": True}
    ]
    names = {"nodata"}
    for entry in vocabulary.legend:
        name = re.sub(r"[^0-9A-Za-z_]+", "-", entry.name).strip("-") or "class"
        # "winter wheat" and "winter-wheat" would both be winter-wheat.
        name = f"{name}-{entry.value}" if name in {*names, "class"} else name
        names.add(name)
        described = {
            "value": entry.value,
            "name": name,
            "title": entry.name,
            "color_hint": entry.colour.lstrip("#").upper(),
        }
        if entry.code:
            described["description"] = f"code {entry.code}"
        if report:
            count = report.pixels.get(entry.value, 0)
            described |= {"count": count, "percentage": round(100 * count / max(total, 1), 4)}
        classes.append(described)
    return classes


def raster_tags(run: RunManifest, cell: Cell) -> dict[str, str]:
    """What every raster of a cell says of itself in its header."""
    return {
        "TIFFTAG_SOFTWARE": f"timesen {run.versions['timesen']}",
        "TIFFTAG_COPYRIGHT": run.attribution.replace("–", "-"),  # TIFF has ASCII only
        "TIMESEN_FINGERPRINT": run.fingerprint,
        "TIMESEN_CELL": cell.id,
        "TIMESEN_PERIOD": "/".join(moment.strftime("%Y-%m-%d") for moment in run.period),
    }


def file_fields(content: bytes) -> dict[str, Any]:
    """What STAC's file extension says of an asset."""
    # A multihash (extension "file"): 0x12 is SHA-256, 0x20 its 32 bytes.
    return {
        "file:size": len(content),
        "file:checksum": f"1220{hashlib.sha256(content).hexdigest()}",
    }
