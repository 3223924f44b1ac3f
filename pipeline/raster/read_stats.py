"""The facts of reading: rasters left out, requests, bytes, and time by stage.

Every record of the way from reader to product carries one `ReadStats`; they add up.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fault:
    """A raster that was left out: its URL without secrets, its band, and a short reason."""

    asset: str
    band: str
    reason: str


@dataclass(frozen=True)
class ReadStats:
    """The facts of some reading; `+` gives those of both.

    Attributes:
        faults: The rasters left out, each once, in the order in which they were met.
        retries: How many requests were sent again.
        seconds: Time by stage ("read", "composite", "encode", …).
        requests: Requests to HTTP servers for rasters.
        fetched: Bytes of rasters that came over HTTP or from files.

    What GDAL fetches by itself (s3) is counted neither in requests nor in bytes.
    """

    faults: tuple[Fault, ...] = ()
    retries: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    requests: int = 0
    fetched: int = 0

    def __add__(self, other: "ReadStats") -> "ReadStats":
        return total_stats((self, other))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "seconds": {stage: round(spent, 3) for stage, spent in self.seconds.items()},
            "retries": self.retries,
            "requests": self.requests,
            "fetched": self.fetched,
            "faults": [asdict(fault) for fault in self.faults],
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "ReadStats":
        """The stats of `to_dict`'s values; other keys are ignored.

        Early versions counted neither requests nor bytes.
        """
        return cls(
            faults=tuple(Fault(**fault) for fault in raw["faults"]),
            retries=raw["retries"],
            seconds=dict(raw["seconds"]),
            requests=raw.get("requests", 0),
            fetched=raw.get("fetched", 0),
        )


NO_STATS = ReadStats()
"""Nothing was read."""


def total_stats(parts: Iterable[ReadStats]) -> ReadStats:
    """The sum of several readings' stats; a raster that failed in several is one fault."""
    faults: dict[Fault, None] = {}
    retries, requests, fetched, seconds = 0, 0, 0, dict[str, float]()
    for part in parts:
        faults.update(dict.fromkeys(part.faults))
        retries += part.retries
        requests += part.requests
        fetched += part.fetched
        for stage, spent in part.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + spent
    return ReadStats(tuple(faults), retries, seconds, requests, fetched)


@dataclass(frozen=True)
class LeftOut:
    """The rasters that were left out of some cell: how many, and the commonest reason.

    Attributes:
        rasters: How many, each once, however many cells it was left out of.
        reason: The reason of most of them.
        of_reason: How many have that reason.
    """

    rasters: int
    reason: str
    of_reason: int

    def sentence(self, of: int | None = None) -> str:
        """What a person should know of it; `of` is the number of all rasters."""
        number = f"{self.rasters:,}" + (f" of {of:,}" if of else "")
        return (
            f"{number} rasters could not be read and were left out, most often because: "
            f"{self.reason} ({self.of_reason:,})"
        )


def rasters_left_out(parts: Iterable[ReadStats]) -> LeftOut | None:
    """The rasters that were left out in several readings; None where all were read."""
    faults = total_stats(parts).faults
    if not faults:
        return None
    reasons = Counter(reason for _, reason in {(fault.asset, fault.reason) for fault in faults})
    reason = min(reasons, key=lambda each: (-reasons[each], each))
    return LeftOut(len({fault.asset for fault in faults}), reason, reasons[reason])


class FaultLog:
    """The faults, requests and bytes of readers in this process; threads may share one."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self.retries = 0  # requests that were sent again
        self.requests = self.fetched = 0
        self._lock = threading.Lock()

    def append(self, fault: Fault) -> None:
        """Note a fault."""
        with self._lock:
            self._faults.append(fault)

    def retried(self) -> None:
        """Note that a request is sent again."""
        with self._lock:
            self.retries += 1

    def count(self, fetched: int, requests: int = 0) -> None:
        """Count bytes of rasters that came, and the requests for them."""
        with self._lock:
            self.fetched += fetched
            self.requests += requests

    def stats(self) -> ReadStats:
        """The stats so far, faults sorted: their order does not depend on which was met first."""
        faults = sorted(self, key=lambda fault: (fault.asset, fault.reason))
        return ReadStats(tuple(faults), self.retries, requests=self.requests, fetched=self.fetched)

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._faults))

    def __len__(self) -> int:
        return len(self._faults)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "_faults": list(self._faults),
            **{name: getattr(self, name) for name in ("retries", "requests", "fetched")},
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __dask_tokenize__(self) -> int:
        return id(self)  # what a reader reads does not depend on the faults it has met
