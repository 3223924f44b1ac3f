"""A sample's GeoPackage: what QGIS finds in it, and what becomes of its labels."""

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyogrio
import pytest

from pipeline.errors import OutputError
from pipeline.evaluation.map_evaluation import MapResults, evaluate_run
from pipeline.evaluation.map_report import write_map_report
from pipeline.evaluation.reference_sample import ReferenceSample, draw_sample
from pipeline.evaluation.sample_file import read_sample_record, write_sample
from pipeline.io.store import Store
from pipeline.layout import VOCABULARY_FILE
from pipeline.point_series.point_file import PointsError
from pipeline.product.cell_report import class_hectares
from tests.pipeline.made_run import VOCABULARY, MadeRun, make_run

NAMES = [entry.name for entry in VOCABULARY.classes]
POINTS = 120
SYSTEM_PYTHON = "/usr/bin/python3"  # for which Debian's python3-qgis is


@pytest.fixture(scope="module")
def sample(made: MadeRun) -> ReferenceSample:
    return draw_sample(made.store, made.items, VOCABULARY, POINTS)


@pytest.fixture
def written(made: MadeRun, sample: ReferenceSample, tmp_path: Path) -> Path:
    path = tmp_path / "sample.gpkg"
    write_sample(str(path), sample, made.run, VOCABULARY, place=made.store.root, seed=5)
    return path


def labelled(path: Path, labels: list[str | None], **columns: object) -> Path:
    """The file with labels, as an editor changes it."""
    frame = geopandas.read_file(path, layer="points").assign(label=labels, **columns)
    metadata = pyogrio.read_info(path, layer="points")["dataset_metadata"]
    path.unlink()
    pyogrio.write_dataframe(frame, path, layer="points", dataset_metadata=metadata)
    return path


def evaluated(made: MadeRun, path: Path) -> MapResults:
    return evaluate_run(made.store.root, path, "label")


def test_it_shows_nothing_of_the_map(written: Path, sample: ReferenceSample) -> None:
    frame = geopandas.read_file(written, layer="points")
    assert list(frame.columns) == [
        *("id", "label", "remark", "lon", "lat", "year", "first_day", "last_day", "geometry"),
    ]
    assert frame.crs.to_epsg() == 4326
    assert frame["label"].isna().all()
    assert frame["id"].tolist() == list(range(1, POINTS + 1))
    np.testing.assert_allclose(frame.geometry.x, sample.lon)
    np.testing.assert_allclose(frame["lat"], sample.lat, atol=1e-7)
    assert set(frame["first_day"]) == {"2021-01-01"}
    assert set(frame["last_day"]) == {"2021-12-31"}
    record = read_sample_record(written)
    assert record is not None
    assert record.seed == 5
    assert record.stratum == tuple(sample.value.tolist())


def test_the_style_offers_the_classes(written: Path) -> None:
    styles = pyogrio.read_dataframe(written, layer="layer_styles")
    assert styles[["f_table_name", "useAsDefault"]].to_numpy().tolist() == [["points", True]]
    root = ElementTree.fromstring(styles["styleQML"][0])
    widget = root.find("fieldConfiguration/field[@name='label']/editWidget[@type='ValueMap']")
    assert widget is not None
    choices = widget.findall("config/Option/Option[@name='map']/Option/Option")
    shown = [choice.get("name") for choice in choices]
    assert shown == ["(no label)", *NAMES, "none of these"]
    assert [choice.get("value") for choice in choices][1:] == shown[1:]


