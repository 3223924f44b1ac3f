"""Disks that are full, without inodes, or read-only; files that may not grow."""

import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.faults.kinds.kind import Kind
from tests.faults.moments import moment_of_map
from tests.faults.trial import Skipped, Trial


def _mount(trial: Trial, folder: Path, options: str) -> Callable[[str], None]:
    """Mount a file system of memory on a folder; returns what mounts it again with options."""
    if not trial.world.is_root:
        raise Skipped("mounting needs root")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "timesen-faults", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise Skipped(f"no mount here: {made.stderr.strip()}")
    trial.to_close(lambda: subprocess.run(["umount", "--lazy", str(folder)], check=False))

    def again(changed: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{changed}", str(folder)], check=True)

    return again


def _fill_disk(trial: Trial) -> None:
    size = trial.draw.choice((8, 40, 80, 150, 250, 350, 450, 550))
    mount = _mount(trial, trial.room.out.parent, f"size={size}k")
    trial.to_mend(lambda: mount("size=64m"))
    trial.use(cluster=trial.draw.choice(("threads", "threads", "threads", "local")))
    trial.start()
    trial.struck = True
    trial.note(f"a disk of {size} KB, {trial.job.cluster}")


def _fill_disk_later(trial: Trial) -> None:
    mount = _mount(trial, trial.room.out.parent, "size=64m")
    ballast = trial.room.out.parent / "ballast"
    trial.to_mend(lambda: (ballast.unlink(missing_ok=True), mount("size=64m")))
    started = trial.start()
    if not trial.at(moment_of_map(trial.draw), started):
        return
    with ballast.open("wb", buffering=0) as file:
        for size in (2**16, 2**12):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    trial.note("another has filled the disk")


def _use_up_inodes(trial: Trial) -> None:
    number = trial.draw.choice((4, 8, 12, 20, 30, 40, 50, 58))
    mount = _mount(trial, trial.room.out.parent, f"size=64m,nr_inodes={number}")
    trial.to_mend(lambda: mount("nr_inodes=100000"))
    trial.start()
    trial.struck = True
    trial.note(f"a disk with {number} inodes")


def _make_read_only(trial: Trial) -> None:
    mount = _mount(trial, trial.room.out.parent, "size=64m")
    trial.to_mend(lambda: mount("rw"))
    if trial.draw.random() < 0.3:
        mount("ro")
        trial.start()
        trial.struck = True
        trial.note("a read-only disk")
        return
    started = trial.start()
    if not trial.at(moment_of_map(trial.draw), started):
        return
    while not started.command.ended.is_set():  # it is busy while a file is being written
        try:
            mount("ro")
            break
        except subprocess.CalledProcessError:
            continue
    trial.note("the disk becomes read-only")


def _limit_file_size(trial: Trial) -> None:
    size = trial.draw.choice((100, 1000, 2000, 4000, 8000, 15000, 30000))
    trial.start(limits={"RLIMIT_FSIZE": size})
    trial.struck = True
    trial.note(f"no file may have more than {size} bytes")


def _fill_temporary_folder(trial: Trial) -> None:
    own = trial.draw.random() < 0.5
    trial.use(cluster=trial.draw.choice(("threads", "local")))
    mount = _mount(trial, trial.room.folder / "tmp", "size=4k,nr_inodes=2")
    trial.to_mend(lambda: mount("size=64m,nr_inodes=10000"))
    trial.start(environment={"PREFECT_API_URL": ""} if own else None)
    trial.struck = True
    trial.note(f"a full temporary folder, {trial.job.cluster}")


def _fill_cache(trial: Trial) -> None:
    cache = trial.room.folder / "cache"
    cache.mkdir()
    full = trial.draw.random() < 0.5
    mount = _mount(trial, cache, "size=4k,nr_inodes=4" if full else "size=4k,ro")
    trial.to_mend(lambda: mount("rw,size=64m,nr_inodes=10000"))
    trial.start(environment={"XDG_CACHE_HOME": str(cache)})
    trial.struck = True
    trial.note(f"a cache of embeddings that is {'full' if full else 'read-only'}")


def _remove_folder(trial: Trial) -> None:
    trial.keeps_cells = False
    started = trial.start()
    if not trial.at(moment_of_map(trial.draw, "run.json"), started):
        return
    out, away = trial.room.out, trial.room.folder / "away"
    if out.exists():
        out.rename(away)
    trial.note("the run's folder is moved away")

    def put_back() -> None:  # a run that says it has succeeded must have finished it before
        if started.command.code == 0 and away.exists() and not out.exists():
            away.rename(out)

    trial.to_mend(put_back)


DISKS = (
    Kind("disk too small", _fill_disk),
    Kind("disk filled by another", _fill_disk_later),
    Kind("no inodes", _use_up_inodes),
    Kind("disk read-only", _make_read_only),
    Kind("limit of a file's size", _limit_file_size),
    Kind("temporary folder full", _fill_temporary_folder),
    Kind("cache full or read-only", _fill_cache),
    Kind("run's folder removed", _remove_folder),
)
