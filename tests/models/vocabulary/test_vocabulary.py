"""Vocabularies as they are read: defaults, mistakes, words, values."""

from pathlib import Path

import numpy as np
import pytest

from models.errors import VocabularyError
from models.vocabulary.vocabulary import (
    Vocabulary,
    load_vocabulary,
    make_vocabulary,
    vocabulary_from_words,
)

HEAD = 'name = "mine"\ntitle = "Mine"\nsource = "me"\nlicence = "CC0"\n'
TWO = '[[classes]]\nname = "forest"\ncolour = "#117733"\n[[classes]]\nname = "lake"\n'


def _load(folder: Path, text: str) -> Vocabulary:
    path = folder / "mine.toml"
    path.write_text(text)
    return load_vocabulary(path)


def test_a_short_file_takes_defaults(tmp_path: Path) -> None:
    forest, lake = _load(tmp_path, HEAD + TWO).classes
    assert (forest.prompts, forest.value, forest.code) == (("forest",), 1, None)
    assert (forest.colour, lake.value) == ("#117733", 2)
    assert lake.colour not in ("#117733", "#000000", "#ffffff")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert len(_load(tmp_path, "\ufeff" + HEAD + TWO).classes) == 2


def test_a_vocabulary_survives_json() -> None:
    vocabulary = load_vocabulary("lucas-land-cover-detailed")
    assert Vocabulary.model_validate_json(vocabulary.model_dump_json()) == vocabulary


def _class(**entries: str) -> str:
    lines = {"name": '"forest"', **entries}
    return "[[classes]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())


