"""TOML files of users, with or without the byte-order mark of Windows' editors."""

import tomllib
from collections.abc import Callable
from typing import Any


def parse_toml(
    content: bytes, source: str, error: Callable[[str, str, str], Exception]
) -> dict[str, Any]:
    """Parse a TOML file's content.

    Args:
        content: The file's bytes, UTF-8.
        source: The file as the user named it, for the message.
        error: The kind of UserError that is raised where the content is not TOML.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(source, f"not valid TOML ({problem})", "Mend the line named") from None
