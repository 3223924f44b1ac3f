"""How far a map of the sample archive agrees with the archive's known truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import from_bounds

from models.vocabulary.vocabulary import Vocabulary


@dataclass(frozen=True)
class Agreement:
    """A confusion matrix of pixels: truth in rows, map in columns, classes as in `vocabulary`.

    `unmapped` counts the pixels of known truth that the map leaves without a class.
    """

    vocabulary: Vocabulary
    confusion: np.ndarray
    unmapped: int

    @property
    def overall(self) -> float:
        """The share of mapped pixels whose class is the truth's."""
        return float(np.trace(self.confusion) / max(1, self.confusion.sum()))

    def by_class(self) -> list[tuple[str, int, float, float]]:
        """Each class: name, pixels of truth, share found (recall), share right (precision)."""
        hits = np.diag(self.confusion)
        truth, mapped = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        found = hits / np.maximum(truth, 1)
        right = hits / np.maximum(mapped, 1)
        return [
            (entry.name, int(truth[i]), float(found[i]), float(right[i]))
            for i, entry in enumerate(self.vocabulary.classes)
        ]


def agreement(run: Path, archive: Path, vocabulary: Vocabulary) -> Agreement:
    """Compare every class raster of a run's folder with the truth rasters of a sample archive.

    Both lie on the tiles' own grids, so that pixels are compared without resampling.
    """
    values = np.array([entry.value for entry in vocabulary.classes])
    position = np.full(max(values) + 1, -1)
    position[values] = np.arange(len(values))
    confusion = np.zeros((len(values), len(values)), np.int64)
    unmapped = 0
    for path in sorted(run.glob("cells/*/*/class.tif")):
        tile = path.parts[-3]
        with (
            rasterio.open(path) as mapped,
            rasterio.open(archive / "truth" / f"{tile}.tif") as truth,
        ):
            window = from_bounds(*mapped.bounds, transform=truth.transform)
            known = truth.read(1, window=window, boundless=True, fill_value=0)
            found = mapped.read(1)
            inside = mapped.dataset_mask() > 0
        seen = (known > 0) & inside
        unmapped += int(((known > 0) & ~inside).sum())
        np.add.at(confusion, (position[known[seen]], position[found[seen]]), 1)
    return Agreement(vocabulary, confusion, unmapped)
