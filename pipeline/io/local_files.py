"""Files of a folder that are written whole or not at all, and what dead processes left of them."""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.files.durable_files import sync_path, write_durably
from models.files.process_mark import is_dead, process_mark

PART = ".part-"
"""The names of files that are being written begin with this, and then the process's mark."""


def write_file(root: Path, path: Path, content: bytes, *, keep_root: bool = False) -> None:
    """Write a file under `root` beside its place, flush it to the disk, and rename it.

    With `keep_root`, `root` must be there: a folder that was removed is not made anew. Raises
    OSError, FileNotFoundError where `root` has gone.
    """
    _make_parents(root, path, keep_root)
    part = path.parent / _part_name()
    try:
        write_durably(part, content)
        part.replace(path)
        sync_path(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error says more
            part.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a path beside a file's place, to write what is too large for the memory.

    At the block's end it is flushed to the disk and takes the file's place; after an error nothing
    is left, nor of what bears its name and more. What killed processes left in that folder in this
    way is removed before. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_dead_parts(path.parent, [other.name for other in path.parent.iterdir()])
    part = path.parent / _part_name()
    try:
        yield part
        sync_path(part)
        part.replace(path)
        sync_path(path.parent)
    finally:
        for left in path.parent.glob(f"{part.name}*"):
            with contextlib.suppress(OSError):
                left.unlink()


def create_file(root: Path, path: Path, content: bytes, *, keep_root: bool = False) -> bool:
    """Create a file under `root` and its folders, only where it is not yet; False where it is.

    It is whole at once (a hard link), but for file systems that have no links. `keep_root` and
    errors are those of `write_file`.
    """
    _make_parents(root, path, keep_root)
    part = path.parent / _part_name()
    try:
        write_durably(part, content)
        try:
            path.hardlink_to(part)
        except FileExistsError:
            return False
        except OSError:
            with path.open("xb") as file:  # O_EXCL
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    sync_path(path.parent)
    return True


def overwrite_file(path: Path, content: bytes) -> bool:
    """Overwrite a file in its place, only where it is already; False where it is not."""
    try:
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def file_sizes(root: Path, folder: Path) -> dict[str, int]:
    """Bytes of each file in a folder under `root`, by its path from `root` with "/".

    What vanishes meanwhile is left out. Raises OSError.
    """

    def failed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError):
            raise error

    sizes = {}
    for at, _, names in os.walk(folder, onerror=failed):
        for name in names:
            path = Path(at, name)
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                if stat.S_ISREG(about.st_mode):
                    sizes[path.relative_to(root).as_posix()] = about.st_size
    return sizes


def remove_abandoned_parts(root: Path) -> None:
    """Remove what dead processes of this machine were writing when they were killed."""
    for folder, _, names in os.walk(root):
        _remove_dead_parts(Path(folder), names)


def _remove_dead_parts(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if name.startswith(PART) and is_dead(name.removeprefix(PART)):
            with contextlib.suppress(OSError):
                (folder / name).unlink()


def _part_name() -> str:
    return f"{PART}{process_mark()}-{secrets.token_hex(6)}"


def _make_parents(root: Path, path: Path, keep_root: bool) -> None:
    if not keep_root:
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    if not path.parent.is_dir():
        for folder in reversed(path.relative_to(root).parents):
            if folder.parts:
                (root / folder).mkdir(exist_ok=True)
