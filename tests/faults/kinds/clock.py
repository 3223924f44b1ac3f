"""A clock that is set while a run goes on, and files whose times are not those of the clock."""

import os
import signal
from pathlib import Path

from tests.faults.kinds.kind import Kind
from tests.faults.moments import moment_of_map
from tests.faults.trial import Skipped, Trial
from tests.faults.world import ROOT

_LIBRARY = "*/faketime/libfaketimeMT.so.1"  # below /usr/lib, in Debian's packages
_SHIFTS = ("-2d", "-1h", "+90s", "+1h", "+2d", "+400d")
_SECONDS = {"s": 1, "h": 3600, "d": 86400}
# Debian's libfaketime 0.9.10 sets the monotonic clock of `clock_nanosleep` as well, which Python's
# `time.sleep` calls (wolfcw/libfaketime issue 426). `select` sleeps by a span of time.
_SITECUSTOMIZE = """\
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""


def _set_clock(trial: Trial) -> None:
    found = list(Path("/usr/lib").glob(_LIBRARY))
    if not found:
        raise Skipped("no libfaketime here (.ci/services installs it)")
    clock = trial.room.folder / "clock"
    clock.write_text("+0\n")
    (trial.room.folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    shift = trial.draw.choice(_SHIFTS)
    ends = trial.draw.random() < 0.5
    environment = {
        "LD_PRELOAD": str(found[0]),
        "PYTHONPATH": os.pathsep.join((str(trial.room.folder), str(ROOT))),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    started = trial.start(environment=environment, fresh=True)
    if not trial.at(moment_of_map(trial.draw, "run.json"), started):
        return
    clock.write_text(f"{shift}\n")
    trial.note(f"the clock jumps by {shift}{', and the driver is killed later' if ends else ''}")
    if ends and not started.command.ended.wait(0.5):
        trial.end(started, signal.SIGKILL)


def _set_times_of_files(trial: Trial) -> None:
    started = trial.start()
    if trial.at(moment_of_map(trial.draw, "run.json"), started):
        trial.end(started, trial.draw.choice((signal.SIGKILL, signal.SIGTERM)))
    started.command.wait(trial.seconds)
    shift = trial.draw.choice(_SHIFTS)
    seconds = int(shift[:-1]) * _SECONDS[shift[-1]]
    for folder, _, names in os.walk(trial.room.out):
        for name in names:
            file = os.path.join(folder, name)  # noqa: PTH118
            times = os.stat(file)  # noqa: PTH116
            os.utime(file, (times.st_atime + seconds, times.st_mtime + seconds))
    trial.note(f"killed, and the times of all files moved by {shift}")


CLOCK = (
    Kind("clock set", _set_clock),
    Kind("times of files moved", _set_times_of_files),
)
