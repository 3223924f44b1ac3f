"""The keys of the files in a run's folder; names of rasters are in `pipeline.product.layers`."""

RUN = "run.json"
COLLECTION_FILE = "collection.json"
PREVIEW = "preview.png"
REPORT = "report.html"
QGIS_PROJECT = "map.qgz"
ITEMS_FILE = "items.parquet"
TEXT_FILE = "text.safetensors"
OTHER_LAND_FILE = "other_land.safetensors"
VOCABULARY_FILE = "vocabulary.json"
EXAMPLES_FILE = "examples.safetensors"
EXAMPLES_REPORT = "examples.json"
PLAN_FOLDER = "plan/"
PLANNED_CELLS = f"{PLAN_FOLDER}cells.geojson"
MODEL_FILE = "model.json"
TRANSITIONS_FILE, SANKEY_FILE = "transitions.csv", "sankey.svg"
OWNERS = "owners"
PLANNED = (
    ITEMS_FILE, TEXT_FILE, OTHER_LAND_FILE, VOCABULARY_FILE, PLAN_FOLDER, f"{OWNERS}/",
)  # fmt: skip
"""Keys that planning writes before `run.json`, which makes the folder a run."""
CELLS = "cells"
FAILURES = "failures"
MOSAIC_PARTS = "mosaic"
ITEM = "item.json"
SAMPLE_CATALOG = "timesen-sample"
"""The id of the sample archive's root catalogue, the one that demonstration checkpoints are for."""


def cell_key(tile: str, cell: str, name: str) -> str:
    """The key of a cell's file: `cells/31UFS/31UFS-02-03/class.tif`."""
    return f"{CELLS}/{tile}/{cell}/{name}"


def embeddings_name(row: int, column: int) -> str:
    """The name of a block's embeddings in its cell's folder: `embeddings-0256-0000.tif`."""
    return f"embeddings-{row:04}-{column:04}.tif"


def owner_key(number: int) -> str:
    """The key of a process's claim on the folder: `owners/000003.json`."""
    return f"{OWNERS}/{number:06}.json"


def claims_folder(run_fingerprint: str) -> str:
    """The folder of the claims on a run's cells, and of the record of its publication."""
    return f"{OWNERS}/run-{run_fingerprint[:12]}"


def failure_key(cell: str) -> str:
    """The key of the record of a cell that failed."""
    return f"{FAILURES}/{cell}.json"


def mosaic_part_key(raster: str, part: str) -> str:
    """The key of a part of a mosaic of several zones: `mosaic/class-epsg32631.vrt`."""
    return f"{MOSAIC_PARTS}/{raster}-{part}.vrt"
