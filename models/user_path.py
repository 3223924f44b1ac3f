"""Paths as users write them, with "~" for a home."""

from pathlib import Path


def user_path(path: str | Path) -> Path:
    """The path with "~" expanded; unchanged, as shells do, where that user's home is not known.

    A process without HOME whose user has no entry in /etc/passwd, as in many containers, has no
    home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)
