"""TOML of users: whatever is wrong with a file is said, at once."""

import time

import pytest

from models.errors import UserError
from models.files.toml_file import parse_toml


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = " + b"[" * 100_000, "nested too deep"),
        (b"a = " + b"{a = " * 100_000, "nested too deep"),
        (b"a" + b".a" * 100_000 + b" = 1", "more than 64 parts"),
        (b"[a" + b" . 'a'" * 100_000 + b"]", "more than 64 parts"),
        (b"x = {" + b"a." * 100_000 + b"a = 1}", "more than 64 parts"),
        (b"a = " + b"9" * 5000, "thousands of digits"),
        ("a = 1".encode("utf-16"), "UTF-16"),
        ("a = 1".encode("utf-16-le"), "UTF-16"),
        (b"a = '\x00'", "no text"),
        (b"a = '\xe9'", "not UTF-8"),
        (b"a = 1\na = 2", "not valid TOML"),
        (b"a = '\x1b'", "not valid TOML"),
    ],
)
def test_what_is_no_toml(content: bytes, problem: str) -> None:
    began = time.monotonic()
    with pytest.raises(UserError, match=problem) as refused:
        parse_toml(content, "run.toml", UserError)
    assert refused.value.given == "run.toml"
    assert time.monotonic() - began < 5


def test_toml_as_others_write_it() -> None:
    assert parse_toml(b"\xef\xbb\xbfa = 1\r\n", "run.toml", UserError) == {"a": 1}
    assert parse_toml(b"", "run.toml", UserError) == {}
    words = "One. " * 500
    assert parse_toml(f'a = "{words}"'.encode(), "run.toml", UserError) == {"a": words}
