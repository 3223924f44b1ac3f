"""Labelled points for a run: whose labels are classes, and which lie in the region."""

from pathlib import Path

import numpy as np
import pytest

from models.vocabulary.vocabulary import load_vocabulary, vocabulary_from_words
from pipeline.grid.region import read_region
from pipeline.mapping.example_points import ExamplePoints, read_example_points
from pipeline.point_series.point_file import PointsError

REGION = read_region("5.9,49.4,6.6,50.2")
WORDS = vocabulary_from_words("wheat field, leafy forest, lake")


def points(folder: Path, *rows: str) -> Path:
    path = folder / "points.csv"
    path.write_text("\n".join(["lon,lat,cover", *rows]) + "\n")
    return path


def read(path: Path) -> ExamplePoints:
    return read_example_points(path, "cover", WORDS, REGION)


def test_points_of_the_region_with_a_label(tmp_path: Path) -> None:
    path = points(
        tmp_path, "6.1,49.6,Lake", "6.2,49.7, WHEAT field", "7,49.6,lake", ",,lake", "6.3,49.7,"
    )
    examples = read(path)
    assert examples.classes.tolist() == [2, 0]
    np.testing.assert_array_equal(examples.places.lon, [6.1, 6.2])
    assert (examples.given, examples.outside, examples.unlabelled) == (5, 2, 1)


def test_codes_are_labels_too(tmp_path: Path) -> None:
    vocabulary = load_vocabulary("lucas-land-cover")
    path = points(tmp_path, "6.1,49.6,g", "6.2,49.7,B")
    found = read_example_points(path, "cover", vocabulary, REGION)
    assert [vocabulary.classes[place].code for place in found.classes] == ["G", "B"]


def test_labels_that_are_no_class_are_named_with_near_ones(tmp_path: Path) -> None:
    path = points(tmp_path, "6.1,49.6,forest leafy", "6.2,49.7,leafy forrest", "6.2,49.7,moon")
    with pytest.raises(PointsError) as failure:
        read(path)
    assert "'leafy forrest' (1 points, did you mean leafy forest?)" in str(failure.value)
    assert "'moon' (1 points)" in str(failure.value)
    assert "wheat field, leafy forest, lake" in str(failure.value)


def test_no_point_in_the_region_is_a_mistake(tmp_path: Path) -> None:
    path = points(tmp_path, "7,49.6,lake", "6.1,49.6,")
    with pytest.raises(PointsError, match="none of its 2 points can be an example"):
        read(path)


def test_too_many_points_are_a_mistake(tmp_path: Path) -> None:
    path = points(tmp_path, *(["6.1,49.6,lake"] * 4001))
    with pytest.raises(PointsError, match="4,001 examples, and at most 4,000"):
        read(path)


def test_a_column_that_is_missing_is_a_mistake(tmp_path: Path) -> None:
    path = points(tmp_path, "6.1,49.6,lake")
    with pytest.raises(PointsError, match="no column 'class'"):
        read_example_points(path, "class", WORDS, REGION)


def test_the_fingerprint_follows_places_and_classes(tmp_path: Path) -> None:
    first = read(points(tmp_path, "6.1,49.6,lake")).fingerprint
    assert read(points(tmp_path, "6.1,49.6,LAKE", "6.1,49.6,")).fingerprint == first
    assert read(points(tmp_path, "6.1,49.6,wheat field")).fingerprint != first
    assert read(points(tmp_path, "6.1001,49.6,lake")).fingerprint != first
