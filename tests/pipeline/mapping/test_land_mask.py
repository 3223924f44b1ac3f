"""Masks from a real run's folder, against the classes that its pixels have by coordinates."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.vocabulary.vocabulary import Vocabulary, load_vocabulary
from pipeline.errors import OutputError, SettingsError
from pipeline.grid.cells import Cell, cells_of, owned_pixels, tiles_of
from pipeline.grid.region import read_region
from pipeline.io.store import Store
from pipeline.layout import VOCABULARY_FILE, cell_key
from pipeline.mapping.cell_mask import masked_counts, wanted_pixels
from pipeline.mapping.land_mask import read_land_mask, split_mask
from pipeline.mapping.plan_geojson import CELLS_KEY, CellPlan, cell_feature
from tests.pipeline.made_run import TWO_ZONES, VOCABULARY, MadeRun, cell_rasters, make_run
from tests.s3_server import s3

__all__ = ["s3"]  # a fixture

BEYOND = "5.94,49.75,6.04,49.80"  # reaches further west and north than the mask


def planned_run(root: str, region: str, vocabulary: Vocabulary = VOCABULARY) -> MadeRun:
    """A finished run with the files of its plan."""
    run = make_run(root, region)
    run.store.write(VOCABULARY_FILE, vocabulary.model_dump_json().encode())
    features = [cell_feature(CellPlan(cell, 1, 1)) for cell in run.cells]
    run.store.write(CELLS_KEY, json.dumps({"features": features}).encode())
    return run


@pytest.fixture(scope="module")
def cover(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    return planned_run(str(tmp_path_factory.mktemp("cover") / "run=a"), TWO_ZONES)


@pytest.fixture
def copied(cover: MadeRun, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(cover.store.root, folder)
    return folder


def cells(region: str, size: int) -> list[Cell]:
    aoi = read_region(region)
    return [cell for tile in tiles_of(aoi) for cell in cells_of(tile, aoi, size)]


@pytest.mark.parametrize("size", [512, 300, 1024])
def test_pixels_are_those_of_the_same_place(cover: MadeRun, size: int) -> None:
    """In cells of any size, where the mask ends, and in both zones."""
    mine, aoi = cells(BEYOND, size), read_region(BEYOND)
    mask = read_land_mask(f"{cover.store.root}=wheat field, Lake & pond")
    assert mask.values == (1, 4)
    lacking = 0
    for cell in mine:
        found = mask.of_cell(cell).pixels(cell)
        classes, _ = cell_rasters(cell, TWO_ZONES)  # nodata where the mask's run has none
        np.testing.assert_array_equal(found.inside, np.isin(classes, [1, 4]))
        np.testing.assert_array_equal(found.lacking, classes == 0)
        owned = owned_pixels(cell, aoi)
        wanted, counts = wanted_pixels(cell, aoi, found), masked_counts(cell, aoi, found)
        assert counts is not None
        np.testing.assert_array_equal(wanted, owned & found.inside)
        assert wanted.sum() + counts.outside + counts.lacking == owned.sum()
        lacking += counts.lacking
    assert lacking > 10_000


def test_a_mask_on_object_storage(s3: str) -> None:
    run = planned_run(f"{s3}/cover", "5.96,49.75,5.98,49.76")
    mine = cells("5.96,49.75,5.98,49.76", 128)
    mask = read_land_mask(f"{s3}/cover=town")
    classes, _ = cell_rasters(mine[0], "5.96,49.75,5.98,49.76")
    np.testing.assert_array_equal(mask.pixels(mine[0]).inside, classes == 5)
    assert run.run.fingerprint in mask.identity


def test_classes_are_names_codes_or_parents(copied: Path) -> None:
    detailed = load_vocabulary("lucas-land-cover-detailed")
    (copied / VOCABULARY_FILE).write_text(detailed.model_dump_json())
    first, parent = detailed.classes[0], detailed.parents[0]
    members = {entry.value for entry in detailed.classes if entry.parent == parent.key}
    assert read_land_mask(f"{copied}={first.name}").values == (first.value,)
    assert read_land_mask(f"{copied}={first.code}").values == (first.value,)
    assert set(read_land_mask(f"{copied}={parent.code}").values) == members
    assert len(members) > 1
    with pytest.raises(SettingsError, match="that run has no class"):
        read_land_mask(f"{copied}={first.code}7")  # a finer code: the class is more land than that


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        ("=wheat feild", r"no class 'wheat feild' \(did you mean wheat field\?\)"),
        ("=town, hills", "no class 'hills'"),
        ("=", "it names no run or no class"),
        ("", "it names no run or no class"),
        ("=,", "it names no run or no class"),
    ],
)
def test_what_is_no_class_is_refused(copied: Path, classes: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        read_land_mask(f"{copied}{classes}")


def test_runs_that_are_no_mask_are_refused(cover: MadeRun, copied: Path, tmp_path: Path) -> None:
    mine, mask = cells(TWO_ZONES, 512), read_land_mask(f"{cover.store.root}=town")
    with pytest.raises(OutputError, match="there is no run here"):
        read_land_mask(f"{tmp_path / 'none'}=town")
    with pytest.raises(OutputError, match="this run has mapped none of the region"):
        mask.require_some(cells("5.30,49.75,5.32,49.76", 512))
    mask.require_some([*cells("5.30,49.75,5.32,49.76", 512), mine[0]])
    next(copied.glob("cells/*/*/item.json")).unlink()
    with pytest.raises(OutputError, match=f"1 of this run's {len(mine)} cells are not finished"):
        read_land_mask(f"{copied}=town")


def test_a_mask_that_was_mapped_anew_is_not_used(copied: Path) -> None:
    mine = cells(TWO_ZONES, 512)
    mask = read_land_mask(f"{copied}=town")
    shutil.rmtree(copied)
    make_run(str(copied), TWO_ZONES, reading={"substitute": {"B8A": "B08"}})
    with pytest.raises(OutputError, match="no more of the run that this run's mask was taken from"):
        mask.pixels(mine[0])
    assert Store(str(copied)).exists(cell_key(mine[0].tile.name, mine[0].id, "class.tif"))


def test_a_folder_may_have_an_equals_sign() -> None:
    assert split_mask("runs/a=b=town,lake") == ("runs/a=b", "town,lake")
