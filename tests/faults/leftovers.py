"""What a fault left behind: processes, temporary files, semaphores, half-written files."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tests.faults.commands import wait_for_end
from tests.faults.places import Place
from tests.faults.world import Room

_GRACE_SECONDS = 20.0
_STAYS = re.compile(r"torchinductor_\w+/|dask-scratch-space/(\w+\.lock)?|(sem\.)?faketime_\w+")
"""What libraries keep from run to run in the folder of temporary files, once for all runs, and what
libfaketime, which sets a run's clock, leaves where the run is killed."""


def processes_left(room: Room, roots: Sequence[int]) -> list[str]:
    """Processes of a fault that live on once its commands have ended."""
    left = wait_for_end(room.mark, roots, _GRACE_SECONDS)
    return [f"process {process.pid}: {' '.join(process.cmdline()[:6])}" for process in left]


def files_left(room: Room, place: Place, cache: Path) -> list[str]:
    """Temporary files, sockets and semaphores of a fault, and unfinished files of its product."""
    left = [f"unfinished {name}" for name in place.unfinished()]
    for title, folder in (("TMPDIR", room.folder / "tmp"), ("/dev/shm", room.folder / "shm")):
        left += [f"{title}/{name}" for name in _names(folder) if not _STAYS.fullmatch(name)]
    left += [f"cache: {name}" for name in _names(cache) if ".part" in name]
    return left


def _names(folder: Path) -> list[str]:
    names = []
    for at, folders, files in os.walk(folder):
        here = Path(at).relative_to(folder)
        names += [str(here / name) for name in files]
        names += [f"{here / name}/" for name in folders if not any((Path(at) / name).iterdir())]
    return names
