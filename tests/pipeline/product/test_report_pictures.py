import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from pipeline.errors import OutputUnreadable
from pipeline.io.store import Store
from pipeline.layout import cell_key
from pipeline.product.layers import CLASS, TRUE_COLOUR
from pipeline.product.mosaic import write_mosaics
from pipeline.product.report_pictures import NO_PICTURES, clear_month_colours, make_pictures
from tests.pipeline.made_run import ONE_ZONE, TWO_ZONES, MadeRun, make_run


def _picture(content: bytes | None) -> np.ndarray:
    assert content is not None
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@pytest.fixture(scope="module", params=[ONE_ZONE, TWO_ZONES], ids=["one zone", "two zones"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    made = make_run(str(tmp_path_factory.mktemp("made") / "run"), request.param)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    return made


def test_colours_lie_where_the_map_has_their_class(made: MadeRun) -> None:
    pictures = make_pictures(made.store, made.items)
    assert pictures.true_colour_cells == len(made.cells)
    picture = _picture(pictures.true_colour).astype(int)
    with rasterio.open(made.store.path(CLASS.mosaic_file)) as mosaic:
        assert max(picture.shape) == min(round(max(mosaic.shape) / 4), 700)
        classes = mosaic.read(1, out_shape=picture.shape[:2])
    seen = picture != 245
    assert (seen.any(axis=-1) == (classes > 0)).mean() > 0.98
    for value in range(1, 6):
        # Green is the brightest, and brighter the higher the class is: 50 times its value.
        green = np.median(picture[classes == value], axis=0)[1]
        assert green == pytest.approx((50 * value - 30) / (250 - 30) * 255, abs=2)


def test_clear_months_are_in_the_colours_of_their_legend(made: MadeRun) -> None:
    picture = _picture(make_pictures(made.store, made.items).clear_months)
    colours = {tuple(bytes.fromhex(colour[1:])) for colour in clear_month_colours()}
    assert len(colours) == 13
    found = {tuple(pixel) for pixel in np.unique(picture.reshape(-1, 3), axis=0).tolist()}
    assert found == {tuple(bytes.fromhex(clear_month_colours()[1][1:])), (245, 245, 245)}


def test_cells_without_true_colours_are_left_blank(tmp_path: Path) -> None:
    made = make_run(str(tmp_path / "run"), ONE_ZONE)
    write_mosaics(made.store, made.run, made.items, made.vocabulary)
    whole, others = made.items, made.items
    del others[0]["assets"]["true-colour"]
    assert make_pictures(made.store, others).true_colour_cells == len(made.cells) - 1
    cell = made.cells[-1]
    damaged = Path(made.store.path(cell_key(cell.tile.name, cell.id, TRUE_COLOUR.file)))
    content = damaged.read_bytes()
    damaged.write_bytes(b"no raster")
    with pytest.raises(OutputUnreadable, match=r"true_colour\.tif cannot be read"):
        make_pictures(made.store, others)
    damaged.write_bytes(content)
    for item in others:
        item["assets"].pop("true-colour", None)
        item["assets"].pop("clear-months")
    assert make_pictures(made.store, others) == NO_PICTURES
    assert make_pictures(made.store, []) == NO_PICTURES
    # As of a map of kept embeddings: the run that kept them has the true colours.
    from_source = make_pictures(made.store, others, (Store(made.store.root), whole))
    assert from_source.true_colour_cells == len(made.cells)
