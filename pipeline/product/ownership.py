"""Claims of processes on a run's folder: who may plan in it, and whose run is mapped.

A claim is a numbered file, `owners/000003.json`, and the highest number holds. A number is only
ever created where it is free (O_EXCL in a folder, `If-None-Match: *` on S3), and a process takes
the folder of one that has ended or died by creating the next number: of several, one succeeds. The
last claim stays in the folder, so no number comes twice; but where a process fails before it has
written anything else, it takes its claim away.

A process writes a new count into its claim every few seconds. It has died if it is of this machine
and is gone, or if its claim stays the same for a minute while another process looks: clocks of
different machines are never compared.

Claims keep a second process from harm. What keeps a result right is `pipeline.product.ledger`: the
files of a plan are checked against `run.json`, which is also read before each cell is written.
"""

import contextlib
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from models.files.json_text import parse_json
from models.files.process_mark import is_dead, is_here, process_mark
from pipeline.errors import OutputError, OutputUnwritable
from pipeline.io.fingerprint import now
from pipeline.io.store import Store, public_url
from pipeline.layout import OWNERS, RUN, owner_key

_BEAT_SECONDS = 10
_SILENT_SECONDS = 60  # then a process of another machine has died; caches of NFS last as long
_POLL_SECONDS = 0.5


@contextlib.contextmanager
def claimed(
    store: Store, plan: str, *, shared: bool = False, enough: Callable[[], bool] = lambda: False
) -> Iterator[bool]:
    """Claim a run's folder for the length of the block.

    Args:
        store: The folder.
        plan: The hash of what is planned; processes with the same wait for one another.
        shared: Whether processes of the same plan may be in the block together: the second does
            not wait, and has no claim of its own.
        enough: Whether what another process of the same plan has done is all that is needed: then
            this one waits no longer, and has no claim of its own.

    Yields:
        Whether this process has a claim of its own.

    Raises:
        OutputError: A process with another plan holds the folder, or one of this machine with the
            same stands still.
        OutputUnwritable: The folder takes no file.
    """
    was_there = store.has_folder()
    number = _take(store, plan, shared, enough)
    if number is None:
        yield False
        return
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(store, number, plan, ended), daemon=True)
    beat.start()
    failed = True
    try:
        yield True
        failed = False
    finally:
        ended.set()
        beat.join()
        if failed:
            _withdraw(store, number, was_there)


def last_held(store: Store) -> str | None:
    """When a process last showed that it has a run's folder, in UTC; None where none did."""
    claim = _last_claim(store)
    try:
        return None if claim is None else str(parse_json(claim.content)["when"])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class _Claim:
    """A claim that was read; `plan` and `process` are empty where it is half-written."""

    number: int
    content: bytes
    plan: str = ""
    process: str = ""
    host: str = ""
    ended: bool = False

    @property
    def holder(self) -> str:
        """The process, for a person."""
        return f"process {self.process.split('-')[1]} on {self.host}"


def _take(store: Store, plan: str, shared: bool, enough: Callable[[], bool]) -> int | None:
    """Create the next claim, and give its number; None if a process of the same plan shares its."""
    watched, since = b"", time.monotonic()
    while True:
        last = _last_claim(store)
        if last is not None:
            ours = last.plan == plan and not last.ended
            if shared and ours and not is_dead(last.process):
                return None
            if not _has_ended(store, last):
                if not last.plan:
                    continue  # it was half-written
                if last.content != watched:
                    watched, since = last.content, time.monotonic()
                if not ours or time.monotonic() - since > _SILENT_SECONDS:
                    raise _held(store, last)
                if enough():
                    return None
                time.sleep(_POLL_SECONDS)
                continue
        number = 1 if last is None else last.number + 1
        if not store.create(owner_key(number), _content(plan)):
            continue
        newest = _last_claim(store)
        if newest is not None and newest.number == number:
            for key in list(store.keys(OWNERS)):
                if key < owner_key(number):
                    store.remove(key)
            return number


def _withdraw(store: Store, number: int, was_there: bool) -> None:
    """Leave nothing in a folder in which nothing was done."""
    with contextlib.suppress(OutputUnwritable):
        if not store.exists(RUN) and list(store.keys()) == [owner_key(number)]:
            store.remove(owner_key(number))
            store.remove_empty_folder(OWNERS)
            if not was_there:
                store.remove_empty_folder()


def _held(store: Store, claim: _Claim) -> OutputError:
    return OutputError(
        public_url(store.root),
        f"another process plans or maps in it ({claim.holder})",
        "Name another folder, or end that process first",
    )


def _last_claim(store: Store) -> _Claim | None:
    keys = [key for key in store.keys(OWNERS) if re.fullmatch(rf"{OWNERS}/\d{{6,}}\.json", key)]
    for key, content in store.read_many(keys[-1:]):
        return _parsed(int(key.removeprefix(f"{OWNERS}/").removesuffix(".json")), content)
    return _last_claim(store) if keys else None  # it was removed by the holder of the next


def _parsed(number: int, content: bytes) -> _Claim:
    try:
        said: dict[str, Any] = parse_json(content)
        process = str(said["process"])
        if process.count("-") != 2:
            raise ValueError
        return _Claim(
            number, content, str(said["plan"]), process, str(said["host"]), bool(said["ended"])
        )
    except (ValueError, KeyError, TypeError):
        return _Claim(number, content)


def _has_ended(store: Store, claim: _Claim) -> bool:
    """Whether a claim's process has ended or died; of another machine's it takes a while."""
    if claim.ended or is_dead(claim.process):
        return True
    if is_here(claim.process):
        return False
    until = time.monotonic() + _SILENT_SECONDS
    while time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
        last = _last_claim(store)
        if last is None or last.content != claim.content:
            return False
    return True


def _beat(store: Store, number: int, plan: str, ended: threading.Event) -> None:
    """Show that this process lives until `ended`; a claim that was removed is not made anew."""
    key = owner_key(number)
    for count in itertools.count(1):
        stopped = ended.wait(_BEAT_SECONDS)
        with contextlib.suppress(OutputUnwritable, MemoryError):  # the run itself says it
            found = dict(store.read_many([key])).get(key, b"")
            if _parsed(number, found).process != process_mark():
                return  # the folder was removed, and perhaps another process holds a new one
            store.overwrite(key, _content(plan, count, ended=stopped))
        if stopped:
            return


def _content(plan: str, count: int = 0, *, ended: bool = False) -> bytes:
    claim = {
        "plan": plan,
        "process": process_mark(),
        "host": socket.gethostname(),
        "when": now(),
        "count": count,
        "ended": ended,
    }
    return json.dumps(claim, indent=1).encode() + b"\n"
