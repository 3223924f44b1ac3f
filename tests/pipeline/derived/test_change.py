"""Changes between two runs: areas, rasters, metadata, and reference points."""

import json
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
from rio_cogeo.cogeo import cog_validate

from flows.cli.main import run as timesen
from models.errors import UserError
from pipeline.areas.class_areas import class_areas_in
from pipeline.derived.change import MadeChange, change_between
from pipeline.derived.derived_run import SourceRun, open_source_run
from pipeline.evaluation.map_evaluation import evaluate_run
from pipeline.layout import VOCABULARY_FILE
from pipeline.product.committed_cells import finished_items
from pipeline.product.layers import CELL_LAYERS
from pipeline.product.ledger import read_run
from pipeline.product.manifest import run_vocabulary
from pipeline.product.read_layer import read_layer
from tests.pipeline.derived.conftest import Land, make_noisy_run
from tests.pipeline.made_run import VOCABULARY, MadeRun, classes_at, make_run
from tests.stac_validation import validate

Noisy = Callable[..., MadeRun]
WEST, SOUTH, EAST, NORTH = 5.985, 49.601, 6.015, 49.617


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> MadeRun:
    """A year later, cells of another size, and a region that ends in the west and begins later."""
    root = str(tmp_path_factory.mktemp("later"))
    return make_noisy_run(root, "5.992,49.601,6.022,49.617", Land(7), 128, year=2022)


@pytest.fixture(scope="module")
def made(
    noisy: Noisy, later: MadeRun, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SourceRun, SourceRun, MadeChange]:
    out = str(tmp_path_factory.mktemp("change") / "run")
    before, after = open_source_run(noisy(2048).store.root), open_source_run(later.store.root)
    return before, after, change_between(before, after, out)


def by_place(source: SourceRun, name: str) -> dict[tuple[int, int, int], np.ndarray]:
    """The values of a raster, by zone, column and row of the zone's lattice."""
    layer, found = next(layer for layer in CELL_LAYERS if layer.file == name), {}
    for item in source.items:
        properties = item["properties"]
        values = read_layer(source.store, item, layer)
        left, top = round(properties["proj:bbox"][0] / 10), round(properties["proj:bbox"][3] / 10)
        for row, column in np.argwhere(values[0] >= (1 if "class" in name else 0)):
            found[properties["proj:epsg"], left + column, top - row] = values[:, row, column]
    return found


def test_pixels_and_areas_are_those_of_both_maps(
    made: tuple[SourceRun, SourceRun, MadeChange],
) -> None:
    before, after, change = made
    earlier, later_pixels = by_place(before, "top_classes.tif"), by_place(after, "top_classes.tif")
    shown = by_place(open_source_run(change.store.root), "class.tif")
    assert shown.keys() == earlier.keys() & later_pixels.keys()
    counts = np.zeros((5, 5), int)
    for place, value in shown.items():
        i, j = int(earlier[place][0]) - 1, int(later_pixels[place][0]) - 1
        assert value[0] == 1 + 5 * i + j
        counts[i, j] += 1
    np.testing.assert_array_equal(change.area.pixels, counts)
    # A pixel of 100 m² in UTM is some 100.08 m² there, near the edge of its zone 99.9 m².
    np.testing.assert_allclose(change.area.hectares, counts * 0.01, rtol=2e-3)
    vocabulary = run_vocabulary(change.store, read_run(change.store))
    sums = class_areas_in(
        change.store, finished_items(change.store, read_run(change.store).fingerprint), vocabulary
    )
    np.testing.assert_allclose(sums.mapped[0], change.area.hectares[counts > 0], rtol=1e-9)
    assert change.only_before == pytest.approx(0.01 * (len(earlier) - len(shown)), rel=0.01)
    assert change.only_after == pytest.approx(0.01 * (len(later_pixels) - len(shown)), rel=0.01)
    assert change.area.frame().hectares.sum() == pytest.approx(change.area.hectares.sum(), abs=1e-3)


def test_confidence_is_of_both_maps(made: tuple[SourceRun, SourceRun, MadeChange]) -> None:
    before, after, change = made
    source = open_source_run(change.store.root)
    shown, changed = by_place(source, "confidence.tif"), by_place(source, "change_probability.tif")
    earlier, later_pixels = by_place(before, "top_classes.tif"), by_place(after, "top_classes.tif")
    shares = by_place(before, "top_confidences.tif"), by_place(after, "top_confidences.tif")
    for place in list(by_place(source, "class.tif"))[::97]:
        p, q = np.zeros(5), np.zeros(5)
        of_both = ((p, earlier, shares[0]), (q, later_pixels, shares[1]))
        for dense, ranks, ranked in of_both:
            classes, percents = ranks[place], ranked[place]
            dense[:] = (100 - percents[:2].sum(dtype=int)) / 300
            dense[classes.astype(int) - 1] = percents[:2] / 100
        assert changed[place][0] == pytest.approx(100 * (1 - p @ q), abs=0.5001)
        joint = 100 * p[earlier[place][0] - 1] * q[later_pixels[place][0] - 1]
        assert shown[place][0] == pytest.approx(joint, abs=0.5001)
    known = [int(values[0]) for values in changed.values() if values[0] != 255]
    mean = np.mean(known) / 100
    assert change.expected == pytest.approx(mean * change.area.hectares.sum(), rel=0.01)


