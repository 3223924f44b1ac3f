"""The vocabularies that come with timesen: whole by the structure of their codes."""

import itertools
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.vocabulary.colours import _oklab, _rgb
from models.vocabulary.vocabulary import load_vocabulary, make_vocabulary, shipped_vocabularies
from models.vocabulary.vocabulary_class import VocabularyParent

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTATION = ROOT / "docs" / "vocabularies.md"
DISTINCT = 0.05
"""Between colours made by rule, in OKLab; a just noticeable difference is about 0.02."""
OFFICIAL = 0.01
"""Official legends are what they are: the EEA's greys, the Atlas's greens."""
_LEGENDS = {"eunis-habitats", "iucn-ecosystems", "corine-land-cover"}


def _codes(name: str) -> list[str]:
    return [entry.code or "" for entry in load_vocabulary(name).classes]


def _closest(entries: tuple[VocabularyParent, ...]) -> float:
    lab = _oklab(np.array([_rgb(entry.colour) for entry in entries], np.uint8))
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(lab, 2))


def test_the_documentation_lists_them_with_their_numbers_of_classes() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+)", DOCUMENTATION.read_text(), re.MULTILINE)
    shipped = {name: len(load_vocabulary(name).classes) for name in shipped_vocabularies()}
    assert {name: int(count) for name, count in rows} == shipped


def test_the_documentations_example_is_a_vocabulary() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
    vocabulary = make_vocabulary(tomllib.loads(example), "docs/vocabularies.md")
    assert vocabulary.parent_index.tolist() == [0, 0, 1]


@pytest.mark.parametrize("name", shipped_vocabularies())
def test_shipped_vocabularies_are_whole(name: str) -> None:
    vocabulary = load_vocabulary(name)
    assert vocabulary.name == name
    assert vocabulary.title
    assert vocabulary.source
    assert vocabulary.licence
    assert vocabulary.dtype == np.uint8
    prompts = [phrase.casefold() for entry in vocabulary.classes for phrase in entry.phrases]
    assert len(set(prompts)) == len(prompts), "one prompt cannot mean two classes"
    assert all(len(entry.phrases) > 1 for entry in vocabulary.classes), "a single wording"
    least = OFFICIAL if name in _LEGENDS else DISTINCT
    assert _closest(vocabulary.classes) > least
    if vocabulary.parents:
        assert _closest(vocabulary.parents) > DISTINCT


def _held_out(part: Any) -> Iterator[str]:
    """The wordings of all lists `held_out` within a TOML document."""
    children = part.items() if isinstance(part, dict) else enumerate(part)
    for key, child in children:
        if key == "held_out":
            yield from child
        elif isinstance(child, dict | list):
            yield from _held_out(child)


def test_words_that_checkpoints_never_train_on_are_in_none() -> None:
    """Else what a map by a shipped vocabulary is worth would say nothing of new words."""
    files = (ROOT / "pipeline").rglob("*.toml")
    held_out = {
        wording.casefold()
        for file in files
        for wording in _held_out(tomllib.loads(file.read_text(encoding="utf-8")))
    }
    assert len(held_out) > 50
    for name in shipped_vocabularies():
        phrases = {p.casefold() for entry in load_vocabulary(name).classes for p in entry.phrases}
        assert not phrases & held_out, name


@pytest.mark.parametrize(
    ("name", "unlike"),
    [
        ("corine-land-cover", ("12", "14", "24", "33")),
        ("eunis-habitats", ("B1", "G5", "J4")),
        ("lucas-land-cover", ("A", "B", "F", "G")),
        ("lucas-land-use", ("U111", "U350", "U362")),
        ("iucn-ecosystems", ("T7.3", "T7.4")),
        ("esa-worldcover", ("Bare / sparse vegetation",)),
        ("cropland", ("cropland", "other land")),
    ],
)
def test_classes_of_unlike_things_have_members(name: str, unlike: tuple[str, ...]) -> None:
    members = {entry.key: entry.members for entry in load_vocabulary(name).classes}
    assert all(len(members[key]) > 1 for key in unlike)


