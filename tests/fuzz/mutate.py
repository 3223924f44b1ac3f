"""Changes of valid documents and files, drawn at random: of values, of structure, of bytes."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

Path = tuple[str | int, ...]

NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 4, 7, 12, 100, 255, 256, 65535, 65536, 32631, 99999),
    *(2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30),
    *(0.5, -0.5, 1e-9, 1e300, -1e300, 1e18, float("nan"), float("inf"), float("-inf")),
)
"""Numbers at which types, rasters and grids end."""

TEXTS: tuple[str, ...] = (
    *("", " ", "a", "0", "-1", "1e999", "nan", "null", "true", "x" * 300, "9" * 40, "é…", "日本"),
    *("\0", "a\0b", "\ud800", "\x1b[31mred", "line\nbreak", "\u202e", "\ufeff", "\u2028"),
    *("..", "../..", "/", "~", "~nobody/x", "a/b", "a\\b", "C:\\a", "{}", "{a}", "{year}", "%s"),
    *("http://[", "http://", "s3://", "file:///", "http://a:b@c/d?e=f", "${NAME}", "${", "#"),
    *("EPSG:4326", "EPSG:99999", "EPSG:-1", "epsg:x", "MGRS-", "31UFS", "99ZZZ"),
    *("2021-13-45T99:99:99Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59Z", "2021-06-01"),
)
"""Texts that mean something else than text somewhere, or nothing."""

_DEPTH = 3000  # of nesting, beyond what Python's parsers recurse into


def odd_value(draw: random.Random) -> Any:
    """A value that a field may not expect."""
    kind = draw.randrange(8)
    if kind < 3:
        return draw.choice(NUMBERS)
    if kind < 6:
        return draw.choice(TEXTS)
    return copy.deepcopy(
        draw.choice(
            (None, True, False, [], {}, [[]], [None], [1, 2], ["a"], {"a": 1}, {"": None}, [{}])
        )
    )


def places_of(document: Any, path: Path = ()) -> list[Path]:
    """The paths of all values within a document, without that of the document itself."""
    found: list[Path] = []
    inner: Sequence[tuple[str | int, Any]] = ()
    if isinstance(document, dict):
        inner = list(document.items())
    elif isinstance(document, list):
        inner = list(enumerate(document))
    for key, value in inner:
        found.append((*path, key))
        found += places_of(value, (*path, key))
    return found


def changed_document(
    document: Any, draw: random.Random, others: Sequence[Any] = (), most: int = 4
) -> Any:
    """A copy of a JSON document with one to `most` changes; `others` lend their values."""
    result = copy.deepcopy(document)
    for _ in range(_few(draw, most)):
        places = places_of(result)
        if not places:
            return odd_value(draw)
        result = _change(result, draw.choice(places), draw, others)
    return result


def _few(draw: random.Random, most: int) -> int:
    """One change more often than several: each later one hides the one before."""
    return min(most, 1 + int(draw.expovariate(1.2)))


def _change(document: Any, path: Path, draw: random.Random, others: Sequence[Any]) -> Any:
    owner = document
    for key in path[:-1]:
        owner = owner[key]
    key, value = path[-1], owner[path[-1]]
    action = draw.randrange(10)
    if action < 3:
        owner[key] = odd_value(draw)
    elif action == 3:
        del owner[key]
    elif action == 4 and isinstance(value, int | float) and not isinstance(value, bool):
        owner[key] = _near(value, draw)
    elif action == 4 and isinstance(value, str):
        owner[key] = _changed_text(value, draw)
    elif action == 5 and isinstance(value, list) and value:
        owner[key] = _changed_list(value, draw)
    elif action == 6:
        owner[key] = draw.choice(([value], {"a": value}, str(value), value and None))
    elif action == 7 and isinstance(owner, dict):
        owner[draw.choice((*TEXTS, "new", str(key).upper()))] = value
    elif action == 8:
        lender = draw.choice((document, *others))
        places = places_of(lender)
        owner[key] = copy.deepcopy(_at(lender, draw.choice(places))) if places else None
    else:
        owner[key] = _nested(draw) if draw.random() < 0.05 else odd_value(draw)
    return document


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def _near(value: float, draw: random.Random) -> Any:
    return draw.choice(
        (-value, value + 1, value - 1, value * 2, value * 1000, value / 3, value + 0.5, str(value))
    )


def _changed_text(text: str, draw: random.Random) -> str:
    place = draw.randint(0, len(text))
    rest = draw.choice((place, place + 1, len(text)))
    return text[:place] + draw.choice((*TEXTS, text)) + text[rest:]


def _changed_list(values: list[Any], draw: random.Random) -> list[Any]:
    place = draw.randrange(len(values))
    return draw.choice(
        (
            values[:place],
            values[:place] + values[place + 1 :],
            values + values,
            values[::-1],
            [*values, odd_value(draw)],
            [*values[:place], odd_value(draw), *values[place:]],
            values * 200 if len(values) < 20 else values,
        )
    )


def _nested(draw: random.Random) -> Any:
    value: Any = odd_value(draw)
    for _ in range(draw.choice((10, 200))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def to_json(document: Any) -> bytes:
    """JSON as careless writers make it: NaN, infinity and lone surrogates are in it."""
    return json.dumps(document).encode()


def to_toml(document: dict[str, Any]) -> bytes:
    """A table as TOML, a line for each key; nulls are left out, as TOML has none."""
    lines = [f"{_toml_key(key)} = {_toml(value)}" for key, value in document.items()
             if value is not None]  # fmt: skip
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _toml_key(key: str) -> str:
    return json.dumps(key, ensure_ascii=False) if key.isprintable() else json.dumps(key)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = (f"{_toml_key(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(inner) for inner in value if inner is not None)}]"
    if isinstance(value, str):
        return json.dumps(value)
    return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


def changed_bytes(
    content: bytes, draw: random.Random, others: Sequence[bytes] = (), within: int | None = None
) -> bytes:
    """Bytes with one to some changes, all within the first `within` of them."""
    changed = bytearray(content)
    for _ in range(_few(draw, 6)):
        end = min(len(changed), within or len(changed))
        _BYTE_CHANGES[draw.randrange(len(_BYTE_CHANGES))](changed, draw.randint(0, end), draw)
        if others and draw.random() < 0.05:
            other = draw.choice(others)
            start = draw.randint(0, len(other))
            place = draw.randint(0, len(changed))
            changed[place : place + draw.randint(0, 64)] = other[start : start + 200]
    return bytes(changed)


def _flip(content: bytearray, place: int, draw: random.Random) -> None:
    if place < len(content):
        content[place] ^= 1 << draw.randrange(8)


def _set(content: bytearray, place: int, draw: random.Random) -> None:
    if place < len(content):
        content[place] = draw.choice((0, 1, 9, 10, 34, 44, 58, 91, 93, 123, 125, 127, 128, 255))


def _insert(content: bytearray, place: int, draw: random.Random) -> None:
    content[place:place] = draw.choice((draw.randbytes(draw.randint(1, 8)), b"\0" * 16, b'"', b","))


def _delete(content: bytearray, place: int, draw: random.Random) -> None:
    del content[place : place + draw.choice((1, 2, 8, 64))]


def _cut(content: bytearray, place: int, draw: random.Random) -> None:
    if draw.random() < 0.3:
        del content[place:]


def _repeat(content: bytearray, place: int, draw: random.Random) -> None:
    part = content[place : place + draw.choice((1, 4, 32))]
    content[place:place] = part * draw.choice((1, 2, 50))


def _number(content: bytearray, place: int, draw: random.Random) -> None:
    size = draw.choice((1, 2, 4, 8))
    value = draw.choice((0, 1, 2, -1, 1 << 7, 1 << 15, 1 << 31, (1 << 31) - 1, 1 << 20, 1 << 62,
                         draw.getrandbits(64), draw.getrandbits(16), len(content)))  # fmt: skip
    number = (value & ((1 << (8 * size)) - 1)).to_bytes(size, draw.choice(("little", "big")))
    content[place : place + size] = number


def _nest(content: bytearray, place: int, draw: random.Random) -> None:
    if draw.random() < 0.02:
        content[place:place] = draw.choice((b"[", b'{"a":', b"a.", b"[[", b"(")) * _DEPTH


_BYTE_CHANGES: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    *(_flip, _set, _insert, _delete, _cut, _repeat, _number, _number, _flip, _nest),
)