def test_the_run_describes_itself(made: tuple[SourceRun, SourceRun, MadeChange]) -> None:
    _, _, change = made
    store = change.store
    (key, *_) = [key for key in store.keys("cells") if key.endswith("item.json")]
    item = json.loads(store.read(key))
    validate(item)
    validate(json.loads(store.read("collection.json")))
    properties = item["properties"]
    assert properties["start_datetime"].startswith("2021-01-01")
    assert properties["end_datetime"].startswith("2022-12-31")
    assert properties["processing:lineage"].startswith(
        "Transitions between the classes of two maps"
    )
    assert item["assets"]["class"]["title"] == "Transition"
    assert set(item["assets"]) == {"class", "confidence", "change-probability"}
    named = {entry["title"] for entry in item["assets"]["class"]["classification:classes"]}
    assert "wheat field → maize field" in named
    for name in ("class.tif", "change_probability.tif"):
        assert cog_validate(store.path(key.replace("item.json", name)))[0]
    assert "wheat field → maize field" in store.read("class.qml").decode()
    assert store.exists("change_probability.vrt")
    assert b"wheat field" in store.read("sankey.svg")
    table = pd.read_csv(store.path("transitions.csv"))
    assert table.hectares.is_monotonic_decreasing


def test_points_correct_the_areas_of_changes(
    made: tuple[SourceRun, SourceRun, MadeChange], tmp_path: Path
) -> None:
    """Reference land never changes: what the noise of both maps shows as changes is error."""
    _, _, change = made
    rng = np.random.default_rng(5)
    lon, lat = rng.uniform(WEST, EAST, 900), rng.uniform(SOUTH, NORTH, 900)
    known = [entry.name for entry in VOCABULARY.classes]
    names = np.array(known)[classes_at(lon, lat).astype(int) - 1]
    points = tmp_path / "points.gpkg"
    places = geopandas.points_from_xy(lon, lat, crs=4326)
    geopandas.GeoDataFrame({"y1": names, "y2": names}, geometry=places).to_file(points)
    root = change.store.root
    found = evaluate_run(root, points, "y1,y2", "parent")
    by_name = {entry.name: entry for entry in found.accuracy.by_class}
    assert by_name["change"].area.value == pytest.approx(0, abs=1e-9)
    assert by_name["change"].mapped == pytest.approx(change.area.changed, rel=1e-3)
    assert change.area.changed > 0.2 * change.area.hectares.sum()
    table = tmp_path / "areas.csv"
    given = ["areas", root, "--points", str(points), "--label", "y1,y2", "--out", str(table)]
    assert timesen(given) == 0
    rows = pd.read_csv(table).set_index("class")
    assert timesen(["areas", root, "--level", "parent", "--out", str(table)]) == 0
    parents = pd.read_csv(table).set_index("class").hectares
    assert parents["change"] == pytest.approx(change.area.changed, rel=1e-3)
    stays = rows.loc["wheat field → wheat field"]
    assert stays.adjusted_hectares > stays.hectares
    assert stays.low_95 < stays.adjusted_hectares < stays.high_95


def test_what_cannot_be_compared(noisy: Noisy, later: MadeRun, tmp_path: Path) -> None:
    before, after = open_source_run(noisy(2048).store.root), open_source_run(later.store.root)
    out = str(tmp_path / "out")
    with pytest.raises(UserError, match=r"it is of 2021, before the other one .*the earlier run"):
        change_between(after, before, out)
    away = make_run(str(tmp_path / "away"), "5.30,49.75,5.31,49.755")
    away.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    with pytest.raises(UserError, match="it has no pixel in common"):
        change_between(before, open_source_run(away.store.root), out)
    assert not Path(out).exists()


def test_the_command(
    noisy: Noisy, later: MadeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    given = ["change", noisy(2048).store.root, later.store.root, "--out", out]
    assert timesen(given) == 0
    said = capsys.readouterr().out
    assert "have a class on the earlier map alone" in said
    assert "by the probabilities of both maps" in said
    stamps = {path: path.stat().st_mtime_ns for path in Path(out).glob("cells/*/*/class.tif")}
    assert timesen(given) == 0  # goes on, and finds nothing to do
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    capsys.readouterr()
    assert timesen(["publish", out]) == 0
    assert timesen(["rerun", out]) == 2
    assert timesen(["smooth", out, "--majority", "3", "--out", str(tmp_path / "no")]) == 2
    assert "a map of changes is not smoothed" in capsys.readouterr().err
    classes = tmp_path / "classes.csv"
    classes.write_text("label,class\nwheat field,maize field\nmaize field,field of oats\n")
    assert timesen([*given, "--classes", str(classes)]) == 2
    assert "no class 'field of oats'" in capsys.readouterr().err


def test_to_object_storage(s3: str, tmp_path: Path) -> None:
    """One run there and one here, with the confidence of the class shown alone."""
    region = "5.30,49.75,5.31,49.755"
    runs = [make_run(f"{s3}/2021", region), make_run(str(tmp_path / "2022"), region, year=2022)]
    for run in runs:
        run.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    before, after = (open_source_run(run.store.root) for run in runs)
    change = change_between(before, after, f"{s3}/change")
    assert change.area.changed == 0
    assert change.only_before == change.only_after == 0
    pixels = by_place(open_source_run(change.store.root), "change_probability.tif")
    shares = by_place(before, "confidence.tif")
    for place, (percent,) in list(pixels.items())[::211]:
        p = int(shares[place][0]) / 100
        same = p * p + 4 * ((1 - p) / 4) ** 2
        assert percent == 255 or percent == pytest.approx(100 * (1 - same), abs=0.5001)
    assert change.store.exists("sankey.svg")
