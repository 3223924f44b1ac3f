"""JSON of others: whatever is wrong is a ValueError."""

import json
import math

import pytest

from models.files.json_text import parse_json


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"",
        b"\xff\xfe",
        b"\xff",
        b"\x00",
        b'{"a": 1',
        "\ufeff1",
        b"[1]" + b" " * 10 + b"]",
    ],
)
def test_what_is_no_json(content: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(content)


def test_json_as_others_write_it() -> None:
    document = {"name": "Wälder", "list": [1, 2.5, None, True]}
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert parse_json(json.dumps(document, ensure_ascii=False).encode(encoding)) == document
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}  # as most readers do
    big = parse_json(b"[7, -" + b"9" * 5000 + b", 1e999, " + b"9" * 5000 + b"]")
    assert big == [7, -math.inf, math.inf, math.inf]
