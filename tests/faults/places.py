"""Where a product lies: a folder, or a prefix of a bucket, seen past all proxies."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Place(Protocol):
    """Where a product lies, and how a command is told so."""

    out: str

    def names(self) -> set[str]:
        """The names of the files there, relative to the product."""

    def read(self, name: str) -> bytes:
        """The bytes of a file."""

    def unfinished(self) -> list[str]:
        """Files and uploads that are no part of any product."""


@dataclass(frozen=True)
class Folder:
    """A folder; its training run, if it is a checkpoint, lies beside it."""

    out: str

    def names(self) -> set[str]:
        """The names of the files there."""
        return set(_files(Path(self.out)))

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return (Path(self.out) / name).read_bytes()

    def unfinished(self) -> list[str]:
        """Temporary files of writes that ended in the middle, here and beside it."""
        beside = Path(self.out).parent
        return sorted(name for name in _files(beside) if Path(name).name.startswith("."))


def _files(folder: Path) -> Iterator[str]:
    for at, _, names in os.walk(folder):
        for name in names:
            yield (Path(at) / name).relative_to(folder).as_posix()


@dataclass(frozen=True)
class Prefix:
    """A prefix of a bucket of an S3 server, which `client` reaches without a proxy."""

    bucket: str
    prefix: str
    client: Any

    @property
    def out(self) -> str:
        """The prefix as a command takes it."""
        return f"s3://{self.bucket}/{self.prefix}"

    def names(self) -> set[str]:
        """The names of the objects there."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.prefix}/"
        )
        start = len(self.prefix) + 1
        return {each["Key"][start:] for page in pages for each in page.get("Contents", ())}

    def read(self, name: str) -> bytes:
        """The bytes of an object."""
        answer = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")
        content: bytes = answer["Body"].read()
        return content

    def unfinished(self) -> list[str]:
        """Uploads in parts that were never completed."""
        uploads = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())
        ours = [each["Key"] for each in uploads if each["Key"].startswith(f"{self.prefix}/")]
        return [*ours, *(name for name in self.names() if "/.part-" in f"/{name}")]
