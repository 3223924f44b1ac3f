"""Files that last through a loss of power: on the disk, not only in the system's memory."""

import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk; raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_file(path: Path) -> None:
    """Wait until a file that others wrote is on the disk; raises OSError."""
    _sync(path)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names, as after a renaming, are on the disk; raises OSError."""
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
