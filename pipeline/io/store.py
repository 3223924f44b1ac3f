"""A store of files, in a folder or under an `s3://` prefix, written atomically."""

import errno
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from models.files.process_mark import temporary_prefix
from models.option import user_path
from pipeline.errors import OutputError, OutputUnwritable
from pipeline.io.gdal_s3 import gdal_object_store_options
from pipeline.io.local_files import (
    PART,
    create_file,
    file_sizes,
    overwrite_file,
    remove_abandoned_parts,
    replacing_file,
    write_file,
)
from pipeline.io.object_store import content_type, create_object, is_aws_error
from pipeline.io.user_paths import foreign_address

_AT_ONCE = 16
_PLAIN = re.compile(r"(?:https?|s3)://[A-Za-z0-9.-]+(?:/[A-Za-z0-9._~/-]+)?")
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""The numbers of the errors of a disk, a quota or a file that is full."""


def is_plain_url(href: str) -> bool:
    """Whether an href is an address of a host and a path alone; most are, and need no parsing."""
    return _PLAIN.fullmatch(href) is not None


def public_url(href: str) -> str:
    """The href without user, password and query string, as a log or an error may show it."""
    if is_plain_url(href):
        return href
    if href.startswith("/vsi"):  # GDAL's name of a remote file, around a URL or before options
        return public_text(href).partition("?")[0]
    try:
        parts = urlsplit(href)
    except ValueError:  # no address, as http://[
        return re.sub(r"://\S*@", "://", href).partition("?")[0]
    if parts.scheme in ("", "file") or (len(parts.scheme) == 1):  # a path, perhaps C:\…
        return href
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def public_text(text: str) -> str:
    """The text with `public_url` applied to every URL in it."""
    return re.sub(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"<>]+", lambda url: public_url(url[0]), text)


@dataclass(frozen=True)
class Store:
    """A folder (`root` is a path) or an object store's prefix (`root` is `s3://bucket/prefix`).

    Keys are relative, with "/". A write is seen whole or not at all: in a folder the file is
    written beside its place, flushed to disk and renamed; on object storage it is one put.
    Credentials, region and `AWS_ENDPOINT_URL` come from the environment, as AWS's tools take them.

    Attributes:
        root: The folder or the URL.
        kept: Whether a folder that was removed meanwhile is an error; else a write makes it.
    """

    root: str
    kept: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if problem := foreign_address(self.root, ("s3",)):
            raise OutputError(public_url(self.root), problem, "Give a folder or s3://bucket/…")
        root = re.sub("^s3://", "s3://", self.root, flags=re.IGNORECASE)
        if not root.startswith("s3://"):
            path = user_path(root)
            if str(path).startswith("~"):
                raise OutputError(root, "this system knows no such home", "Write the whole path")
            root = str(path.absolute())
        object.__setattr__(self, "root", root)

    @property
    def is_remote(self) -> bool:
        """Whether the root is a URL of an object store."""
        return self.root.startswith("s3://")

    @cached_property
    def _remote(self) -> Any:
        import fsspec

        # What others write must be seen at once, so no listing is remembered.
        return fsspec.filesystem("s3", use_listings_cache=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "kept": self.kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def once_opened(self) -> "Store":
        """This store, whose folder is there: no write makes it anew where somebody removes it."""
        return replace(self, kept=True)

    def path(self, key: str = "") -> str:
        """The full path or URL of a key."""
        return f"{self.root.rstrip('/')}/{key}" if key else self.root

    def exists(self, key: str) -> bool:
        """Whether a file of this key is there."""
        with self._explained(key):
            if not self.is_remote:
                return Path(self.path(key)).is_file()
            try:  # fsspec's own `isfile` takes every failure for "no"
                return bool(self._remote.info(self.path(key))["type"] == "file")
            except FileNotFoundError:
                return False

    def is_file(self) -> bool:
        """Whether the root itself is a file, so that no folder can be there."""
        with self._explained(""):
            return not self.is_remote and Path(self.root).is_file()

    def read(self, key: str) -> bytes:
        """The bytes of a key; raises FileNotFoundError where there is none."""
        with self._explained(key):
            if self.is_remote:
                # In one request: else s3fs asks for the size first, to read large files in parts.
                return bytes(self._remote.cat_file(self.path(key), max_concurrency=1))
            return Path(self.path(key)).read_bytes()

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Some bytes of a key; raises FileNotFoundError where there is none."""
        with self._explained(key):
            if self.is_remote:
                return bytes(self._remote.cat_file(self.path(key), start=start, end=start + length))
            with Path(self.path(key)).open("rb") as file:
                file.seek(start)
                return file.read(length)

    def read_many(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """(key, bytes) of each key, in order; keys that vanish meanwhile are left out.

        From object storage several are under way at once.
        """
        wanted = list(keys)
        with ExitStack() as stack:
            contents: Iterable[bytes | None] = map(self._read_if_there, wanted)
            if self.is_remote and len(wanted) > 1:
                pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE))
                contents = pool.map(self._read_if_there, wanted)
            for key, content in zip(wanted, contents, strict=True):
                if content is not None:
                    yield key, content

    def _read_if_there(self, key: str) -> bytes | None:
        try:
            return self.read(key)
        except FileNotFoundError:
            return None

    def write(self, key: str, content: bytes) -> None:
        """Put the bytes under the key, whole or not at all.

        Raises OutputUnwritable where the storage refuses (full, read-only, no permission).
        """
        with self._explained(key):
            try:
                if self.is_remote:
                    self._remote.pipe_file(self.path(key), content, **content_type(key))
                else:
                    root, path = Path(self.root), Path(self.path(key))
                    write_file(root, path, content, keep_root=self.kept)
            except FileNotFoundError as error:
                raise OSError(self._missing) from error
            except NotADirectoryError as error:
                raise OSError(str(error.strerror)) from error

    @property
    def _missing(self) -> str:
        """What a write without its bucket or folder says."""
        missing = "bucket" if self.is_remote else "folder"
        return f"the {missing} {'was removed meanwhile' if self.kept else 'does not exist'}"

    @contextmanager
    def new_file(self, key: str) -> Iterator[Path]:
        """Give a local path for what is too large for the memory; then it is put under the key.

        It is put whole, or after an error not at all. On object storage it lies in the system's
        temporary folder meanwhile. Raises OutputUnwritable.
        """
        with ExitStack() as stack:
            if self.is_remote:
                folder = TemporaryDirectory(prefix=temporary_prefix("upload"))
                path = Path(stack.enter_context(folder)) / PurePosixPath(key).name
            else:
                with self._explained(key):
                    path = stack.enter_context(replacing_file(Path(self.path(key))))
            yield path
            with self._explained(key):
                if self.is_remote:
                    try:
                        self._remote.put_file(str(path), self.path(key))
                    except FileNotFoundError as error:
                        raise OSError("the bucket does not exist") from error
                stack.close()

    def create(self, key: str, content: bytes) -> bool:
        """Put the bytes under the key, if nothing is there; of several processes, one succeeds.

        On file systems without links it may be seen before it is whole. Raises OutputUnwritable.

        Returns:
            Whether it was put there by this call.
        """
        with self._explained(key):
            try:
                if not self.is_remote:
                    root, path = Path(self.root), Path(self.path(key))
                    return create_file(root, path, content, keep_root=self.kept)
                return create_object(self._remote, self.path(key), content)
            except FileNotFoundError as error:
                raise OSError(self._missing) from error
            except NotADirectoryError as error:
                raise OSError(str(error.strerror)) from error

    def overwrite(self, key: str, content: bytes) -> bool:
        """Put the bytes under a key that is there; False, and nothing is written, where it is not.

        In a folder the file may be seen half-written. Raises OutputUnwritable.
        """
        with self._explained(key):
            if not self.is_remote:
                return overwrite_file(Path(self.path(key)), content)
        if not self.exists(key):
            return False
        self.write(key, content)
        return True

    def remove_abandoned_parts(self) -> None:
        """Remove what dead processes of this machine were writing; nothing on object storage."""
        with self._explained(""):
            if not self.is_remote:
                remove_abandoned_parts(Path(self.root))

    def remove(self, key: str) -> None:
        """Remove a key; nothing happens where there is none."""
        with self._explained(key):
            if not self.is_remote:
                Path(self.path(key)).unlink(missing_ok=True)
            else:
                with suppress(FileNotFoundError):
                    self._remote.rm_file(self.path(key))

    def has_folder(self) -> bool:
        """Whether the root is there as a folder; object storage has none."""
        return not self.is_remote and Path(self.root).is_dir()

    def remove_empty_folder(self, prefix: str = "") -> None:
        """Remove the folder of a prefix if nothing is in it; nothing on object storage."""
        if not self.is_remote:
            with suppress(OSError):
                Path(self.path(prefix)).rmdir()

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys under a prefix (a folder of the store), sorted; temporary files are left out."""
        yield from self.sizes(prefix)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Bytes of each key under a prefix, sorted by key; temporary files are left out."""
        with self._explained(prefix):
            if self.is_remote:
                sizes = self._remote_sizes(prefix)
            else:
                sizes = file_sizes(Path(self.root), Path(self.path(prefix)))
        kept = (key for key in sizes if not key.rpartition("/")[2].startswith(PART))
        return {key: sizes[key] for key in sorted(kept)}

    def sizes_and_tags(self, prefix: str = "") -> tuple[dict[str, int], dict[str, str]]:
        """Bytes and ETag of each key under a prefix, by one listing; a folder has no ETags."""
        if not self.is_remote:
            return self.sizes(prefix), {}
        with self._explained(prefix):
            listed = self._listed(prefix)
        return (
            {key: int(about["size"]) for key, about in listed.items()},
            {key: str(about.get("ETag", "")) for key, about in listed.items()},
        )

    def _remote_sizes(self, prefix: str) -> dict[str, int]:
        return {key: int(about["size"]) for key, about in self._listed(prefix).items()}

    def _listed(self, prefix: str) -> dict[str, Any]:
        try:
            listed = self._remote.find(self.path(prefix), detail=True)
        except FileNotFoundError as error:
            raise OSError("the bucket does not exist") from error
        start = len(self._bare(""))
        # s3fs gives the folder itself where keys come while it looks, after it has found none.
        return {
            str(name)[start:]: about
            for name, about in listed.items()
            if about["type"] != "directory"
        }

    def gdal_path(self, key: str) -> str:
        """The name under which GDAL opens a key: the path, or `/vsis3/bucket/…`."""
        return f"/vsis3/{self._bare(key)}" if self.is_remote else self.path(key)

    def gdal_options(self) -> dict[str, str]:
        """GDAL's configuration for `gdal_path`: the endpoint that AWS_ENDPOINT_URL names.

        To be given to `rasterio.Env`; GDAL reads keys and region from the environment itself.
        """
        return gdal_object_store_options() if self.is_remote else {}

    def _bare(self, key: str) -> str:
        """Bucket, prefix and key without the scheme."""
        return f"{self.root[5:].rstrip('/')}/{key}"

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        """Turn failures of the storage into OutputUnwritable; FileNotFoundError stays."""
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise
        except Exception as error:
            if not isinstance(error, OSError) and not is_aws_error(error):
                raise
            number = getattr(error, "errno", None)
            reason = os.strerror(number) if number and not self.is_remote else str(error)
            hint = (
                "free some space"
                if number in FULL_DISK
                else "check that it can be reached and written"
            )
            raise OutputUnwritable(
                f"{public_url(self.path(key))}: {public_text(reason)}. Finished work is "
                f"kept; {hint} and start again to resume."
            ) from error
