"""A process that has imported timesen, and forks a command from itself within milliseconds.

Importing torch, Prefect and GDAL takes a command some ten seconds, and two hundred faults are some
five hundred commands. A forked command is a process like any other: with a session, an environment,
a folder, signals and limits of its own. It never runs in this process, which has one thread.
"""

import contextlib
import ctypes
import faulthandler
import json
import os
import resource
import runpy
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

_IMPORTED = (
    "flows.cli.map",
    "flows.cli.pretrain",
    "flows.map_region",
    "flows.pretrain",
    "distributed.cli.dask_scheduler",
    "distributed.cli.dask_worker",
    "sklearn.neighbors",
)
_NEW_MOUNTS, _PRIVATE, _BIND = 0x20000, 0x44000, 0x1000  # CLONE_NEWNS; MS_PRIVATE | MS_REC; MS_BIND
_POLL_SECONDS = 0.02


def serve(number: int) -> None:
    """Import, say so, then fork a command for every line of JSON that comes by a socket.

    Answers `{"pid": …}` to each, and `{"ended": pid, "code": …}` when it has ended; the code is
    negative for a signal, as subprocess has it.
    """
    harness = socket.socket(fileno=number)
    for name in _IMPORTED:
        __import__(name)
    lines, received = harness.makefile("w", encoding="utf-8"), b""
    living: set[int] = set()
    _say(lines, {"ready": True})
    while True:
        ready, _, _ = select.select([harness], [], [], _POLL_SECONDS)
        if ready:
            new = harness.recv(2**16)
            if not new:  # the harness has ended, perhaps in the middle
                for pid in living:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                return
            received += new
            *whole, received = received.split(b"\n")
            for line in whole:
                wanted = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    lines.close()
                    harness.close()
                    _become(wanted)
                    return
                living.add(pid)
                _say(lines, {"pid": pid})
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                living.discard(ended[0])
                code = os.waitstatus_to_exitcode(ended[1])
                _say(lines, {"ended": ended[0], "code": code})


def _say(lines: Any, what: Mapping[str, Any]) -> None:
    lines.write(json.dumps(what) + "\n")
    lines.flush()


def _become(wanted: Mapping[str, Any]) -> None:
    """Make this process the wanted command and run it to its end; it raises SystemExit."""
    os.setsid()
    for number, name in enumerate((os.devnull, wanted["output"], wanted["errors"])):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        opened = os.open(name, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    if wanted["memory_group"]:
        with open(f"{wanted['memory_group']}/cgroup.procs", "w") as group:  # noqa: PTH123
            group.write(str(os.getpid()))
    if wanted["shared_memory"]:
        _mount_shared_memory(wanted["shared_memory"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.chdir(wanted["folder"])
    for name, more in wanted["limits"].items():
        _limit(name, more)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if wanted["fresh"]:
        os.execv(sys.executable, [sys.executable, "-m", wanted["module"], *wanted["arguments"]])
    tempfile.tempdir = None  # where this process looked for it is not the command's
    faulthandler.enable()  # SIGABRT, which ends what hangs, shows where it hung
    _run(wanted["module"], wanted["arguments"], wanted["environment"].get("PREFECT_API_URL"))


def _run(module: str, arguments: Sequence[str], prefect: str | None) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    sys.argv = [module, *arguments]
    settings: Any = {PREFECT_API_URL: prefect} if prefect else {}
    with temporary_settings(settings):  # they were read when Prefect was imported
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _mount_shared_memory(folder: str) -> None:
    """Put a folder at /dev/shm, for this process and its children alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    for result in (
        libc.unshare(_NEW_MOUNTS),
        libc.mount(None, b"/", None, _PRIVATE, None),
        libc.mount(folder.encode(), b"/dev/shm", None, _BIND, None),
    ):
        if result:
            raise OSError(ctypes.get_errno(), "no private /dev/shm")


def _limit(name: str, more: int) -> None:
    """Set a resource's limit; that of the address space counts from what is taken now."""
    if name == "RLIMIT_AS":
        with open("/proc/self/statm") as sizes:  # noqa: PTH123
            more += int(sizes.read().split()[0]) * resource.getpagesize()
    number = getattr(resource, name)
    resource.setrlimit(number, (more, resource.getrlimit(number)[1]))


if __name__ == "__main__":
    serve(int(sys.argv[1]))
