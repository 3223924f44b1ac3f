import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from models.vocabulary.vocabulary import make_vocabulary
from pipeline.layout import PREVIEW
from pipeline.product.cell_report import class_hectares
from pipeline.product.cog_writer import rgb
from pipeline.product.mosaic import write_mosaics
from pipeline.product.preview import LEGEND_ROWS, _legend, write_preview
from tests.pipeline.made_run import ONE_ZONE, TWO_ZONES, make_run


def _picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("where", ["folder", "s3"])
@pytest.mark.parametrize("region", [ONE_ZONE, TWO_ZONES])
def test_shows_every_class_in_its_colour(
    region: str, where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path / "run")
    if where == "s3":
        root = f"{request.getfixturevalue('s3')}/{len(region)}-{region[:4]}"
    made = make_run(root, region)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    write_preview(
        made.store, made.run, made.vocabulary, class_hectares(made.items), demonstration=True
    )
    picture = _picture(made.store.read(PREVIEW))
    height, width = picture.shape[:2]
    assert 900 < width < 2400
    assert 500 < height < 2400
    for entry in made.vocabulary.classes:
        share = (picture == rgb(entry.colour)).all(axis=-1).mean()
        assert share > 0.05, f"{entry.name} is a fifth of the map"


def test_a_long_vocabulary_is_cut_in_the_legend() -> None:
    vocabulary = make_vocabulary(
        {
            "name": "n",
            "title": "t",
            "source": "s",
            "licence": "l",
            "classes": [{"name": f"class {i}"} for i in range(1, 61)],
        },
        "test",
    )
    rows = _legend(vocabulary, {i: float(i) for i in range(1, 61)})
    assert len(rows) == LEGEND_ROWS
    assert rows[0][1] == "class 60"
    assert rows[-1][:2] == (None, f"{60 - LEGEND_ROWS + 1} other classes")
    assert sum(row[2] for row in rows) == pytest.approx(100)


def test_the_scale_bar_is_as_long_as_it_says(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    write_preview(made.store, made.run, made.vocabulary, class_hectares(made.items))
    picture = _picture(made.store.read(PREVIEW))
    bar = _longest_run((picture == rgb("#1b1f24")).all(axis=-1))
    whole = _longest_run((picture < 255).any(axis=-1))
    with rasterio.open(tmp_path / "run" / "class.vrt") as mosaic:
        metres = 10 * mosaic.width * bar / whole
    assert metres == pytest.approx(2000, rel=0.02), "the largest round length in a third of 8.7 km"


def _longest_run(found: np.ndarray) -> int:
    """The most pixels of a bool picture (y, x) that are true side by side in a row."""
    longest = 0
    for row in found[found.any(axis=1)]:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(np.int8), [0]))))
        longest = max(longest, int((edges[1::2] - edges[::2]).max()))
    return longest
