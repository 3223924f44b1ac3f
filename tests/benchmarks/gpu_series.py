"""Real series and words for `tests.benchmarks.bench_gpu`, in a file that travels to its machine.

`python -m tests.benchmarks.gpu_series FILE.npz`, in a minute. `series` holds all pixels of the
Belgian patch and the points of four tables of ../shared/data, `text` the embeddings of a
vocabulary by the text tower of the checkpoint `sample`.
"""

import os
import sys
import warnings
from pathlib import Path

import numpy as np

from models.encoder.checkpoint import load_checkpoint
from models.encoder.preprocessing import BANDS
from models.towers.text_embeddings import embed_for_checkpoint
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.real_land.belgium import read_patch
from tests.benchmarks.real_series import TABLES, read_real_series

SHARED = Path(os.environ.get("TIMESEN_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
VOCABULARY = "lucas-land-cover"
_NONE = 65535


def patch_series(shared: Path) -> np.ndarray:
    """The Belgian patch: uint16 (pixel, 12, 10), filled as `read_real_series` fills tables."""
    patch = read_patch(shared)
    names = [f"S2-L2A-{'B08' if band == 'B8A' else band}" for band in BANDS]
    stored = np.stack([patch[name].values for name in names]).astype(float)  # band, month, y, x
    series = np.where(stored == _NONE, np.nan, stored).reshape(len(BANDS), 12, -1).T
    series = np.roll(series, -2, axis=1)  # November first → January first
    series = np.where(np.isnan(series), np.nanmedian(series, axis=1, keepdims=True), series)
    whole = ~np.isnan(series).any(axis=(1, 2))
    return np.maximum(series[whole], 1).round().astype(np.uint16)


def main() -> None:
    """Write the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # points without any observation
        tables = [read_real_series(SHARED, table)[0] for table in (*TABLES, "us_2021_dekadal")]
        series = np.concatenate((patch_series(SHARED), *tables))
    text = embed_for_checkpoint(load_vocabulary(VOCABULARY), load_checkpoint("sample").card)
    np.savez_compressed(sys.argv[1], series=series, text=text.members)
    print(f"{sys.argv[1]}: {len(series):,} series, {len(text.members)} texts")


if __name__ == "__main__":
    main()
