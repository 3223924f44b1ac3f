"""Marks of processes in the names of what is temporary, so that only a dead one's is removed.

A mark says on which machine a process runs, its id and its start. A process id alone is given to
another process later, and means another process in another container.
"""

import contextlib
import functools
import hashlib
import multiprocessing
import os
import re
import shutil
import tempfile
from pathlib import Path

_MARK = re.compile(r"([0-9a-f]{12})-(\d+)-(\d+)")
_PROC = Path("/proc")
_TEMPORARY = "timesen-"
_SEMAPHORE = "mp-timesen-"
_SHARED = Path("/dev/shm")


def process_mark() -> str:
    """The mark of this process, such as "3f9a1c2b77e0-1234-56789": letters, digits and hyphens."""
    pid = os.getpid()
    _, start = _state_and_start(pid) or ("", 0)
    return f"{_machine()}-{pid}-{start}"


def is_dead(text: str) -> bool:
    """Whether a text begins with the mark of a process that is certainly dead.

    That is never certain of processes of other machines, of other containers, or before a reboot.
    """
    match = _MARK.match(text)
    if match is None or match[1] != _machine() or not (_PROC / "self/stat").exists():
        return False
    pid, start = int(match[2]), int(match[3])
    if (found := _state_and_start(pid)) is not None:
        state, began = found
        return state in "ZX" or began != start
    try:  # where /proc hides the processes of others
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def is_here(text: str) -> bool:
    """Whether a text begins with the mark of a process of this machine and container."""
    match = _MARK.match(text)
    return match is not None and match[1] == _machine() and (_PROC / "self/stat").exists()


@functools.cache
def _machine() -> str:
    """Tells apart machines, their boots, and the containers on them (spaces of process ids)."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        space = (_PROC / "self/ns/pid").stat().st_ino
    except OSError:
        boot, space = "", 0
    told = f"{os.uname().nodename} {boot} {space}"
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _state_and_start(pid: int) -> tuple[str, int] | None:
    """A process's state (one letter) and start, in clock ticks since the boot; None if unknown."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def temporary_prefix(kind: str) -> str:
    """The beginning of the name of a folder in the system's temporary folder."""
    return f"{_TEMPORARY}{kind}-{process_mark()}-"


def mark_semaphores() -> None:
    """Put this process's mark into the names of semaphores that it will make with its children.

    Python's own process that removes them (the resource tracker) is killed with a group of
    processes. The prefix is private to `multiprocessing`; without it, names bear no mark.
    """
    config = getattr(multiprocessing.current_process(), "_config", None)
    if isinstance(config, dict) and "semprefix" in config and _SHARED.is_dir():
        config["semprefix"] = f"/{_SEMAPHORE}{process_mark()}"


def remove_leftovers() -> None:
    """Remove temporary folders and semaphores of this user's processes that were killed."""
    temporary = re.compile(rf"{_TEMPORARY}[a-z]+-")
    remove_abandoned(Path(tempfile.gettempdir()), temporary)
    remove_abandoned(_SHARED, re.compile(re.escape(f"sem.{_SEMAPHORE}")))


def remove_abandoned(folder: Path, prefix: re.Pattern[str]) -> None:
    """Remove what this user has in a folder under a name of a prefix and a dead process's mark."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            found = prefix.match(path.name)
            if found is None or not is_dead(path.name[found.end() :]):
                continue
            with contextlib.suppress(OSError):
                if path.lstat().st_uid == os.getuid():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
