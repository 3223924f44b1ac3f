"""Claims of processes on the cells of a run that several map together.

A process claims a cell before it computes it: it creates `owners/run-…/31UFS-02-03.000001.json`,
where that is free (O_EXCL in a folder, `If-None-Match: *` on S3), and removes it afterwards. Once a
claim has run out, claim 000002 follows it: of several processes, one creates it.

Each process has a file `process-….json` beside its claims, and writes a new count into it four
times in a lease. Its claims have run out if it is of this machine and is gone, if its file is gone,
or if that stays the same for a whole lease while another process watches it, by that one's own
clock: clocks of different machines are never compared.

Claims save time, and nothing else depends on them: two processes that compute the same cell write
the same bytes, and `pipeline.product.ledger` keeps the results of different runs apart.
"""

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from models.files.json_text import parse_json
from models.files.process_mark import is_dead, process_mark
from pipeline.errors import OutputUnwritable
from pipeline.io.store import Store
from pipeline.layout import claims_folder
from pipeline.product.manifest import RunManifest

_RENEWALS = 4  # in a lease
_PROCESS = "process-"


@contextlib.contextmanager
def cell_claims(store: Store, run: RunManifest, lease: float) -> Iterator["CellClaims"]:
    """The claims of this process on a run's cells; those that it holds end with the block.

    Args:
        store: The run's folder.
        run: The run.
        lease: After so many seconds without a sign of life, other processes take the claims over.
    """
    claims, ended = CellClaims(store, run, lease), threading.Event()

    def renew() -> None:
        while not ended.wait(lease / _RENEWALS):
            claims.renew()

    renewal = threading.Thread(target=renew, daemon=True)
    renewal.start()
    try:
        yield claims
    finally:
        ended.set()
        renewal.join()
        claims.end()


@dataclass(frozen=True)
class _CellClaim:
    """A claim that was read; `process` is empty where it is half-written."""

    key: str
    number: int
    process: str


