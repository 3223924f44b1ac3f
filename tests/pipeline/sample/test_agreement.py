"""The agreement of a map with the truth counts known, mapped pixels of every class."""

from pathlib import Path

import numpy as np
import pytest

from models.vocabulary.vocabulary import load_vocabulary
from pipeline.sample.agreement import agreement_with_truth
from pipeline.sample.raster import write_raster


def test_known_and_mapped_pixels_count(tmp_path: Path) -> None:
    truth = np.full((64, 64), 1, np.uint8)
    truth[:, 32:], truth[:8] = 2, 0
    mapped = truth[:32, 16:48].copy()  # a cell
    mapped[mapped == 0] = 3  # where the truth is not known
    mapped[8:10], mapped[-2:] = 2, 0
    cell = tmp_path / "run" / "cells" / "31UGR" / "0-0"
    for folder in (tmp_path / "archive" / "truth", cell):
        folder.mkdir(parents=True)
    write_raster(
        tmp_path / "archive" / "truth" / "31UGR.tif", truth, (10, 0, 0, 0, -10, 640), 32631
    )
    write_raster(cell / "class.tif", mapped, (10, 0, 160, 0, -10, 640), 32631)
    found = agreement_with_truth(
        tmp_path / "run", tmp_path / "archive", load_vocabulary("sample-landscape")
    )
    first, second = found.by_class[:2]
    assert found.rows == 22 * 32
    assert (first.support, second.support) == (22 * 16, 22 * 16)
    assert first.recall == pytest.approx(20 / 22)
    assert second.recall == 1
    assert second.precision == pytest.approx(22 / 24)
    assert found.accuracy == pytest.approx(21 / 22)