LAKE = _class(name='"lake"')
WET = '[[parents]]\nname = "wet land"\ncode = "W"\n'
DRY = '[[parents]]\nname = "dry land"\n'
IN_DRY, IN_WET = _class(parent='"dry land"'), _class(name='"lake"', parent='"W"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + 'color = "red"\n' + TWO, "color: unknown key"),
        (HEAD + _class(color='"#112233"') + LAKE, r"class 1, color: unknown key \(did you mean co"),
        (HEAD + _class() + _class(name='"Forest "'), "name forest occurs more than once"),
        (HEAD + _class(code='"C1"') + _class(name='"lake"', code='"C1"'), "code C1 occurs more"),
        (HEAD + _class(value="7") + _class(name='"lake"', value="7"), "value 7 occurs more"),
        (HEAD + _class(value="2") + LAKE, "value 2 occurs more"),  # lake's own place is 2
        (HEAD + _class(), "'forest' is its only class"),
        (HEAD + "classes = []\n", "it has no classes"),
        (HEAD, "classes: it is missing"),
        (HEAD + _class(prompts="[]") + LAKE, "class 1, prompts: it must have 1 value or more"),
        (HEAD + _class(prompts='["wood", " "]') + LAKE, "class 1, prompts: no prompt may be empty"),
        (HEAD + _class(members="[]") + LAKE, "class 1, members: it must have 1 value or more"),
        (
            HEAD + _class(members='["wood", []]') + LAKE,
            "class 1, member 2: it must have 1 v",
        ),
        (
            HEAD + _class(members='["wood", " "]') + LAKE,
            "class 1, member 2: no prompt may be empty",
        ),
        (HEAD + _class(members='["wood", 3]') + LAKE, "class 1, member 2: it must be a list"),
        (HEAD + _class(members='"wood"') + LAKE, "class 1, members: it must be a list"),
        (
            HEAD + _class(members='["wood"]', prompts='["trees"]') + LAKE,
            "class 1: has both prompts and members",
        ),
        (
            HEAD + 'background = ["Sky"]\n' + _class(members='["wood", "sky"]') + LAKE,
            "background: 'Sky' also means a class",
        ),
        (HEAD + _class(name='" "') + LAKE, "class 1, name: is empty"),
        (HEAD + _class(name='"a\\u0001b"') + LAKE, "class 1, name: has a line break or another"),
        (HEAD + _class(name='"a\\nb"') + LAKE, "class 1, name: has a line break or another"),
        (HEAD + _class(colour='"red"') + LAKE, "class 1, colour: 'red' is no colour"),
        (HEAD + _class(colour='"#12345"') + LAKE, "'#12345' is no colour"),
        (HEAD + _class(colour='"#gggggg"') + LAKE, "'#gggggg' is no colour"),
        (HEAD + _class(colour="5") + LAKE, "class 1, colour: "),
        (HEAD + _class(value="0") + LAKE, "class 1, value: 0 is outside 1 to 65534"),
        (HEAD + _class(value="65536") + LAKE, "65536 is outside 1 to 65534"),
        (HEAD + _class(value='"3"') + LAKE, "class 1, value: .*it must be a whole number"),
        (HEAD + _class(value="true") + LAKE, "class 1, value: .*it must be a whole number"),
        (HEAD + 'templates = ["a photo."]\n' + TWO, "'a photo.' must hold one slot"),
        (HEAD + 'templates = ["{} and {}"]\n' + TWO, "must hold one slot"),
        (HEAD + 'templates = ["{} and {a}"]\n' + TWO, "must hold one slot"),
        (HEAD + "templates = []\n" + TWO, "templates: "),
        (HEAD + _class() + "[[classes]]\ncode = 'x'\n", "class 2, name: it is missing"),
        (HEAD + "classes = 3\n", "classes: "),
        (HEAD + "[[classes]\n", r"not valid TOML .*line 5"),
        (TWO, "title: it is missing"),
        (HEAD + _class(value="65535") + LAKE, "65535 is outside 1 to 65534"),
        (HEAD + _class(code='""') + LAKE, "class 1, code: is empty"),
        (HEAD + _class(bias="nan") + LAKE, "class 1, bias: .*finite"),
        (HEAD + _class(bias="inf") + LAKE, "class 1, bias: .*finite"),
        (HEAD + _class(bias='"0.5"') + LAKE, "class 1, bias: .*number"),
        (HEAD + _class(bias="true") + LAKE, "class 1, bias: .*number"),
        (HEAD + 'background = ["sky", ""]\n' + TWO, "background: no prompt may be empty"),
        (HEAD + 'background = "sky"\n' + TWO, "background: it must be a list"),
        (HEAD + 'background = ["Forest"]\n' + TWO, "background: 'Forest' also means a class"),
        (HEAD + WET + DRY + IN_DRY + LAKE, "class 2, parent: 'lake' names none"),
        (HEAD + WET + DRY + IN_DRY, "parents: W without a class"),
        (HEAD + IN_DRY + LAKE, "parent: forest name one, and there are no parents"),
        (
            HEAD + WET + DRY + _class(parent='"dry lnd"') + IN_WET,
            r"class 1, parent: 'dry lnd' is none of the parents \(did you mean dry land\?\)",
        ),
        (
            HEAD + WET + DRY + IN_DRY + _class(name='"lake"', parent='"wet land"'),
            r"class 2, parent: 'wet land' is none .*did you mean dry land",  # its code is W
        ),
        (HEAD + WET + WET + IN_DRY + IN_WET, "parents: name wet land occurs more than once"),
        (HEAD + WET + "value = 0\n" + IN_WET, "parent 1, value: 0 is outside"),
        (HEAD + WET + 'colour = "blue"\n' + IN_WET, "parent 1, colour: 'blue' is no colour"),
        (HEAD + WET + 'prompts = ["wet"]\n' + IN_WET, "parent 1, prompts: unknown key"),
        (HEAD + WET + 'colur = "x"\n' + IN_WET, r"parent 1, colur: .*did you mean colour\?"),
        (HEAD + _class(parnt='"W"') + LAKE, r"class 1, parnt: .*did you mean parent\?"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        _load(tmp_path, text)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"class 1, colour: .*; class 2, value: "):
        _load(tmp_path, HEAD + _class(colour='"red"') + _class(name='"lake"', value="0"))


def test_mistakes_between_classes_are_all_named(tmp_path: Path) -> None:
    twice = _class(code='"C1"', value="7") + _class(name='"Forest"', code='"C1"', value="7")
    with pytest.raises(VocabularyError, match=r"name forest .*; code C1 .*; value 7 .*; .*sky"):
        _load(tmp_path, HEAD + 'background = ["sky"]\n' + twice + _class(name='"sky"'))


def test_parents_take_the_classes_defaults(tmp_path: Path) -> None:
    vocabulary = _load(tmp_path, HEAD + WET + DRY + IN_DRY + IN_WET)
    wet, dry = vocabulary.parents
    assert (wet.key, wet.value, dry.key, dry.value) == ("W", 1, "dry land", 2)
    assert wet.colour != dry.colour
    np.testing.assert_array_equal(vocabulary.parent_index, [1, 0])


def test_without_parents_there_is_no_index_of_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine has no parents"):
        _ = _load(tmp_path, HEAD + TWO).parent_index


def test_a_parents_value_counts_for_the_raster_too(tmp_path: Path) -> None:
    parents = WET + "value = 255\n" + DRY
    vocabulary = _load(tmp_path, HEAD + parents + IN_DRY + IN_WET)
    assert (vocabulary.dtype, vocabulary.none_value) == (np.uint16, 65535)


def test_members_are_lists_of_phrases_or_single_ones(tmp_path: Path) -> None:
    members = '[["woodland", " forest "], ["lake", "river"], "town"]'
    other, field = _load(tmp_path, HEAD + _class(name='"other"', members=members) + LAKE).classes
    assert other.members == other.synonyms == (("woodland", "forest"), ("lake", "river"), ("town",))
    assert other.phrases == ("woodland", "forest", "lake", "river", "town")
    assert other.prompts == ()
    assert (field.members, field.synonyms, field.phrases) == ((), (("lake",),), ("lake",))


def test_a_vocabulary_with_members_survives_json_and_dicts(tmp_path: Path) -> None:
    vocabulary = _load(tmp_path, HEAD + _class(members='["wood", ["grove", "copse"]]') + LAKE)
    assert Vocabulary.model_validate_json(vocabulary.model_dump_json()) == vocabulary
    assert make_vocabulary(vocabulary.model_dump(), "again") == vocabulary
    forest, lake = vocabulary.model_dump()["classes"]
    assert "prompts" not in forest
    # A run is known by this text: that of a class without members is as it always was.
    assert list(lake) == ["name", "colour", "code", "value", "prompts", "parent", "bias"]


def test_bias_is_zero_by_default(tmp_path: Path) -> None:
    forest, lake = _load(tmp_path, HEAD + _class(bias="-1") + LAKE).classes
    assert (forest.bias, lake.bias) == (-1.0, 0.0)


@pytest.mark.parametrize("name", ["lucas", "no/such.toml", ".", "lake, " * 99])
def test_unknown_names_list_the_shipped(name: str) -> None:
    with pytest.raises(VocabularyError, match=r"Shipped are: .*lucas-land-cover"):
        load_vocabulary(name)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VocabularyError, match="it is no text"):
        load_vocabulary(tmp_path / "mine.toml")


