"""The sample archive over HTTP, from a server that fails as a fault says."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.faulty_server import FaultyServer, Outcome, faulty_server

STALL_SECONDS = 40.0
"""Longer than timesen waits for an answer."""


@dataclass
class Weather:
    """How requests fare: `share` of those for paths with `suffixes` have one of `outcomes`.

    Attributes:
        share: The share of requests that fail, drawn one by one.
        outcomes: Ways to fail, as `tests.faulty_server` names them.
        suffixes: Endings of the paths that are meant.
        most: The most requests that fail.
        draw: The random numbers.
    """

    share: float = 0.0
    outcomes: tuple[Outcome, ...] = ()
    suffixes: tuple[str, ...] = ("",)
    most: int = 10**9
    draw: random.Random = field(default_factory=random.Random)
    failed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, path: str, _first: int, _before: int) -> Outcome:
        """The outcome of a request."""
        with self._lock:
            if not path.endswith(self.suffixes) or self.failed >= self.most:
                return 200
            if self.draw.random() >= self.share:
                return 200
            self.failed += 1
            return self.draw.choice(self.outcomes)


FAIR = Weather()
"""No request fails."""


@contextmanager
def archive_server(folder: Path) -> Iterator[FaultyServer]:
    """Serve an archive; set `how` to a Weather to make it fail."""
    files = {
        f"/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
    with faulty_server(FaultyServer(files, FAIR, stall=STALL_SECONDS)) as server:
        yield server
