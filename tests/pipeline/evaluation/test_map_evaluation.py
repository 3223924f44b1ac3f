"""A real run's folder against points whose classes are known, of any CRS, and points that fail."""

from pathlib import Path

import geopandas
import numpy as np
import pytest

from models.vocabulary.vocabulary import load_vocabulary
from pipeline.errors import OutputError
from pipeline.evaluation.map_evaluation import MapResults, evaluate_run
from pipeline.evaluation.map_points import OUTSIDE, classes_at
from pipeline.evaluation.map_report import class_rows, write_map_report
from pipeline.io.store import Store
from pipeline.layout import VOCABULARY_FILE
from pipeline.point_series.point_file import PointsError
from pipeline.product.cell_report import class_hectares
from tests.pipeline.made_run import TWO_ZONES, VOCABULARY, MadeRun, make_run
from tests.pipeline.made_run import classes_at as truth

WEST, SOUTH, EAST, NORTH = (float(edge) for edge in TWO_ZONES.split(","))
NAMES = np.array([entry.name for entry in VOCABULARY.classes])


def places(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Places on the map that lie 30 m or more from a border of its patches."""
    rng = np.random.default_rng(seed)
    lon, lat = rng.uniform(WEST, EAST, 4 * count), rng.uniform(SOUTH, NORTH, 4 * count)
    d = 0.0004
    inside = (lon - d > WEST) & (lon + d < EAST) & (lat - d > SOUTH) & (lat + d < NORTH)
    for dx, dy in ((-d, 0), (d, 0), (0, -d), (0, d)):
        inside &= truth(lon + dx, lat + dy) == truth(lon, lat)
    return lon[inside][:count], lat[inside][:count]


def write(path: Path, lon: np.ndarray, lat: np.ndarray, labels: object, crs: int = 4326) -> Path:
    points = geopandas.points_from_xy(lon, lat, crs=4326)
    geopandas.GeoDataFrame({"cover": labels}, geometry=points).to_crs(crs).to_file(path)
    return path


def evaluated(made: MadeRun, path: Path) -> MapResults:
    return evaluate_run(made.store.root, path, "cover")


def test_each_place_has_the_class_of_its_pixel(made: MadeRun) -> None:
    lon, lat = places(2000)
    found = classes_at(made.store, made.items, lon, lat)
    np.testing.assert_array_equal(found, truth(lon, lat))
    far = classes_at(made.store, made.items, np.array([-174.0, 6.0, np.nan]), np.full(3, 49.77))
    assert far.tolist()[0] == OUTSIDE
    assert far.tolist()[2] == OUTSIDE


@pytest.mark.parametrize("crs", [4326, 3035, 32632])
def test_right_points_of_any_crs(made: MadeRun, tmp_path: Path, crs: int) -> None:
    lon, lat = places(400)
    labels = NAMES[truth(lon, lat).astype(int) - 1]
    found = evaluated(made, write(tmp_path / "ref.gpkg", lon, lat, labels, crs))
    assert found.accuracy.overall.value == 1
    assert found.accuracy.overall.standard_error == 0
    assert found.points.used == 400
    hectares = class_hectares(made.items)
    assert found.accuracy.hectares == pytest.approx(sum(hectares.values()))
    for entry, of_class in zip(VOCABULARY.classes, found.accuracy.by_class, strict=True):
        assert of_class.mapped == pytest.approx(hectares[entry.value])
        assert of_class.area.value == pytest.approx(hectares[entry.value])


def test_a_known_error_moves_areas_by_its_size(made: MadeRun, tmp_path: Path) -> None:
    """Half of what is mapped as the first class is the second: area moves, by its interval."""
    lon, lat = places(1500)
    value = truth(lon, lat).astype(int)
    other = (value == 1) & (np.random.default_rng(1).uniform(size=len(value)) < 0.5)
    labels = NAMES[np.where(other, 2, value) - 1]
    found = evaluated(made, write(tmp_path / "ref.gpkg", lon, lat, labels))
    hectares = class_hectares(made.items)
    first, second = found.accuracy.by_class[:2]
    assert first.users is not None
    assert second.producers is not None
    assert abs(first.users.value - 0.5) < 2 * first.users.half_width
    assert abs(first.area.value - hectares[1] / 2) < 2 * first.area.half_width
    assert second.area.value == pytest.approx(hectares[1] + hectares[2] - first.area.value)
    assert second.producers.value == pytest.approx(hectares[2] / second.area.value)


def test_unusable_points_are_counted(made: MadeRun, tmp_path: Path) -> None:
    lon, lat = places(60)
    labels = NAMES[truth(lon, lat).astype(int) - 1].astype(object)
    labels[:3], labels[3:5] = "volcano", None
    lon[5:9] = 7.5  # outside
    path = tmp_path / "ref.csv"
    rows = [f"{x},{y},{label or ''}" for x, y, label in zip(lon, lat, labels, strict=True)]
    rows += [f",,{NAMES[0]}", f"{EAST + 0.01},{(SOUTH + NORTH) / 2},{NAMES[0]}"]
    path.write_text("\n".join(["lon,lat,cover", *rows]))
    found = evaluated(made, path)
    used = found.points
    assert (used.given, used.no_label, used.unknown_label, used.no_place) == (62, 2, 3, 1)
    assert used.outside + used.on_nodata == 5
    assert used.used + used.left_out == 51
    assert found.labels.unknown == {"volcano": 3}
    assert found.accuracy.overall.value == 1


def test_what_may_go_wrong(made: MadeRun, tmp_path: Path) -> None:
    lon, lat = places(20)
    path = write(tmp_path / "ref.gpkg", lon, lat, ["x"] * 20)
    with pytest.raises(PointsError, match="have no label that it knows, for one 'x'"):
        evaluated(made, path)
    with pytest.raises(PointsError, match="it has no column 'clover'; its columns are cover"):
        evaluate_run(made.store.root, path, "clover")
    away = write(tmp_path / "away.gpkg", lon + 20, lat, [NAMES[0]] * 20)
    with pytest.raises(PointsError, match="20 lie outside of it"):
        evaluated(made, away)
    one = write(tmp_path / "one.gpkg", lon[:1], lat[:1], [NAMES[0]])
    with pytest.raises(PointsError, match="no class of the map has 2 points"):
        evaluated(made, one)
    with pytest.raises(PointsError, match="the map's classes have no parents"):
        evaluate_run(made.store.root, path, "cover", "parent")
    with pytest.raises(OutputError, match="there is no run here"):
        evaluate_run(str(tmp_path), path, "cover")


def test_labels_by_a_mapping(made: MadeRun, tmp_path: Path) -> None:
    lon, lat = places(300)
    value = truth(lon, lat).astype(int)
    labels = np.array(["crop", "crop", "F1", "W1", "T"], object)[value - 1]
    labels[:4] = ["F2", "cropp", "gone", ""]
    mapping = tmp_path / "classes.csv"
    rows = ["crop,wheat field", "F1,leafy forest", "F2,leafy forest", "W1,", "T,town"]
    mapping.write_text("\n".join(["label,class", *rows]))
    path = write(tmp_path / "ref.gpkg", lon, lat, labels)
    found = evaluate_run(made.store.root, path, "cover", mapping=mapping)
    used = found.points
    assert (used.no_class, used.unknown_label, used.no_label) == (labels.tolist().count("W1"), 2, 1)
    assert used.used == 300 - used.no_class - 3
    assert found.labels.unknown == {"cropp": 1, "gone": 1}
    assert found.classes.near == {"cropp": "crop"}
    by_name = {entry.name: entry for entry in found.accuracy.by_class}
    maize = by_name["maize field"].mapped_right
    assert (maize.right, maize.total) == (0, int((value[4:] == 2).sum()))
    report = write_map_report(Store(str(tmp_path / "out")), found)
    assert "classes.csv" in report
    assert "| W1 | left out |" in report
    assert "did you mean crop?" in report


def test_few_points_have_no_accuracy_and_many_an_exact_one(made: MadeRun, tmp_path: Path) -> None:
    lon, lat = places(400)
    value = truth(lon, lat).astype(int)
    kept = np.concatenate([np.flatnonzero(value == 1)[:3], np.flatnonzero(value == 2)[:20]])
    labels = NAMES[value[kept] - 1]
    found = evaluated(made, write(tmp_path / "ref.gpkg", lon[kept], lat[kept], labels))
    rows = {row[0]: row[2:4] for row in class_rows(found)[1]}
    assert rows["wheat field"] == ["too few points", "too few points"]
    assert rows["maize field"][0] == "100.0 % (83.2–100.0)"  # not ± 0


def test_references_of_parents(tmp_path: Path) -> None:
    """A detailed map against coarse references: compared as parents."""
    run = make_run(str(tmp_path / "run"))
    detailed = load_vocabulary("lucas-land-cover-detailed")  # values 1 … 5 are of A, A, A, A, B …
    run.store.write(VOCABULARY_FILE, detailed.model_dump_json().encode())
    by_value = {entry.value: str(entry.parent) for entry in detailed.classes}
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(5.31, 5.41, 400), rng.uniform(49.755, 49.795, 400)
    values = classes_at(run.store, run.items, lon, lat)
    kept = values > 0
    labels = [by_value[int(value)] for value in values[kept]]
    found = evaluate_run(
        str(tmp_path / "run"), write(tmp_path / "ref.gpkg", lon[kept], lat[kept], labels), "cover"
    )
    assert found.labels.level == "parent"
    assert found.accuracy.overall.value == 1
    shown = {c.name for c in found.accuracy.by_class if c.mapped_points}
    assert shown == {p.name for p in detailed.parents if p.key in labels}
    assert sum(c.mapped for c in found.accuracy.by_class) == pytest.approx(found.accuracy.hectares)