def test_words_become_classes() -> None:
    vocabulary = vocabulary_from_words(" Wheat field, maize field ,forest,lake,")
    assert [c.name for c in vocabulary.classes] == ["Wheat field", "maize field", "forest", "lake"]
    assert [c.value for c in vocabulary.classes] == [1, 2, 3, 4]
    assert vocabulary == vocabulary_from_words("Wheat field,maize field,forest,lake")


def test_a_class_in_words_may_have_members() -> None:
    vocabulary = vocabulary_from_words("cropland, other: forest |water| town , rock|sand, wet: fen")
    assert vocabulary.title == "cropland, other, rock | sand, wet"
    assert [(entry.name, entry.synonyms) for entry in vocabulary.classes] == [
        ("cropland", (("cropland",),)),
        ("other", (("forest",), ("water",), ("town",))),
        ("rock | sand", (("rock",), ("sand",))),
        ("wet", (("fen",),)),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("field, other:", "'other:' lacks a phrase for each of its members"),
        ("field, other: forest | | lake", "'other: forest | | lake' lacks a phrase"),
        ("field, forest |", r"'forest \|' lacks a phrase"),
        ("field, : forest | lake", "': forest | lake' lacks a name before its colon"),
    ],
)
def test_members_in_words_that_are_missing_are_named(words: str, message: str) -> None:
    with pytest.raises(VocabularyError, match=f"{message}.*Write members as in"):
        vocabulary_from_words(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "it has no classes"),
        (" , ", "it has no classes"),
        ("forest", "only class"),
        ("forest, lake, FOREST", "name forest occurs more than once"),
    ],
)
def test_words_that_make_no_map_are_refused(words: str, message: str) -> None:
    with pytest.raises(VocabularyError, match=f"{message}.*separated by commas"):
        vocabulary_from_words(words)


def test_more_than_254_classes_take_uint16() -> None:
    def vocabulary(count: int) -> Vocabulary:
        return vocabulary_from_words(",".join(f"class {index}" for index in range(count)))

    assert (vocabulary(254).dtype, vocabulary(254).none_value) == (np.uint8, 255)
    assert (vocabulary(255).dtype, vocabulary(255).none_value) == (np.uint16, 65535)
    assert vocabulary(300).dtype == np.uint16
