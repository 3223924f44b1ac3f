"""TOML that a user wrote, with or without the byte-order mark of Windows' editors."""

import tomllib
from typing import Any

from models.errors import UserError


def parse_toml(content: bytes, source: str, error: type[UserError]) -> dict[str, Any]:
    """Parse a TOML file's content.

    Args:
        content: The file's bytes, UTF-8.
        source: What the user named, for the message.
        error: The exception to raise where the content is not TOML.

    Raises:
        UserError: Of the type `error`, with the line and column.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(source, f"not valid TOML ({problem})", "Correct that line") from None
