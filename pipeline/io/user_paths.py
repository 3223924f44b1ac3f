"""What a text that the user gave names: MGRS tiles, or something that lies on the disk."""

import re
from pathlib import Path

_TILE_NAMES = re.compile(r"\s*T?\d{1,2}[A-Z]{3}(\s*,\s*T?\d{1,2}[A-Z]{3})*\s*", re.IGNORECASE)


def names_tiles(text: str) -> bool:
    """Whether the text is one or several MGRS tile names, "31UFS,T31UGS"; they may be no tiles."""
    return _TILE_NAMES.fullmatch(text) is not None


def existing(text: str, folder: Path | None = None) -> Path | None:
    """The absolute path that the text names, "~" expanded, where a file or folder is there.

    A relative path begins at `folder`, else where the process stands. None for what names nothing,
    and for what cannot be a path: it may be too long for the system, or hold a zero.
    """
    try:
        path = ((folder or Path()) / Path(text).expanduser()).absolute()
        return path if text and path.exists() else None
    except (OSError, ValueError, RuntimeError):  # the last: "~" of an unknown user
        return None