@pytest.mark.parametrize(
    ("name", "count", "parents"),
    [
        ("corine-land-cover", 15, 5),
        ("eea-bioregions", 11, 0),
        ("esa-worldcover", 11, 0),
        ("eunis-habitats", 49, 9),
        ("iucn-ecosystems", 63, 11),
        ("lucas-crops", 40, 7),
        ("lucas-land-cover", 8, 0),
        ("lucas-land-cover-detailed", 74, 8),
        ("lucas-land-use", 40, 16),
    ],
)
def test_none_is_missing(name: str, count: int, parents: int) -> None:
    vocabulary = load_vocabulary(name)
    assert (len(vocabulary.classes), len(vocabulary.parents)) == (count, parents)


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("corine-land-cover", r"\d"),
        ("eunis-habitats", "[B-J]"),
        ("iucn-ecosystems", r"(?:T|F|TF)\d"),
        ("lucas-crops", r"B\d"),
        ("lucas-land-cover-detailed", "[A-H]"),
        ("lucas-land-use", r"U\d\d"),
    ],
)
def test_a_parent_is_the_head_of_its_classes_codes(name: str, parent: str) -> None:
    for entry in load_vocabulary(name).classes:
        head = re.match(parent, entry.code or "")
        assert head is not None
        assert entry.parent in (head[0], f"{head[0]}0")  # LUCAS fills up its headings' codes


@pytest.mark.parametrize(
    "name", [name for name in shipped_vocabularies() if load_vocabulary(name).parents]
)
def test_classes_lie_in_the_order_of_their_parents(name: str) -> None:
    vocabulary = load_vocabulary(name)
    assert (np.diff(vocabulary.parent_index) >= 0).all()
    values = [entry.value for entry in vocabulary.classes]
    assert values == sorted(values)


def _runs(codes: list[str]) -> dict[str, int]:
    """How many codes share all but the last sign; raises where their last signs leave a gap."""
    heads: dict[str, list[str]] = {}
    for code in codes:
        heads.setdefault(code[:-1], []).append(code[-1])
    for head, last in heads.items():
        assert last == [*"123456789AB"][: len(last)], f"gap after {head}: {last}"
    return {head: len(last) for head, last in heads.items()}


def test_lucas_land_cover_is_level_1() -> None:
    classes = load_vocabulary("lucas-land-cover").classes
    assert "".join(entry.code or "" for entry in classes) == "ABCDEFGH"
    assert [entry.value for entry in classes] == list(range(1, 9))


def test_lucas_detailed_classes_are_those_of_the_survey() -> None:
    codes = _codes("lucas-land-cover-detailed")
    assert codes == sorted(codes)
    assert Counter(code[0] for code in codes) == {
        **{"A": 6, "B": 40, "C": 7, "D": 2, "E": 3, "F": 4, "G": 7, "H": 5}
    }
    final = [code for code in codes if code[2] != "0"]  # a heading without classes ends in 0
    assert _runs(final) == {
        **{"A1": 3, "A2": 2, "B1": 9, "B2": 3, "B3": 7, "B4": 5, "B5": 5, "B7": 7, "B8": 4},
        **{"C2": 3, "C3": 3, "G1": 2, "G2": 2, "H1": 2, "H2": 3},
    }
    assert [code for code in codes if code[2] == "0"] == [
        *("A30", "C10", "D10", "D20", "E10", "E20", "E30", "F10", "F20", "F30", "F40"),
        *("G30", "G40", "G50"),
    ]
    level_1 = load_vocabulary("lucas-land-cover").classes
    parents = load_vocabulary("lucas-land-cover-detailed").parents
    assert [(p.code, p.name, p.colour) for p in parents] == [
        (entry.code, entry.name, entry.colour) for entry in level_1
    ]


