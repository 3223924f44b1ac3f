"""Labels of points in the words of another nomenclature, by a table that users write."""

from pathlib import Path

import pytest

from models.vocabulary.vocabulary import NONE, load_vocabulary, vocabulary_from_words
from pipeline.errors import DatasetError
from pipeline.evaluation.map_labels import match_points, read_label_mapping, unknown_lines
from pipeline.point_series.point_file import PointsError

VOCABULARY = vocabulary_from_words("wheat field, leafy forest, town")


def written(tmp_path: Path, *rows: str, header: str = "label,class") -> Path:
    path = tmp_path / "classes.csv"
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


def test_several_labels_may_mean_one_class(tmp_path: Path) -> None:
    rows = ("B11,wheat field", "b13,WHEAT FIELD", "C10,leafy forest", "G11,", "A1,none of these")
    mapping = read_label_mapping(written(tmp_path, *rows), VOCABULARY)
    labels = ["B11", " B13 ", "c10", "G11", "A1", "B12", None, "B12", "town"]
    found = match_points(labels, VOCABULARY, None, mapping)
    assert found.matched.index.tolist() == [0, 0, 1, -1, 3, -1, -1, -1, -1]
    assert found.left_out.tolist() == [False] * 3 + [True] + [False] * 5
    assert found.blank.tolist() == [False] * 6 + [True, False, False]
    assert found.matched.unknown == {"B12": 2, "town": 1}  # a class's own name is not listed
    assert found.near["B12"] in ("B11", "b13")
    assert found.none_named
    assert found.mapped == {"B11": 1, "b13": 1, "C10": 1, "G11": 1, "A1": 1}
    assert "label 'B12' of 2 points is unknown (did you mean" in unknown_lines(found)[0]


def test_without_a_mapping_near_names_are_told() -> None:
    found = match_points(["wheat feild", "town", NONE.upper(), "xyz"], VOCABULARY, None)
    assert found.matched.index.tolist() == [-1, 2, 3, -1]
    assert found.matched.unknown == {"wheat feild": 1, "xyz": 1}
    assert found.near == {"wheat feild": "wheat field"}
    assert not found.left_out.any()


def test_classes_may_be_parents(tmp_path: Path) -> None:
    detailed = load_vocabulary("lucas-land-cover-detailed")
    parent = detailed.parents[0]
    mapping = read_label_mapping(written(tmp_path, f"x,{parent.name}"), detailed)
    found = match_points(["x", "x"], detailed, None, mapping)
    assert found.matched.level == "parent"
    assert found.matched.index.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (["a,wheat feild"], r"the map has no class 'wheat feild' \(did you mean wheat field\?\)"),
        (["a,town", "A,leafy forest"], "the label 'A' has two classes, 'town' and 'leafy forest'"),
        (["a,town", "a,"], "the label 'a' has two classes, 'town' and ''"),
        ([",town"], "the class 'town' stands in a row without a label"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, rows: list[str], problem: str) -> None:
    with pytest.raises(PointsError, match=problem):
        read_label_mapping(written(tmp_path, *rows), VOCABULARY)


def test_a_table_without_its_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="it has no column label and no column class"):
        read_label_mapping(written(tmp_path, "b,town", header="a,town"), VOCABULARY)
