"""The STAC items and the collection that describe a run's product."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.vocabulary.vocabulary import Vocabulary
from pipeline.grid.cells import PIXEL, Cell
from pipeline.grid.footprint import footprint, joint_bbox
from pipeline.layout import PREVIEW
from pipeline.product.cell_report import PREFIX, CellReport
from pipeline.product.example_report import ExampleReport
from pipeline.product.layers import OutputLayer, cell_layers, layer_of_asset
from pipeline.product.manifest import RunManifest
from pipeline.product.model_item import model_links
from pipeline.product.stac_classes import stac_classes
from pipeline.product.stac_renders import RENDER_EXTENSION, stac_renders

PRODUCT_STAC_VERSION = "1.1.0"
EXTENSIONS = {
    name: f"https://stac-extensions.github.io/{name}/{number}/schema.json"
    for name, number in {
        "projection": "v1.2.0",  # the only one with both proj:code and proj:epsg (stackstac's)
        "raster": "v1.1.0",
        "classification": "v2.0.0",
        "processing": "v1.1.0",
        "file": "v2.1.0",
    }.items()
}
_COPERNICUS = {
    "name": "European Union, Copernicus Sentinel-2",
    "roles": ["licensor", "producer"],
    "url": "https://sentinels.copernicus.eu",
}
_THUMBNAIL = {
    "title": "Preview",
    "href": f"./{PREVIEW}",
    "type": "image/png",
    "roles": ["thumbnail"],
}
_TERMS = {
    "rel": "license",
    "href": "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice",
    "title": "Terms of the Sentinel data",
}


@dataclass(frozen=True)
class RasterFile:
    """The bytes of a cell's raster, and the size of its pixels in pixels of the cell."""

    content: bytes
    scale: float


