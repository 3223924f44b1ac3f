"""Where a run's files live: a folder or an `s3://` prefix, written atomically."""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import OutputUnwritable


def public_url(href: str) -> str:
    """The href without user names, passwords and query string: what a log or an error may show."""
    parts = urlsplit(href)
    if parts.scheme in ("", "file") or (len(parts.scheme) == 1):  # a path, perhaps C:\…
        return href
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


@dataclass(frozen=True)
class Store:
    """A folder (`root` is a path) or an object store's prefix (`root` is `s3://bucket/prefix`).

    Keys are relative, with "/". A write is seen whole or not at all: in a folder the file is
    written beside its place, flushed to disk and renamed; on object storage it is one put.
    """

    root: str

    def __post_init__(self) -> None:
        if not self.is_remote:
            object.__setattr__(self, "root", str(Path(self.root).expanduser().absolute()))

    @property
    def is_remote(self) -> bool:
        """Whether the root is a URL of an object store."""
        return bool(re.match(r"^[a-z][a-z0-9+]+://", self.root))

    @cached_property
    def _remote(self) -> Any:
        import fsspec

        return fsspec.filesystem(self.root.split("://", 1)[0], skip_instance_cache=False)

    def __getstate__(self) -> dict[str, str]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, str]) -> None:
        object.__setattr__(self, "root", state["root"])

    def path(self, key: str = "") -> str:
        """The full path or URL of a key."""
        return f"{self.root.rstrip('/')}/{key}" if key else self.root

    def exists(self, key: str) -> bool:
        """Whether a file of this key is there."""
        if self.is_remote:
            self._remote.invalidate_cache()
            return bool(self._remote.exists(self.path(key)))
        return Path(self.path(key)).is_file()

    def read(self, key: str) -> bytes:
        """The bytes of a key; raises FileNotFoundError where there is none."""
        if self.is_remote:
            return bytes(self._remote.cat_file(self.path(key)))
        return Path(self.path(key)).read_bytes()

    def write(self, key: str, content: bytes) -> None:
        """Put the bytes under the key, whole or not at all.

        Raises OutputUnwritable where the storage refuses (full, read-only, no permission).
        """
        try:
            if self.is_remote:
                self._remote.pipe_file(self.path(key), content)
            else:
                _write_file(Path(self.path(key)), content)
        except (OSError, PermissionError) as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            hint = "free some space" if error.errno == errno.ENOSPC else "check it can be written"
            raise OutputUnwritable(
                f"{public_url(self.path(key))}: {reason}. What was made before is kept; "
                f"{hint} and start again to go on."
            ) from error

    def remove(self, key: str) -> None:
        """Remove a key; nothing happens where there is none."""
        if self.is_remote:
            if self.exists(key):
                self._remote.rm_file(self.path(key))
        else:
            Path(self.path(key)).unlink(missing_ok=True)

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys under a prefix (a folder of the store), sorted; temporary files are left out."""
        if self.is_remote:
            self._remote.invalidate_cache()
            base = self.root.split("://", 1)[1].rstrip("/") + "/"
            found = [str(name).removeprefix(base) for name in self._remote.find(self.path(prefix))]
        else:
            root = Path(self.root)
            found = [
                PurePosixPath(file.relative_to(root)).as_posix()
                for file in (root / prefix).rglob("*")
                if file.is_file()
            ]
        yield from sorted(key for key in found if not key.rpartition("/")[2].startswith(".part-"))


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".part-{secrets.token_hex(6)}"
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
