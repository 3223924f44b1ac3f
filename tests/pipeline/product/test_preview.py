import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.vocabulary.vocabulary import make_vocabulary
from pipeline.layout import PREVIEW
from pipeline.product.cell_report import class_hectares
from pipeline.product.cog_writer import rgb
from pipeline.product.mosaic import write_mosaics
from pipeline.product.preview import LEGEND_ROWS, _legend, _round_length, write_preview
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


@pytest.mark.parametrize(
    ("most", "length"), [(999, 500), (1000, 1000), (2500, 2000), (730_000, 500_000), (7, 5)]
)
def test_scale_bars_are_round(most: float, length: float) -> None:
    assert _round_length(most) == length
