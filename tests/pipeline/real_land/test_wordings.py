import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.real_land import wordings
from pipeline.sample.descriptions import descriptions

FOLDER = Path(wordings.__file__).parent
groups_by_key = {one.key: one for one in wordings.groups()}
GROUPS: list[dict[str, Any]] = tomllib.loads(
    (FOLDER / "wordings.toml").read_text(encoding="utf-8")
)["groups"]
KINDS = ("name", "synonym", "definition", "appearance", "register", "held_out")
FINE_CLASSES = set(
    re.findall(
        r"\w+",
        """
    grassland pasture temporary_grass alfalfa hay sod maize sweet_corn wheat barley oats rye
    triticale sorghum rice soybean cotton sunflower rapeseed safflower peanuts pulses potatoes
    sugar_beet vegetables tomatoes onions_garlic flax clover double_crop_cereal_soybean
    double_crop_cereal_maize fallow irrigated_cropland vineyard almonds walnuts pistachios olives
    citrus apples_pears stone_fruit pomegranates other_orchard forest_tropical forest_broadleaved
    forest_coniferous forest_mixed trees_open deforestation savanna shrubland heath
    herbaceous_wetland woody_wetland bog water bare_rock bare_soil sand urban_dense urban_open
    roads_railway greenhouse snow_ice mangrove burnt_area tea_coffee banana sugarcane oil_palm
    cassava millet quarry
    """,
    )
)
COMMON_GROUPS = set(
    re.findall(
        r"\w+",
        """
    grassland grassland_pasture pasture temporary_grass maize wheat rice soybean cotton vineyard
    almonds alfalfa forest_tropical forest_broadleaved forest_coniferous forest trees trees_open
    deforestation savanna shrubland herbaceous_wetland wetlands water bare_soil bare_land
    urban_dense urban_open urban built_up cropland arable crops annual_crops permanent_crops
    orchards cereals other_land fallow agricultural grass
    """,
    )
)
FEWEST = dict(zip(KINDS, (12, 15, 10, 12, 10, 6), strict=True))


def said(group: dict[str, Any], *kinds: str) -> set[str]:
    """The wordings of a group that are of some kinds."""
    return {wording for kind in kinds for wording in group["words"][kind]}


def content(wording: str) -> tuple[str, ...]:
    """The words of a wording without their order and without articles."""
    words = re.sub(r"[-,/’']", " ", wording).split()
    return tuple(sorted(word for word in words if word not in {"a", "an", "the"}))


def test_a_group_has_its_own_key_and_known_classes() -> None:
    keys = [group["key"] for group in GROUPS]
    assert len(keys) == len(set(keys))
    assert set(keys) >= COMMON_GROUPS
    for group in GROUPS:
        assert set(group) == {"key", "of", "words"}
        assert group["of"]
        assert len(group["of"]) == len(set(group["of"])), group["key"]
        assert set(group["of"]) <= FINE_CLASSES, group["key"]
        assert tuple(group["words"]) == KINDS, group["key"]


def test_each_class_has_wordings_of_its_own() -> None:
    assert {group["of"][0] for group in GROUPS if len(group["of"]) == 1} == FINE_CLASSES
    assert len({frozenset(group["of"]) for group in GROUPS}) == len(GROUPS)


def test_common_groups_have_many_wordings_of_each_kind_and_others_half_as_many() -> None:
    for group in GROUPS:
        for kind, fewest in FEWEST.items():
            is_full = group["key"] in COMMON_GROUPS or kind == "held_out"
            needed = fewest if is_full else (fewest + 1) // 2
            assert len(group["words"][kind]) >= needed, (group["key"], kind)


def test_a_wording_is_a_lower_case_phrase_without_a_stop() -> None:
    """So that it stands in "a photo of {}." and alone."""
    for group in GROUPS:
        for wording in said(group, *KINDS):
            assert wording == wording.lower(), wording
            assert wording == " ".join(wording.split()), wording
            assert wording[-1] not in ".;:!?", wording
        for definition in said(group, "definition"):
            assert 4 <= len(definition.split()) <= 14, definition


def test_a_wording_is_in_one_group_or_in_one_and_a_wider_one() -> None:
    places = defaultdict(list)
    for group in GROUPS:
        wordings = [wording for kind in KINDS for wording in group["words"][kind]]
        assert len(wordings) == len(set(wordings)), group["key"]
        for wording in wordings:
            places[wording].append(set(group["of"]))
    for wording, classes in places.items():
        narrow, wide = min(classes, key=len), max(classes, key=len)
        assert len(classes) <= 2, wording
        assert narrow <= wide, wording


def test_held_out_wordings_are_said_nowhere_else() -> None:
    """Nor with the same words in another order."""
    held = [wording for group in GROUPS for wording in group["words"]["held_out"]]
    assert len(held) == len(set(held))
    learned = {wording for group in GROUPS for wording in said(group, *KINDS[:-1])}
    assert not set(held) & learned
    assert not {content(wording) for wording in held} & {content(wording) for wording in learned}


def test_what_the_sample_holds_out_is_held_out() -> None:
    held = {wording for group in GROUPS for wording in group["words"]["held_out"]}
    assert {one.wording for one in descriptions() if one.is_held_out} <= held


def test_groups_say_which_classes_they_are_true_of() -> None:
    maize, cereals, crops = (groups_by_key[key] for key in ("maize", "cereals", "annual_crops"))
    either = frozenset({"maize", "soybean"})
    assert maize.is_true_of(frozenset({"maize"}))
    assert not maize.is_true_of(either)
    assert maize.may_be_true_of(either)
    assert cereals.may_be_true_of(either)
    assert not cereals.is_true_of(either)
    assert crops.is_true_of(either)
    assert not crops.may_be_true_of(frozenset({"water"}))
    with pytest.raises(KeyError, match="'moon'"):
        wordings.group("moon")


def test_held_out_wordings_are_not_among_those_seen() -> None:
    rice = wordings.group("rice")
    assert set(rice.seen) == {word for words in rice.words.values() for word in words}
    assert rice.held_out
    assert not set(rice.seen) & set(rice.held_out)
