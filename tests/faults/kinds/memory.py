"""Memory that runs out: in a cgroup, by a limit of the address space, by one cell's rasters."""

import itertools
import os
import shutil
import signal
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

from tests.faults.kinds.kind import Kind
from tests.faults.trial import Skipped, Trial

_GROUPS = Path("/sys/fs/cgroup")
_numbers = itertools.count()
_MB = 2**20
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325  # tags of TIFF 6.0
_LONG = 4  # a type of a tag's value


def _memory_group(trial: Trial, megabytes: int) -> str:
    """Make a cgroup of memory below our own; it goes when the fault has ended."""
    for folder, limit in (
        (_own_group("memory", _GROUPS / "memory"), "memory.limit_in_bytes"),
        (_own_group("", _GROUPS), "memory.max"),
    ):
        if folder is None:
            continue
        group = folder / f"timesen-faults-{os.getpid()}-{next(_numbers)}"
        try:
            group.mkdir()
            trial.to_close(lambda group=group: _remove_group(group))
            (group / limit).write_text(str(megabytes * _MB))
        except OSError:
            continue
        return str(group)
    raise Skipped("no cgroup of memory can be made here (it needs root, or a delegated cgroup)")


def _own_group(controller: str, mount: Path) -> Path | None:
    """This process's cgroup: of a controller (version 1), or of all (version 2, no name)."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return mount / path.lstrip("/")
    return None


def _remove_group(group: Path) -> None:
    for _ in range(100):
        with suppress(FileNotFoundError):
            try:
                group.rmdir()
            except OSError:
                time.sleep(0.1)
                continue
        return


def _run_out_in_cgroup(trial: Trial) -> None:
    megabytes = trial.draw.choice((40, 80, 120, 160, 200, 250, 300))
    group = _memory_group(trial, megabytes)
    started = trial.start(memory_group=group)
    started.signals.add(signal.SIGKILL)
    trial.struck = True
    trial.note(f"{megabytes} MB for the run")


def _run_out_in_cgroup_of_processes(trial: Trial) -> None:
    megabytes = trial.draw.choice((300, 450, 600, 750, 900))
    group = _memory_group(trial, megabytes)
    trial.use(cluster="local")
    started = trial.start(memory_group=group)
    started.signals.add(signal.SIGKILL)
    trial.struck = True
    trial.note(f"{megabytes} MB for the run and its local workers")


def _run_out_of_addresses(trial: Trial) -> None:
    megabytes = trial.draw.choice((20, 60, 120, 200, 300, 450, 600, 900))
    started = trial.start(limits={"RLIMIT_AS": megabytes * _MB})
    started.signals |= {signal.SIGSEGV, signal.SIGABRT}  # of libraries that take memory for granted
    trial.struck = True
    trial.note(f"{megabytes} MB of address space more than at the start")


def _poison_a_cell(trial: Trial) -> None:
    """One raster of a cell takes more memory than a worker may have, each time it is read."""
    group = _memory_group(trial, 1100)
    archive = trial.room.folder / "archive"
    shutil.copytree(trial.world.archive, archive)
    rasters = sorted(archive.glob("sentinel-2-l2a/31/U/GR/**/SCL.tif"))
    victim = rasters[trial.draw.randrange(len(rasters))]
    sound = victim.read_bytes()
    trial.to_mend(lambda: victim.write_bytes(sound))
    victim.write_bytes(_bomb(sound))
    trial.use(cluster="local", workers=1, strict=True, source=str(archive))
    started = trial.start(memory_group=group)
    started.signals.add(signal.SIGKILL)
    trial.struck = True
    trial.note(f"{victim.name} of {victim.parent.name} takes a worker's memory each time")


def _bomb(sound: bytes, side: int = 40_000) -> bytes:
    """The GeoTIFF with its only block in place of one of 1.6 GB of zeros, in 7 MB."""
    packer, block = zlib.compressobj(1), bytes(16 * _MB)
    packed = b"".join(
        packer.compress(block[: side * side - at]) for at in range(0, side * side, len(block))
    )
    packed += packer.flush()
    values = {
        _TILE_WIDTH: side, _TILE_LENGTH: side, _TILE_OFFSETS: len(sound), _TILE_BYTES: len(packed),
    }  # fmt: skip
    content = bytearray(sound)
    (directory,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, directory)
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from("<H", content, at)
        if tag in values:
            struct.pack_into("<HHII", content, at, tag, _LONG, 1, values[tag])
    return bytes(content) + packed


MEMORY = (
    Kind("out of memory in a cgroup", _run_out_in_cgroup),
    Kind("local workers out of memory in a cgroup", _run_out_in_cgroup_of_processes),
    Kind("address space used up", _run_out_of_addresses),
    Kind("poison cell", _poison_a_cell),
)
