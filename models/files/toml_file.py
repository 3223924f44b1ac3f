"""TOML files of users, with or without the byte-order mark of Windows' editors."""

import re
import tomllib
from collections.abc import Callable
from typing import Any

# A dotted key of so many parts takes tomllib minutes: its time grows with their square, or faster.
_LONG_KEY = re.compile(
    rb"""(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){64}""", re.MULTILINE
)


def parse_toml(
    content: bytes, source: str, error: Callable[[str, str, str], Exception]
) -> dict[str, Any]:
    """Parse a TOML file's content.

    Args:
        content: The file's bytes, UTF-8.
        source: The file as the user named it, for the message.
        error: The kind of UserError that is raised where the content is not TOML.
    """
    if b"\0" in content:
        raise error(source, "it is no text, or one in UTF-16", "Save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise error(source, f"it is not UTF-8 ({problem})", "Save it as UTF-8") from None
    if _LONG_KEY.search(content):
        raise error(source, "a key in it has more than 64 parts", "Write it as tables, [a.b]")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise error(source, "it is nested too deep", "Write fewer [ or { within another") from None
    except tomllib.TOMLDecodeError as problem:
        raise error(source, f"not valid TOML ({problem})", "Mend the line named") from None
    except ValueError:
        raise error(source, "a number in it has thousands of digits", "Shorten it") from None