def cell_item(
    run: RunManifest,
    cell: Cell,
    vocabulary: Vocabulary,
    report: CellReport,
    files: Mapping[str, RasterFile],
    embeddings: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Describe a finished cell as a STAC item (1.1.0), with its rasters as assets beside it.

    The item makes the cell finished: it carries the run's fingerprint as `timesen:fingerprint`.

    Args:
        run: The run that mapped the cell.
        cell: The cell.
        vocabulary: Its classes.
        report: Its numbers.
        files: Its COGs, by the name of their layer.
        embeddings: The assets of its files of embeddings.
    """
    start, end = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in run.period)
    geometry, bbox = footprint(cell.bounds, cell.epsg)
    substitutes = {f"{PREFIX}substitute": dict(run.substitutes)} if run.substitutes else {}
    absent = {f"{PREFIX}absent_bands": list(run.absent_bands)} if run.absent_bands else {}
    return {
        "type": "Feature",
        "stac_version": PRODUCT_STAC_VERSION,
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
            "proj:epsg": cell.epsg,
            "proj:shape": list(cell.shape),
            "proj:transform": list(cell.transform)[:6],
            "proj:bbox": [float(edge) for edge in cell.bounds],
            "processing:software": dict(run.versions),
            "processing:lineage": lineage(run, vocabulary),
            f"{PREFIX}fingerprint": run.fingerprint,
            f"{PREFIX}tile": cell.tile.name,
            f"{PREFIX}attribution": run.attribution,
            **substitutes,
            **absent,
            **report.to_properties(),
        },
        "assets": {
            **{
                layer.name: {
                    "href": f"./{layer.file}",
                    **layer_asset(layer, run, vocabulary, report),
                    **_grid_fields(cell, files[layer.name].scale),
                    **file_fields(files[layer.name].content),
                }
                for layer in cell_layers(run)
                if layer.name in files
            },
            **{str(asset["href"])[2:].removesuffix(".tif"): dict(asset) for asset in embeddings},
        },
        "links": [
            *(
                {"rel": name, "href": "../../../collection.json", "type": "application/json"}
                for name in ("root", "parent", "collection")
            ),
            *model_links(run, "../../../"),
        ],
    }


def collection(
    run: RunManifest,
    items: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    examples: ExampleReport | None = None,
) -> dict[str, Any]:
    """The STAC collection (1.1.0) over the items of the run's finished cells.

    `examples` is the report on the run's labelled examples, if it has any.
    """
    start, end = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in run.period)
    codes = sorted({str(item["properties"]["proj:code"]) for item in items})
    written = [layer.name for layer in cell_layers(run) if not layer.optional]
    asset_keys = dict.fromkeys([*written, *(key for item in items for key in item["assets"])])
    return {
        "type": "Collection",
        "stac_version": PRODUCT_STAC_VERSION,
        "stac_extensions": [*EXTENSIONS.values(), RENDER_EXTENSION],
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
            **({f"{PREFIX}examples": [asdict(examples)]} if examples else {}),
        },
        "item_assets": {
            key: layer_asset(layer_of_asset(key), run, vocabulary) for key in asset_keys
        },
        "renders": stac_renders(run, vocabulary, asset_keys),
        "assets": {"thumbnail": _THUMBNAIL},
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *model_links(run, "./"),
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
    """The id of the run's collection: year and the first digits of the fingerprint."""
    return f"timesen-{run.settings['year']}-{run.fingerprint[:12]}"


def lineage(run: RunManifest, vocabulary: Vocabulary) -> str:
    """A sentence on how the map was made."""
    made = run.derived.get("sentence")
    if run.derived_kind == "change":
        return str(made)
    start, end = run.period
    stands = "".join(
        f" Where {band} is absent from the source, {other} stands for it."
        for band, other in run.substitutes.items()
    )
    if bands := run.absent_bands:
        stands += f" Where {' and '.join(bands)} {'are' if bands[1:] else 'is'} absent from the "
        stands += "source, the encoder does without."
    used = str(run.parts.get("examples", "")).split(" ")[0]
    examples = f" {used} labelled points adjusted the words, where they helped." if used else ""
    return (
        f"{_composites(run)} of clear Sentinel-2 L2A observations from {start:%Y-%m-%d} to "
        f"{end:%Y-%m-%d}, embedded pixel by pixel by a TimeSenCLIP encoder (checkpoint "
        f"{run.settings.get('checkpoint', 'unknown')}); each pixel has the class of the nearest "
        f"text embedding among those of the {len(vocabulary.classes)} classes of "
        f"“{vocabulary.title}”.{examples}{stands}{f' {made}' if made else ''}"
    )


def _composites(run: RunManifest) -> str:
    """The composites that are embedded, such as "Seasonal medians of monthly medians"."""
    reading = run.settings.get("reading") or {}
    monthly = f"onthly {str(reading.get('composite', 'median')).replace('-', ' ')}s"
    steps = int(run.settings.get("steps", 12))
    if steps == 12:
        return f"M{monthly}"
    longer = {4: "Seasonal", 1: "Annual"}.get(steps, f"{12 // steps}-month")
    return f"{longer} medians of m{monthly}"


def layer_asset(
    layer: OutputLayer, run: RunManifest, vocabulary: Vocabulary, report: CellReport | None = None
) -> dict[str, Any]:
    """Describe a layer as STAC does, in a cell's item or in the collection's `item_assets`.

    Args:
        layer: The raster.
        run: Its settings say which bands the raster has.
        vocabulary: Its classes.
        report: The cell's numbers, for the counts of its classes.
    """
    numbers: dict[str, Any] = {"data_type": layer.dtype_for(vocabulary).name}
    if layer.nodata is not None:
        numbers["nodata"] = layer.nodata
    if layer.unit:
        numbers["unit"] = layer.unit
    asset: dict[str, Any] = {
        "title": layer.title_in(run),
        "description": layer.description_in(run),
        "type": layer.media_type,
        "roles": list(layer.roles),
    }
    bands = layer.bands(run)
    if not bands:
        return asset | numbers
    asset["bands"] = [{"name": band.lower(), **numbers} for band in bands]
    resolution = {"spatial_resolution": PIXEL} if layer.per_pixel else {}
    asset["raster:bands"] = [{**numbers, **resolution, "sampling": "area"}] * len(bands)
    if layer.style == "classes" and len(bands) == 1:
        asset["classification:classes"] = stac_classes(vocabulary, report)
    return asset


def _grid_fields(cell: Cell, scale: float) -> dict[str, Any]:
    """The grid of a raster whose pixels are larger than the cell's."""
    if scale == 1:
        return {}
    step, (rows, columns) = scale * PIXEL, cell.shape
    left, _, _, top = cell.bounds
    return {
        "gsd": step,
        "proj:shape": [math.ceil(rows / scale), math.ceil(columns / scale)],
        "proj:transform": [step, 0.0, left, 0.0, -step, top],
    }


def raster_tags(run: RunManifest, cell: Cell) -> dict[str, str]:
    """The tags in the header of every raster of a cell."""
    return {
        "TIFFTAG_SOFTWARE": f"timesen {run.versions['timesen']}",
        "TIFFTAG_COPYRIGHT": run.attribution.replace("–", "-"),  # TIFF has ASCII only
        "TIMESEN_FINGERPRINT": run.fingerprint,
        "TIMESEN_CELL": cell.id,
        "TIMESEN_PERIOD": "/".join(moment.strftime("%Y-%m-%d") for moment in run.period),
    }


def file_fields(content: bytes) -> dict[str, Any]:
    """The fields of STAC's file extension for an asset."""
    # A multihash (extension "file"): 0x12 is SHA-256, 0x20 its 32 bytes.
    return {
        "file:size": len(content),
        "file:checksum": f"1220{hashlib.sha256(content).hexdigest()}",
    }
