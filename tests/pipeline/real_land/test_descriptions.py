import pytest

from models.vocabulary.prompts import TEMPLATES, sentences
from pipeline.real_land.descriptions import group_of, groups, groups_with, held_out
from pipeline.real_land.rows import SENTENCES


def test_no_training_sees_a_held_out_wording() -> None:
    """Not in any sentence, whichever group says it."""
    seen = {wording for group in groups() for wording in group.seen}
    held = {wording for group in groups() for wording in group.held_out}
    assert not seen & held
    assert not set(sentences(sorted(seen), SENTENCES)) & set(sentences(sorted(held), TEMPLATES))


def test_no_wording_is_in_two_groups() -> None:
    wordings = [wording for group in groups() for wording in (*group.seen, *group.held_out)]
    assert len(wordings) == len(set(wordings))
    for group in groups():
        assert group.seen
        assert group.held_out
        assert len(set(group.of)) == len(group.of)
    assert len({group.name for group in groups()}) == len(groups())


def test_a_class_shares_wordings_with_others() -> None:
    names = [group.name for group in groups_with("rye")]
    assert names[0] == "rye"
    assert len(names) == 4
    assert group_of(("barley", "wheat", "oats", "rye", "triticale")).seen[0] == "cereals"
    with pytest.raises(KeyError, match="trees, water"):
        group_of(("water", "trees"))


def test_classes_have_equally_many_held_out_wordings() -> None:
    wordings = held_out([("grasslands",), ("shrubland",), ("maize",)])
    assert [len(words) for words in wordings] == [2, 2, 2]
    assert wordings[0] == group_of(("grasslands",)).held_out[:2]