def test_qgis_opens_it_with_the_form(written: Path, tmp_path: Path) -> None:
    """In QGIS itself, where Debian's python3-qgis is installed: read, label, save."""
    script = tmp_path / "label.py"
    script.write_text(
        "import sys\n"
        "from qgis.core import QgsApplication, QgsVectorLayer\n"
        "app = QgsApplication([], False)\n"
        "app.initQgis()\n"
        "layer = QgsVectorLayer(sys.argv[1] + '|layername=points', 'points', 'ogr')\n"
        "assert layer.loadDefaultStyle()[1]\n"
        "place = layer.fields().indexOf('label')\n"
        "setup = layer.editorWidgetSetup(place)\n"
        "assert setup.type() == 'ValueMap', setup.type()\n"
        "print([value for choice in setup.config()['map'] for value in choice.values()][1:])\n"
        "assert layer.editFormConfig().readOnly(layer.fields().indexOf('id'))\n"
        "assert not layer.editFormConfig().readOnly(place)\n"
        "layer.startEditing()\n"
        "for feature in layer.getFeatures():\n"
        "    layer.changeAttributeValue(feature.id(), place, 'town')\n"
        "assert layer.commitChanges()\n"
    )
    plain = {"QT_QPA_PLATFORM": "offscreen", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    there = shutil.which(SYSTEM_PYTHON) and subprocess.run(
        [SYSTEM_PYTHON, "-c", "import qgis.core"], env=plain, capture_output=True, check=False
    )
    if not there or there.returncode:
        pytest.skip("Debian's python3-qgis is not installed")
    done = subprocess.run(
        [SYSTEM_PYTHON, str(script), str(written)],
        env=plain, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([*NAMES, "none of these"])
    assert set(geopandas.read_file(written, layer="points")["label"]) == {"town"}
    assert read_sample_record(written) is not None


def test_the_mapped_class_is_shown_on_demand(
    made: MadeRun, sample: ReferenceSample, tmp_path: Path
) -> None:
    path = tmp_path / "open.gpkg"
    write_sample(str(path), sample, made.run, VOCABULARY, place=made.store.root, with_class=True)
    frame = geopandas.read_file(path, layer="points")
    assert frame["class"].tolist() == [NAMES[value - 1] for value in sample.value]


def test_labels_are_not_overwritten(made: MadeRun, sample: ReferenceSample, written: Path) -> None:
    before = written.read_bytes()
    for target, problem in (
        (str(written), "it is there already, and may hold labels"),
        ("points.shp", "no name of a GeoPackage"),
        ("s3://bucket/points.gpkg", "s3:// is not supported here"),
    ):
        with pytest.raises(OutputError, match=problem):
            write_sample(target, sample, made.run, VOCABULARY, place="")
    assert written.read_bytes() == before


def test_labels_come_back_weighted_by_the_strata(
    made: MadeRun, sample: ReferenceSample, written: Path, tmp_path: Path
) -> None:
    labels: list[str | None] = [NAMES[value - 1] for value in sample.value]
    wrong = [k for k, value in enumerate(sample.value) if value == 5][:2]
    labels[wrong[0]], labels[wrong[1]] = "none of these", "wheat field"
    blank = [k for k, value in enumerate(sample.value) if value == 4][:3]
    for k in blank:
        labels[k] = None
    found = evaluated(made, labelled(written, labels))
    hectares = class_hectares(made.items)
    points = {stratum.value: stratum.points for stratum in sample.strata}
    assert (found.points.given, found.points.no_label) == (POINTS, 3)
    assert found.points.used == POINTS - 3
    share = hectares[5] / sum(hectares.values())
    assert found.accuracy.overall.value == pytest.approx(1 - share * 2 / points[5])
    none = found.accuracy.by_class[-1]
    assert none.name == "none of these"
    assert none.area.value == pytest.approx(hectares[5] / points[5])
    report = write_map_report(Store(str(tmp_path / "out")), found)
    assert "drawn by `timesen sample` (seed 5) within the classes of this map" in report
    assert "3 without a label" in report
    numbers = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert numbers["sample"]["strata"][0]["name"] == NAMES[0]


def test_another_map_of_a_part_of_the_land(
    made: MadeRun, sample: ReferenceSample, written: Path, tmp_path: Path
) -> None:
    """The same classes on the western half: what lies east is no part of any number."""
    substitute = {"substitute": {"B8A": "B08"}}  # by which it is another run
    west = make_run(str(tmp_path / "west"), "5.96,49.75,6.00,49.79", reading=substitute)
    west.store.write(VOCABULARY_FILE, VOCABULARY.model_dump_json().encode())
    path = labelled(written, [NAMES[value - 1] for value in sample.value])
    found = evaluate_run(west.store.root, path, "label")
    assert found.accuracy.overall.value == 1
    hectares = class_hectares(west.items)
    assert found.accuracy.hectares == pytest.approx(sum(hectares.values()), rel=0.2)
    assert found.points.outside + found.points.on_nodata == POINTS - found.points.used
    assert found.accuracy.by_class[0].mapped == pytest.approx(hectares[1])
    report = write_map_report(Store(str(tmp_path / "out")), found)
    assert "within the classes of another map" in report


def test_points_that_are_no_more_those_of_the_sample(
    made: MadeRun, sample: ReferenceSample, written: Path, tmp_path: Path
) -> None:
    labels: list[str | None] = [NAMES[value - 1] for value in sample.value]
    moved = tmp_path / "moved.gpkg"
    shutil.copy(written, moved)
    places = geopandas.points_from_xy(np.roll(sample.lon, 1), np.roll(sample.lat, 1), crs=4326)
    with pytest.raises(PointsError, match="lie no more in the class in which they were drawn"):
        evaluated(made, labelled(moved, labels, geometry=places))
    added = tmp_path / "added.gpkg"
    shutil.copy(written, added)
    with pytest.raises(PointsError, match="1 of its points have an id that was not drawn"):
        evaluated(made, labelled(added, labels, id=[*range(1, POINTS), 999]))
    twice = tmp_path / "twice.gpkg"
    shutil.copy(written, twice)
    with pytest.raises(PointsError, match="an id occurs twice"):
        evaluated(made, labelled(twice, labels, id=[*range(1, POINTS), 1]))
    damaged = tmp_path / "damaged.gpkg"
    frame = geopandas.read_file(written, layer="points").assign(label=labels)
    metadata = {"timesen_sample": '{"run": 1}'}
    pyogrio.write_dataframe(frame, damaged, layer="points", dataset_metadata=metadata)
    with pytest.raises(PointsError, match="how its points were drawn is damaged"):
        evaluated(made, damaged)
