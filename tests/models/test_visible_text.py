"""Text of others is safe to show: no control character stays as it is."""

import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import UserError, WorldError
from models.visible_text import is_visible, visible_lines, visible_text

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
FORGED = "S2A\x1b[2J\x1b]0;owned\x07\r\nError: all is well\x9b31m\u202eevil\ud800\x00\x7f"


def _unsafe(text: str) -> list[str]:
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in BIDI]


@given(st.text(st.characters()))
def test_no_control_character_stays(text: str) -> None:
    for shown in (visible_text(text), visible_lines(text)):
        assert not set(_unsafe(shown)) - {"\n", "\t"}
        shown.encode()
    assert is_visible(visible_text(text))
    assert visible_text(visible_text(text)) == visible_text(text)
    assert is_visible(text) == (not _unsafe(text) and "\ufffe" not in text and "\uffff" not in text)
    if is_visible(text):
        assert visible_text(text) == visible_lines(text) == text


def test_what_becomes_of_them() -> None:
    shown = r"S2A\x1b[2J\x1b]0;owned\x07 Error: all is well\x9b31m\u202eevil\ud800\x00\x7f"
    assert visible_text(FORGED) == shown
    assert visible_lines(FORGED) == shown.replace(" Error", "\nError")
    assert visible_lines("a\rb\tc\nd") == "a\\rb\tc\nd"
    assert visible_text("a \n\n b\u2028c") == "a b c"
    assert visible_text("Wälder, 森林, غابة ➜ 🌲") == "Wälder, 森林, غابة ➜ 🌲"


def test_errors_are_one_line_of_bounded_length_and_travel_between_processes() -> None:
    error = UserError(f"item {FORGED}", "x" * 10**6, "a\nb")
    assert not _unsafe(str(error))
    assert error.remedy == "a b"
    assert len(str(error)) < 10_000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert not _unsafe(str(WorldError(FORGED)))


@pytest.mark.parametrize("sign", [*BIDI, "\x1b", "\n", "\x9b", "\u2028"])
def test_a_name_of_a_class_has_none(sign: str) -> None:
    from models.errors import VocabularyError
    from models.vocabulary.vocabulary import vocabulary_from_words

    with pytest.raises(VocabularyError, match="control character"):
        vocabulary_from_words(f"for{sign}est, lake")
