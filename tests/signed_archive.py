"""A signing service and a storage that requires its signatures, on real servers, for tests."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pipeline.raster.access import Access
from tests.catalog_servers import serving
from tests.range_server import RangeHandler


@dataclass
class SignedArchive:
    """A signing service and a storage that requires its signatures.

    Attributes:
        files: Content by file name.
        life: Seconds for which a signature is valid.
        stated_life: The seconds that the service states, if they differ.
        refuses: Whether the storage refuses a request, from the number of its signature and the
            first byte of its range.
        failing: Status codes of the service's next responses, last one first.
        delay: Seconds before the service responds.
        rubbish: The service's response instead of a signature.
        issued: For each signature, when it was requested and until when it is valid.
        keys: For each request to the service, the subscription key.
        containers: For each request to the service, its path.
        queries: For each request to the storage, its query.
        refused: The number of requests that the storage refused.
    """

    files: dict[str, bytes]
    life: float = 3600
    stated_life: float | None = None
    refuses: Callable[[int, int], bool] = lambda number, first: False
    failing: list[int] = field(default_factory=list)
    delay: float = 0
    rubbish: bytes | None = None
    service: str = ""
    storage: str = ""
    issued: list[tuple[float, float]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    refused: int = 0

    def token(self, number: int) -> str:
        return f"se={number}&sig=hush%2B{number}%3D"

    def access(self, **changes: Any) -> Access:
        template = f"{self.service}/token/{{account}}/{{container}}"
        return Access(token_url=template, signed_hosts="127.0.0.*", **changes)


class _Service(RangeHandler):
    def __init__(self, archive: SignedArchive, *args: Any) -> None:
        self.archive = archive
        super().__init__(*args)

    def get(self) -> None:
        archive = self.archive
        archive.containers.append(self.path)
        archive.keys.append(self.headers["Ocp-Apim-Subscription-Key"])
        time.sleep(archive.delay)
        if archive.failing:
            self.answer(archive.failing.pop())
        elif archive.rubbish is not None:
            self.answer(200, archive.rubbish)
        else:
            now = time.time()
            archive.issued.append((now, now + archive.life))
            life = archive.life if archive.stated_life is None else archive.stated_life
            expiry = datetime.fromtimestamp(now + life, UTC).isoformat().replace("+00:00", "Z")
            token = archive.token(len(archive.issued) - 1)
            self.answer(200, json.dumps({"token": token, "msft:expiry": expiry}).encode())


class _Storage(RangeHandler):
    def __init__(self, archive: SignedArchive, *args: Any) -> None:
        self.archive = archive
        super().__init__(*args)

    def get(self) -> None:
        archive = self.archive
        path, _, query = self.path.partition("?")
        archive.queries.append(query)
        number = next((n for n in range(len(archive.issued)) if archive.token(n) == query), None)
        free = path.startswith("/free/")
        if not free and (
            number is None
            or time.time() > archive.issued[number][1]
            or archive.refuses(number, self.first)
        ):
            archive.refused += 1
            self.answer(403, b"<Error><Code>AuthenticationFailed</Code></Error>")
        else:
            self.answer(*self.part_of(archive.files[path.rpartition("/")[2]]))


@contextmanager
def signed_archive(files: dict[str, bytes]) -> Iterator[SignedArchive]:
    """Start both servers; a file is found by its name, in any container."""
    made = SignedArchive(files)
    with ExitStack() as stack:
        made.service = stack.enter_context(serving(partial(_Service, made)))
        made.storage = stack.enter_context(serving(partial(_Storage, made)))
        yield made
