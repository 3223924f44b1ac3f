"""Reading of regular files only: a pipe may never answer, and a device may have no end."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


class NotRegularFile(OSError):
    """A path leads to a pipe, a socket or a device."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EINVAL, "it is a pipe or a device, not a file", path)


def open_regular(path: str | Path) -> int:
    """The descriptor of a file that is open for reading.

    Raises:
        IsADirectoryError: It is a folder.
        NotRegularFile: It is a pipe, a socket or a device.
        OSError: It cannot be opened.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would wait
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode):
        return number
    os.close(number)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise NotRegularFile(str(path))


def regular_file(path: str | Path) -> BinaryIO:
    """A file that is open for reading. Raises as `open_regular`."""
    return os.fdopen(open_regular(path), "rb")


def read_regular(path: str | Path) -> bytes:
    """The bytes of a file. Raises as `open_regular`."""
    with regular_file(path) as file:
        return file.read()
