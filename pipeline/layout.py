"""Where everything lies in a run's folder: the keys, in one place."""

RUN = "run.json"
COLLECTION = "collection.json"
CLASS_MOSAIC = "class.vrt"
CONFIDENCE_MOSAIC = "confidence.vrt"
CLASS_STYLE = "class.qml"
CONFIDENCE_STYLE = "confidence.qml"
PREVIEW = "preview.png"
REPORT = "report.html"
ITEMS = "items.parquet"
TEXT = "text.safetensors"
VOCABULARY = "vocabulary.json"
PLAN_FOLDER = "plan/"
PLANNED = (ITEMS, TEXT, VOCABULARY, PLAN_FOLDER)
"""What planning writes, before `run.json`, which makes it a run."""
CELLS = "cells"
FAILURES = "failures"
MOSAIC_PARTS = "mosaic"

CLASS = "class.tif"
CONFIDENCE = "confidence.tif"
COUNTS = "clear_observations.tif"
RANKED = "ranked.tif"
RANKED_CONFIDENCE = "ranked_confidence.tif"
ITEM = "item.json"


def cell_key(tile: str, cell: str, name: str) -> str:
    """The key of a cell's file: `cells/31UFS/31UFS-02-03/class.tif`."""
    return f"{CELLS}/{tile}/{cell}/{name}"


def embeddings_name(row: int, column: int) -> str:
    """The name of a block's embeddings in its cell's folder: `embeddings-0256-0000.tif`."""
    return f"embeddings-{row:04}-{column:04}.tif"


def failure_key(cell: str) -> str:
    """The key of what is known of a cell that failed."""
    return f"{FAILURES}/{cell}.json"


def mosaic_part_key(raster: str, part: str) -> str:
    """The key of a part of a mosaic of several zones: `mosaic/class-epsg32631.vrt`."""
    return f"{MOSAIC_PARTS}/{raster}-{part}.vrt"
