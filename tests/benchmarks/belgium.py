"""The mapping flow over a real square kilometre, and its agreement with WorldCereal.

`python -m tests.benchmarks.belgium [--checkpoint NAME] [--out FILE]` writes a Markdown table.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import from_bounds

from flows.cli.map import run_map
from models.encoder.checkpoint import load_checkpoint
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.real_land.belgium import (
    patch_bbox,
    patch_transform,
    read_cropland,
    read_patch,
    write_belgian_archive,
)
from pipeline.settings.map import make_settings

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RESULT = Path(__file__).resolve().parent / "results" / "belgium.md"


def map_patch(shared: Path, folder: Path, checkpoint: str) -> np.ndarray:
    """Whether each pixel of the patch is mapped as cropland: int8 (y, x), −1 = nodata."""
    patch = read_patch(shared)
    settings = make_settings(
        {
            "region": ",".join(str(degrees) for degrees in patch_bbox(patch)),
            "year": 2020,
            "first_month": 11,
            "vocabulary": "cropland",
            "checkpoint": checkpoint,
            "catalog": {"url": str(write_belgian_archive(shared, folder / "archive"))},
            "out": str(folder / "map"),
        }
    )
    if run_map(settings):
        raise SystemExit(1)
    return patch_classes(shared, folder / "map")


def patch_classes(shared: Path, run: Path) -> np.ndarray:
    """As `map_patch`, of the run in a folder."""
    patch = read_patch(shared)
    transform = patch_transform(patch)
    rows, columns = patch.sizes["y"], patch.sizes["x"]
    right, bottom = transform.c + 10 * columns, transform.f - 10 * rows
    with rasterio.open(run / "class.vrt") as raster:
        window = from_bounds(transform.c, bottom, right, transform.f, transform=raster.transform)
        classes = raster.read(1, window=window)
    cropland = load_vocabulary("cropland").classes[0]
    return np.where(classes == 0, -1, classes == cropland.value).astype(np.int8)


def table(ours: np.ndarray, theirs: np.ndarray, checkpoint: str) -> str:
    """The agreement of two maps of cropland (1) and everything else (0), as Markdown."""
    mapped = ours >= 0
    a, b = ours[mapped], theirs[mapped]
    count = lambda x, y: int(((a == x) & (b == y)).sum())  # noqa: E731
    agree = (count(1, 1) + count(0, 0)) / len(a)
    always = max((b == 1).mean(), (b == 0).mean())
    return f"""# Cropland in Belgium

One square kilometre in Belgium (EPSG:32631), November 2020 to October 2021: real Sentinel-2 monthly
composites, two months of which are missing and which have no B8A, read as a static archive and
mapped by the whole flow with the vocabulary `cropland` and the checkpoint `{checkpoint}`. Compared
with WorldCereal's cropland layer of the same pixels, which is itself a map. (Its class value is 0
for cropland, as its `probability_cropland` tells.)

| | WorldCereal: cropland | WorldCereal: other |
|---|---:|---:|
| timesen: cropland | {count(1, 1):,} | {count(1, 0):,} |
| timesen: other | {count(0, 1):,} | {count(0, 0):,} |

Agreement: **{agree:.1%}** of {len(a):,} pixels ({int((~mapped).sum())} without observation).
Calling every pixel by the layer's commonest class would agree on {always:.1%}.

Made by `python -m tests.benchmarks.belgium`.
"""


def main() -> None:
    """Map the patch and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="real-land")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    shared = Path(os.environ.get("TIMESEN_TEST_DATA", SHARED))
    with tempfile.TemporaryDirectory() as folder:
        ours = map_patch(shared, Path(folder), arguments.checkpoint)
    name = load_checkpoint(arguments.checkpoint).card.name
    document = table(ours, read_cropland(shared).values, name)
    arguments.out.write_text(document)
    print(document)


if __name__ == "__main__":
    main()
