"""Bytes of a raster, by range: from a file, or over HTTP."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from models.files.regular_file import NotRegularFile, open_regular
from pipeline.raster.access import Access
from pipeline.raster.http_client import RangeAnswer, fetch_range
from pipeline.raster.read_errors import ReadFailure, Unreadable
from pipeline.raster.retry import with_retries


class ByteRanges(Protocol):
    """A file of which parts can be read."""

    def read(self, start: int, length: int) -> bytes:
        """Bytes from `start` on, fewer where the file ends before. Raises Unreadable."""


class RasterRanges(ByteRanges, Protocol):
    """A raster's file, which may have others beside it."""

    def beside(self, suffix: str) -> "RasterRanges":
        """The file beside it whose name has a suffix more."""


def _not_counted(_fetched: int, _requests: int) -> None:
    """Count nothing."""


@dataclass(frozen=True)
class FileRanges:
    """A file of this machine. `count` takes the bytes that are read, and 0 requests."""

    path: str
    count: Callable[[int, int], None] = _not_counted

    def read(self, start: int, length: int) -> bytes:
        """As `ByteRanges.read`."""
        try:
            file = open_regular(self.path)
            try:
                content = os.pread(file, length, start)
                self.count(len(content), 0)
                return content
            finally:
                os.close(file)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            raise Unreadable(ReadFailure("there is no such file", unreachable=False)) from None
        except PermissionError:
            raise Unreadable(ReadFailure("access to it is denied", unreachable=True)) from None
        except NotRegularFile as error:
            raise Unreadable(ReadFailure(str(error.strerror), unreachable=False)) from None
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise Unreadable(ReadFailure(reason, unreachable=True)) from None

    def beside(self, suffix: str) -> "FileRanges":
        """As `RasterRanges.beside`."""
        return replace(self, path=self.path + suffix)


@dataclass(frozen=True)
class HttpRanges:
    """A file on an HTTP server; `href` has no signature.

    A request that fails is sent again for `retry_seconds`; `retried` is called before. Where the
    server refuses a signature, the request is sent once more with a new one. `timeout` is in
    seconds, for the server's next bytes. `count` takes the bytes of each answer, and 1 request.
    """

    href: str
    access: Access
    timeout: float
    retry_seconds: float
    retried: Callable[[], None]
    count: Callable[[int, int], None] = _not_counted

    def read(self, start: int, length: int) -> bytes:
        """As `ByteRanges.read`."""
        return self.part(start, length).content

    def part(self, start: int, length: int) -> RangeAnswer:
        """As `ByteRanges.read`, with the size of the whole file. Raises Unreadable."""
        return with_retries(lambda: self._part(start, length), self.retry_seconds, self.retried)

    def beside(self, suffix: str) -> "HttpRanges":
        """As `RasterRanges.beside`."""
        path, *query = self.href.partition("?")
        return replace(self, href="".join((path, suffix, *query)))

    def _part(self, start: int, length: int) -> RangeAnswer:
        address, rules = self.access.address(self.href), self.access.rules
        try:
            return self._counted(fetch_range(address, start, length, self.timeout, rules))
        except Unreadable as error:
            if not (error.failure.refused and self.access.signs(self.href)):
                raise
        self.retried()
        address = self.access.address(self.href, refused=address)
        return self._counted(fetch_range(address, start, length, self.timeout, rules))

    def _counted(self, answer: RangeAnswer) -> RangeAnswer:
        self.count(len(answer.content), 1)
        return answer
