"""The agreement of a map with the known truth of the sample archive."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import from_bounds

from models.vocabulary.vocabulary import Vocabulary
from pipeline.evaluation.classification import Classification, classification


def agreement_with_truth(run: Path, archive: Path, vocabulary: Vocabulary) -> Classification:
    """Compare every class raster in a run's folder with the truth rasters of a sample archive.

    Both lie on the tiles' own grids, so that pixels are compared without resampling. Pixels
    without a class on the map don't count.
    """
    values = np.array([entry.value for entry in vocabulary.classes])
    position = np.full(max(values) + 1, -1)
    position[values] = np.arange(len(values))
    known, mapped = [], []
    for path in sorted(run.glob("cells/*/*/class.tif")):
        with (
            rasterio.open(path) as raster,
            rasterio.open(archive / "truth" / f"{path.parts[-3]}.tif") as truth,
        ):
            window = from_bounds(*raster.bounds, transform=truth.transform)
            right = truth.read(1, window=window, boundless=True, fill_value=0)
            compared = (right > 0) & (raster.dataset_mask() > 0)
            known.append(position[right[compared]])
            mapped.append(position[raster.read(1)[compared]])
    names = [entry.name for entry in vocabulary.classes]
    return classification(np.concatenate(known), np.concatenate(mapped)[:, None], names)
