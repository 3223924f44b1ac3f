"""Runs of many inputs of a target in a process of its own, which is watched."""

import ctypes
import hashlib
import multiprocessing
import os
import random
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.fuzz.guard import WAITING, TookTooLong, limited, peak_bytes
from tests.fuzz.target import Files, Target
from tests.fuzz.targets import target_class

_SPAWN = multiprocessing.get_context("spawn")
_PATIENCE = 2 * WAITING  # seconds after which a process that hears no alarm is killed
_WARM = 50  # inputs after which a process has imported and compiled all that it uses
_MADE = ".made"
_PACKAGES = ("/models/", "/pipeline/", "/flows/", "/tests/fuzz/targets/")


@dataclass
class Finding:
    """One kind of failure: where and how it fails; the first input that showed it, its number."""

    kind: str
    number: int
    files: Files
    trace: str = ""
    count: int = 1


@dataclass
class Outcome:
    """The counts of a run: inputs accepted and refused, and its findings by kind.

    Attributes:
        slowest: Seconds that the slowest input took.
        grown: Bytes by which the process's memory has grown at most, its first inputs aside.
    """

    target: str
    accepted: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    grown: int = 0
    findings: dict[str, Finding] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """How many inputs were read."""
        return self.accepted + self.refused + sum(one.count for one in self.findings.values())

    def add(self, finding: Finding) -> None:
        """Count a failure; the smallest input of its kind is kept."""
        known = self.findings.get(finding.kind)
        if known is not None:
            finding.count += known.count
            if _size(known.files) <= _size(finding.files):
                known.count, finding = finding.count, known
        self.findings[finding.kind] = finding


def _size(files: Files) -> int:
    return sum(map(len, files.values()))


def draw_of(target: str, seed: int, number: int) -> random.Random:
    """The random numbers of one input: the same wherever it is made again."""
    digest = hashlib.sha256(f"{target} {seed} {number}".encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def seeds_of(target: str, folder: Path) -> Path:
    """The folder of a target's valid files, made once, in a process of its own."""
    place = folder / target
    if not (place / _MADE).is_file():
        place.mkdir(parents=True, exist_ok=True)
        process = _SPAWN.Process(target=_make_seeds, args=(target, place))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the valid files of {target} could not be made")
    return place


def _make_seeds(target: str, place: Path) -> None:
    target_class(target).make_seeds(place)
    (place / _MADE).touch()


def try_one(target: Target, number: int, files: Files) -> bool | Finding:
    """Read one input within the limits: whether it is accepted, or how it fails."""
    try:
        with limited():
            return target.try_input(files)
    except (Exception, TookTooLong) as error:
        trace = "".join(traceback.format_exception(error))
        return Finding(kind_of(error), number, target.kept(files), trace)


def kind_of(error: BaseException) -> str:
    """An error's class, and the last line of the project's own that it went through."""
    own = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if any(package in frame.filename for package in _PACKAGES)
    ]
    last = f"{Path(own[-1].filename).name}:{own[-1].name}" if own else "?"
    said = f": {error}"[:60] if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} in {last}{said}"


def fuzz(target: str, count: int, seed: int, folder: Path, first: int = 0) -> Outcome:
    """Read `count` inputs of a target, from number `first` on; valid files lie in `folder`."""
    seeds = seeds_of(target, folder)
    outcome, began = Outcome(target), time.perf_counter()
    number = first
    while number < first + count:
        number, death = _watched(outcome, seeds, seed, number, first + count)
        if death is not None:
            outcome.add(Finding(death, number, _made_again(target, seeds, seed, number)))
            number += 1
    outcome.seconds = time.perf_counter() - began
    return outcome


def _made_again(target: str, seeds: Path, seed: int, number: int) -> Files:
    with tempfile.TemporaryDirectory() as scratch:
        made = target_class(target)(seeds, Path(scratch))
        return made.kept(made.make(draw_of(target, seed, number)))


class _Shared(ctypes.Structure):
    """What a process tells of its work, at any time, even if it dies."""

    _fields_ = (
        ("number", ctypes.c_int64),
        ("accepted", ctypes.c_int64),
        ("refused", ctypes.c_int64),
        ("slowest", ctypes.c_double),
        ("grown", ctypes.c_int64),
    )


def _watched(
    outcome: Outcome, seeds: Path, seed: int, first: int, end: int
) -> tuple[int, str | None]:
    """Read inputs in a process; gives the last one's number, and why the process died, if so."""
    shared = _SPAWN.Value(_Shared, lock=False)
    shared.number = -1
    receiving, sending = _SPAWN.Pipe(duplex=False)
    arguments = (outcome.target, seeds, seed, first, end, shared, sending)
    process = _SPAWN.Process(target=_work, args=arguments)
    process.start()
    sending.close()
    death = None
    try:
        for finding in _received(receiving, process, shared):
            outcome.add(finding)
    except TimeoutError:
        process.kill()
        death = "hang that no alarm ends"
    process.join()
    if death is None and process.exitcode:
        death = f"death of the process, exit code {process.exitcode}"
    if death and shared.number < 0:
        raise RuntimeError(f"{outcome.target}: {death} before the first input")
    outcome.accepted += shared.accepted
    outcome.refused += shared.refused
    outcome.slowest = max(outcome.slowest, shared.slowest)
    outcome.grown = max(outcome.grown, shared.grown)
    return (shared.number if death else end), death


def _received(receiving: Connection, process: BaseProcess, shared: Any) -> Iterator[Finding]:
    """The findings of a process until it ends; raises TimeoutError where it goes no further."""
    number, since = shared.number, time.monotonic()
    while True:
        try:
            if receiving.poll(1.0):
                yield receiving.recv()
                continue
        except EOFError:
            return
        if shared.number != number or shared.number < 0:
            number, since = shared.number, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            raise TimeoutError


def _work(
    target: str, seeds: Path, seed: int, first: int, end: int, shared: Any, sending: Connection
) -> None:
    with tempfile.TemporaryDirectory(prefix="timesen-fuzz-") as scratch:
        made = target_class(target)(seeds, Path(scratch))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what GDAL and Arrow say themselves
        before, parent = None, os.getppid()
        for number in range(first, end):
            if os.getppid() != parent:
                return  # nobody listens any more
            shared.number = number
            files = made.make(draw_of(target, seed, number))
            began = time.perf_counter()
            found = try_one(made, number, files)
            shared.slowest = max(shared.slowest, time.perf_counter() - began)
            if isinstance(found, Finding):
                sending.send(found)
            elif found:
                shared.accepted += 1
            else:
                shared.refused += 1
            if before is None and number - first >= _WARM:
                before = peak_bytes()
            if before is not None:
                shared.grown = max(shared.grown, peak_bytes() - before)
