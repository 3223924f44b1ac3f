"""Regular files only, where others may name them: a pipe may never answer, a device never end."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path


class DamagedFile(ValueError):
    """A file that is not what it should be; the text is the reason, without the file's name."""


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


def regular_file(path: str | Path) -> BufferedReader:
    """A file that is open for reading. Raises as `open_regular`."""
    return os.fdopen(open_regular(path), "rb")


def read_regular(path: str | Path) -> bytes:
    """The bytes of a file. Raises as `open_regular`."""
    with regular_file(path) as file:
        return file.read()


@contextmanager
def sized_file(path: Path) -> Iterator[tuple[BufferedReader, int]]:
    """Open a file for reading, with its size in bytes.

    Raises:
        DamagedFile: It is a pipe, a socket or a device.
        OSError: It cannot be opened, or is a folder.
    """
    try:
        file = regular_file(path)
    except NotRegularFile as error:
        raise DamagedFile(str(error.strerror)) from None
    with file:
        yield file, os.fstat(file.fileno()).st_size


def read_small(path: Path, most: int) -> bytes:
    """The bytes of a file of at most `most` bytes.

    Raises:
        DamagedFile: It is larger, or no regular file.
        OSError: It cannot be read.
    """
    with sized_file(path) as (file, size):
        if size > most:
            raise DamagedFile(f"it has {size:,} bytes, and must have {most:,} or fewer")
        return file.read(most)