def test_lucas_crops_are_the_croplands_of_the_detailed_classes() -> None:
    crops = {entry.code: entry for entry in load_vocabulary("lucas-crops").classes}
    detailed = load_vocabulary("lucas-land-cover-detailed").classes
    cropland = {entry.code: entry for entry in detailed if entry.parent == "B"}
    assert list(crops) == list(cropland)
    for code, crop in crops.items():
        assert (crop.name, crop.synonyms) == (cropland[code].name, cropland[code].synonyms)


def test_lucas_land_use_is_whole() -> None:
    codes = _codes("lucas-land-use")
    assert codes == sorted(codes)
    assert _runs([code for code in codes if code[3] != "0"]) == {
        **{"U11": 3, "U22": 8, "U31": 9, "U32": 2, "U34": 2, "U36": 2, "U41": 5}
    }
    assert [code for code in codes if code[3] == "0"] == [
        *("U120", "U130", "U140", "U150", "U210", "U330", "U350", "U370", "U420")
    ]


def test_eunis_has_the_values_of_the_eeas_map() -> None:
    classes = load_vocabulary("eunis-habitats").classes
    assert _runs([entry.code or "" for entry in classes]) == {
        **{"B": 3, "C": 3, "D": 6, "E": 7, "F": 11, "G": 5, "H": 6, "I": 2, "J": 6}
    }
    assert [entry.value for entry in classes] == list(range(11, 60))
    coniferous = next(entry for entry in classes if entry.code == "G3")
    assert (coniferous.value, coniferous.colour) == (43, "#00a600")


def test_iucn_groups_are_numbered_without_gaps() -> None:
    vocabulary = load_vocabulary("iucn-ecosystems")
    found: dict[str, list[int]] = {}
    for entry in vocabulary.classes:
        biome, _, number = (entry.code or "").partition(".")
        found.setdefault(biome, []).append(int(number))
    assert {biome: len(numbers) for biome, numbers in found.items()} == {
        **{"T1": 4, "T2": 6, "T3": 4, "T4": 5, "T5": 5, "T6": 5, "T7": 5},
        **{"TF1": 7, "F1": 7, "F2": 10, "F3": 5},
    }
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in found.values())
    # The Atlas leaves room for more after each biome: its values are not a plain count.
    by_code = {entry.code: entry.value for entry in vocabulary.classes}
    assert (by_code["T1.1"], by_code["T7.5"], by_code["F3.5"]) == (1, 50, 111)


def test_corine_has_its_codes_as_values_and_its_colours() -> None:
    vocabulary = load_vocabulary("corine-land-cover")
    codes = [entry.code or "" for entry in vocabulary.classes]
    assert _runs(codes) == {"1": 4, "2": 4, "3": 3, "4": 2, "5": 2}
    assert [entry.value for entry in vocabulary.classes] == [int(code) for code in codes]
    first = {entry.parent: entry.colour for entry in reversed(vocabulary.classes)}
    assert {parent.code: parent.colour for parent in vocabulary.parents} == first
    assert first["1"] == "#e6004d"  # 111, continuous urban fabric: 230-000-077


def test_bioregions_have_the_directives_codes() -> None:
    codes = _codes("eea-bioregions")
    assert codes == sorted(codes)
    names = [entry.name for entry in load_vocabulary("eea-bioregions").classes]
    for code, name in zip(codes, names, strict=True):
        assert code == ("BLS" if name == "Black Sea" else name[:3].upper())


def test_esa_worldcover_has_the_official_values() -> None:
    classes = {entry.value: entry.colour for entry in load_vocabulary("esa-worldcover").classes}
    assert sorted(classes) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100]
    assert classes[10] == "#006400"
    assert classes[95] == "#00cf75"


def test_sample_landscape_is_in_the_archives_order() -> None:
    classes = load_vocabulary("sample-landscape").classes
    assert [entry.value for entry in classes] == list(range(1, 13))
    assert [entry.code for entry in classes] == [
        *("wheat", "maize", "rapeseed", "potato", "grassland", "broadleaved", "coniferous"),
        *("shrubland", "wetland", "water", "bare", "built-up"),
    ]