class CellClaims:
    """The claims of this process on a run's cells, and what it sees of others'.

    Threads may share it. Names are those of cells, or of other work that one process does alone.
    """

    def __init__(self, store: Store, run: RunManifest, lease: float) -> None:
        self._store, self._lease = store, lease
        self._folder = claims_folder(run.fingerprint)
        self._process = f"{process_mark()}-{secrets.token_hex(4)}"
        self._lock, self._own_file = threading.Lock(), threading.Lock()
        self._held: dict[str, int] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._is_listed = False
        self._count = 0

    def take(self, name: str) -> bool:
        """Claim a name; False where another process has it. What this one has stays its own.

        Raises OutputUnwritable.
        """
        with self._lock:
            if name in self._held:
                return True
        with self._own_file:
            if not self._is_listed:
                self._store.create(self._process_key(self._process), self._content())
                self._is_listed = True
        if self._create(name, 1):
            return True
        claim = self._last_claims([name]).get(name)
        if claim is None or not self._has_run_out(claim):
            return False
        if not self._create(name, claim.number + 1):
            return False
        if claim.process not in ("", self._process):  # its other claims have run out, too
            self._store.remove(self._process_key(claim.process))
        return True

    def release(self, name: str) -> None:
        """Give a claim back; nothing happens where this process has none.

        Where the storage does not take that, the claim runs out when this process ends.
        """
        with self._lock:
            number = self._held.pop(name, 0)
        with contextlib.suppress(OutputUnwritable):
            for each in range(number, 0, -1):  # with those that it followed
                self._store.remove(self._key(name, each))

    def held_by_others(self, names: Collection[str]) -> set[str]:
        """Those of the names that other processes hold, whose claims have not run out."""
        return {
            name
            for name, claim in self._last_claims(names).items()
            if claim.process != self._process and not self._has_run_out(claim)
        }

    def has_company(self) -> bool:
        """Whether other processes seem to map this run, too."""
        own = self._process_key(self._process)
        return any(
            key != own and not is_dead(process)
            for key in self._store.keys(self._folder)
            if (process := self._process_of(key))
        )

    def remove_run_out(self) -> None:
        """Remove the claims that have run out, and the files of processes that have ended."""
        keys = list(self._store.keys(self._folder))
        for key, content in self._store.read_many(filter(self._name_of, keys)):
            if self._has_run_out(_claim(key, content)):
                self._store.remove(key)
        for key in keys:
            process = self._process_of(key)
            if process and process != self._process and self._has_ended(process):
                self._store.remove(key)

    def renew(self) -> None:
        """Show that this process lives; its file is not made anew where another removed it."""
        with self._own_file:
            if not self._is_listed:
                return
            self._count += 1
            with contextlib.suppress(OutputUnwritable, MemoryError):  # the run itself says it
                key = self._process_key(self._process)
                self._is_listed = self._store.overwrite(key, self._content())

    def end(self) -> None:
        """Give all claims back."""
        for name in list(self._held):
            self.release(name)
        with contextlib.suppress(OutputUnwritable):
            if self._is_listed:
                self._store.remove(self._process_key(self._process))

    def _create(self, name: str, number: int) -> bool:
        if not self._store.create(self._key(name, number), self._content()):
            return False
        with self._lock:
            self._held[name] = number
        return True

    def _last_claims(self, names: Collection[str]) -> Mapping[str, _CellClaim]:
        """The claims with the highest numbers, by name; each key is listed after lower numbers."""
        keys = {
            name: key
            for key in self._store.keys(self._folder)
            if (name := self._name_of(key)) in names
        }
        contents = dict(self._store.read_many(keys.values()))
        return {n: _claim(key, contents[key]) for n, key in keys.items() if key in contents}

    def _has_run_out(self, claim: _CellClaim) -> bool:
        if not claim.process:
            return self._unchanged_seconds(claim.key, b"") > self._lease
        if claim.process == self._process:
            return claim.key not in {self._key(*held) for held in self._held.items()}
        return self._has_ended(claim.process)

    def _has_ended(self, process: str) -> bool:
        """Whether another process has ended, died, or stood still for a lease."""
        if is_dead(process):
            return True
        key = self._process_key(process)
        sign = dict(self._store.read_many([key])).get(key)
        if sign is None:
            return True
        lease = _parsed(sign, "lease_seconds")
        return self._unchanged_seconds(key, sign) > (
            lease if isinstance(lease, int | float) else self._lease
        )

    def _unchanged_seconds(self, key: str, content: bytes) -> float:
        """For how long this process has seen a file stay the same."""
        now = time.monotonic()
        with self._lock:
            seen, since = self._seen.get(key, (None, now))
            if seen != content:
                self._seen[key] = content, now
                return 0.0
            return now - since

    def _content(self) -> bytes:
        sign = {
            "process": self._process,
            "host": socket.gethostname(),
            "lease_seconds": self._lease,
            "count": self._count,
        }
        return json.dumps(sign, indent=1).encode() + b"\n"

    def _key(self, name: str, number: int) -> str:
        return f"{self._folder}/{name}.{number:06}.json"

    def _name_of(self, key: str) -> str:
        """The name that a key claims; empty for other files."""
        parts = key.removeprefix(f"{self._folder}/").split(".")
        return parts[0] if len(parts) == 3 and parts[1].isdecimal() and parts[2] == "json" else ""

    def _process_key(self, process: str) -> str:
        return f"{self._folder}/{_PROCESS}{process}.json"

    def _process_of(self, key: str) -> str:
        """The process whose file a key is; empty for other files."""
        name = key.removeprefix(f"{self._folder}/")
        return (
            name.removeprefix(_PROCESS).removesuffix(".json") if name.startswith(_PROCESS) else ""
        )


def _claim(key: str, content: bytes) -> _CellClaim:
    return _CellClaim(key, int(key.split(".")[-2]), str(_parsed(content, "process")))


def _parsed(content: bytes, field: str) -> object:
    """A field of a file's JSON object; empty where it has none, or the file is half-written."""
    try:
        found: object = parse_json(content)[field]
    except (ValueError, KeyError, TypeError):
        return ""
    return found
