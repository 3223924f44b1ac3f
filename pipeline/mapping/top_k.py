"""What a pixel is next to its class: the classes in order, how sure each is, and the margin."""

from typing import Any

import numpy as np

from pipeline.grid.cells import Cell
from pipeline.layout import RANKED, RANKED_CONFIDENCE, cell_key
from pipeline.mapping.prepare import Run
from pipeline.product.cog_writer import write_cog
from pipeline.product.ledger import NODATA_CLASS, NODATA_CONFIDENCE
from pipeline.product.stac import COG, file_fields, raster_tags


def write_ranked(
    run: Run, cell: Cell, classes: np.ndarray, confidence: np.ndarray
) -> list[dict[str, Any]]:
    """Write a cell's classes in order, if more than the first is asked for; gives their assets.

    `classes` uint8/uint16 and `confidence` uint8 are (k, y, x), best first. `ranked.tif` has a band
    a rank; `ranked_confidence.tif` too, and as its last band the margin: by how many percent the
    first is ahead of the second, 255 = nodata.
    """
    ranks = len(classes)
    if ranks == 1:
        return []
    seen = confidence[0] != NODATA_CONFIDENCE
    second = np.where(confidence[1] == NODATA_CONFIDENCE, 0, confidence[1])
    # The first may be behind the second: it is the nearest class, or that class's parent.
    margin = np.maximum(confidence[0].astype(np.int16) - second, 0)
    margin = np.where(seen, margin, NODATA_CONFIDENCE).astype(np.uint8)
    numbered = [f"rank {rank}" for rank in range(1, ranks + 1)]
    rasters = {
        RANKED: (classes, NODATA_CLASS, numbered, "Classes in order"),
        RANKED_CONFIDENCE: (
            np.concatenate((confidence, margin[None])),
            NODATA_CONFIDENCE,
            [*numbered, "margin"],
            "Confidence of the classes in order, and the margin, in percent",
        ),
    }
    assets = []
    for name, (bands, nodata, descriptions, title) in rasters.items():
        content = write_cog(
            run.store,
            cell_key(cell.tile.name, cell.id, name),
            bands,
            cell.transform,
            cell.epsg,
            nodata,
            description=descriptions,
            overview="mode" if name == RANKED else "average",
            tags=raster_tags(run.manifest, cell),
        )
        assets.append(
            {
                "href": f"./{name}",
                "title": title,
                "type": COG,
                "roles": ["data"],
                "data_type": bands.dtype.name,
                "nodata": nodata,
                "bands": [{"name": description} for description in descriptions],
                **file_fields(content),
            }
        )
    return assets
