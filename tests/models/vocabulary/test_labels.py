"""Labels → classes: names, codes, numbers, finer codes, parents."""

from models.vocabulary.labels import UNMATCHED, match_labels
from models.vocabulary.vocabulary import load_vocabulary, vocabulary_from_words

COARSE = load_vocabulary("lucas-land-cover")
DETAILED = load_vocabulary("lucas-land-cover-detailed")


def names(found_index: object, entries: object) -> list[str | None]:
    return [None if k == UNMATCHED else entries[k].name for k in found_index]  # type: ignore


def test_names_and_codes_whatever_their_case() -> None:
    found = match_labels([" cropland", "B", "WATER", "g", None, "", "moon", "moon"], COARSE)
    assert names(found.index, COARSE.classes) == [
        "Cropland", "Cropland", "Water", "Water", None, None, None, None,
    ]  # fmt: skip
    assert found.unknown == {"moon": 2}
    assert found.blank == 2
    assert found.level == "class"
    assert found.finer == {}


def test_finer_codes_of_a_nomenclature() -> None:
    found = match_labels(["B11", "Bx1", "C10", "Bare", "A"], COARSE)
    assert names(found.index, COARSE.classes) == [
        "Cropland", "Cropland", "Woodland", None, "Artificial land",
    ]  # fmt: skip
    assert found.finer == {"B11": "Cropland", "Bx1": "Cropland", "C10": "Woodland"}
    corine = load_vocabulary("corine-land-cover")
    found = match_labels(["112", "11", "1"], corine)
    assert names(found.index, corine.classes) == ["Urban fabric", "Urban fabric", None]


def test_numbers_where_there_are_no_codes() -> None:
    worldcover = load_vocabulary("esa-worldcover")
    found = match_labels(["10", "40", "101"], worldcover)
    assert names(found.index, worldcover.classes) == ["Tree cover", "Cropland", None]


def test_whole_numbers_as_tables_with_empty_cells_write_them() -> None:
    worldcover = load_vocabulary("esa-worldcover")
    found = match_labels(["10.0", "40.00", "40.5", None], worldcover)
    assert names(found.index, worldcover.classes) == ["Tree cover", "Cropland", None, None]
    assert found.finer == {}
    corine = load_vocabulary("corine-land-cover")
    assert names(match_labels(["112.0"], corine).index, corine.classes) == ["Urban fabric"]


def test_parents() -> None:
    labels = ["A", "B", "Cropland", "B11"]
    found = match_labels(labels, DETAILED)
    assert found.level == "parent"
    assert names(found.index, DETAILED.parents) == [
        "Artificial land", "Cropland", "Cropland", "Cropland",
    ]  # fmt: skip
    at_classes = match_labels(labels, DETAILED, "class")
    assert (at_classes.index != UNMATCHED).tolist() == [False, False, False, True]
    assert match_labels(["B11", "B12", "B"], DETAILED).level == "class"


def test_words() -> None:
    words = vocabulary_from_words("wheat field, lake")
    assert match_labels(["Lake", "wheat field", "3"], words).index.tolist() == [1, 0, UNMATCHED]
