"""What a server says of its refusal: found in its answer, and shown without secrets."""

import json

import pytest

from pipeline.io.redaction import without_words
from pipeline.raster.read_errors import reason_in


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"code": "BadRequest", "description": "limit must be\\n at most 100."}',
         "limit must be at most 100"),
        (b'{"detail": [{"loc": ["body", "limit"], "msg": "at most 100"}, {"msg": "no"}]}',
         "body.limit: at most 100; no"),
        (b'{"error": {"message": "too large"}}', "too large"),
        (b'"too large"', "too large"),
        (b"<Error><Code>E</Code><Message>Too &lt;large&gt;</Message></Error>", "Too <large>"),
        (b"<html><head><title>413 Too\nLarge</title></head><body>nginx</body></html>",
         "413 Too Large"),
        (b"too large\x1b[31m\r\n", "too large [31m"),
        (b'{"message": "no https://me:hush@host/search?key=hush here"}',
         "no https://host/search?\xe2\x80\xa6 here".encode("latin-1").decode()),
        (b"", ""), (b"{}", ""), (b"[[[", "[[["), (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, "[" * 100_000),
    ],
)  # fmt: skip
def test_the_reason_of_an_answer(body: bytes, reason: str) -> None:
    assert reason_in(body) == reason


def test_words_that_were_sent_in_secret_are_left_out() -> None:
    said = json.dumps("key a b&c is not a+b%26c, nor a%20b%26c; me")
    shown = without_words(reason_in(said.encode()), ["a b&c", "me", ""])
    assert shown == "key … is not …, nor …; me"
