"""Commands as processes: started by a zygote, watched, ended, and what they said."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MARK = "TIMESEN_FAULT_MARK"
"""The variable by which the processes of one fault are told from all others."""

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 300.0


class Hung(Exception):
    """A command that did not end within its time."""


@dataclass(frozen=True)
class Wanted:
    """A command to start.

    Attributes:
        module: What `python -m` would run.
        arguments: Its arguments.
        environment: Its whole environment.
        folder: Its working folder.
        output: The file that takes what it prints; `errors` takes its standard error.
        limits: Resource limits by the names of `resource`.
        memory_group: The folder of a cgroup of memory that it joins.
        shared_memory: A folder to be its /dev/shm.
        fresh: Start a new interpreter, as some libraries must be loaded first.
    """

    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    output: str
    errors: str
    limits: Mapping[str, int] = field(default_factory=dict)
    memory_group: str = ""
    shared_memory: str = ""
    fresh: bool = False


@dataclass
class Command:
    """A process that a zygote started; `code` is set when it has ended, negative for a signal."""

    wanted: Wanted
    pid: int
    ended: threading.Event = field(default_factory=threading.Event)
    code: int | None = None

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        files = (Path(self.wanted.output), Path(self.wanted.errors))
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def send(self, number: int, *, group: bool = False) -> bool:
        """Send a signal to the process, or to its process group; whether there was one."""
        if self.ended.is_set():
            return False
        try:
            (os.killpg if group else os.kill)(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, seconds: float) -> int:
        """The exit code; raises Hung, with where it stood, after so many seconds."""
        if not self.ended.wait(seconds):
            self.send(signal.SIGCONT)
            self.send(signal.SIGABRT)
            self.ended.wait(10)
            raise Hung(f"no end within {seconds:.0f} s: {' '.join(self.wanted.arguments[:2])}")
        assert self.code is not None
        return self.code


class Zygote:
    """The process that starts commands; see `tests.faults.zygote`."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        ours, theirs = socket.socketpair()
        self._errors = (folder / "zygote.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote", str(theirs.fileno())],
            env=dict(environment),
            cwd=_ROOT,
            pass_fds=[theirs.fileno()],
            stdout=self._errors,
            stderr=self._errors,
        )
        theirs.close()
        self._socket, self._lock, self._ends = ours, threading.Lock(), threading.Lock()
        self._lines = ours.makefile("r", encoding="utf-8")
        self._pids: queue.Queue[int] = queue.Queue()
        self._commands: dict[int, Command] = {}
        self._early: dict[int, int] = {}  # codes of commands that ended before they were known
        self._ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, wanted: Wanted) -> Command:
        """Start a command."""
        if not self._ready.wait(_START_SECONDS):
            raise RuntimeError(f"the zygote did not start: {self._errors.name}")
        with self._lock:
            self._socket.sendall(json.dumps(wanted.__dict__).encode() + b"\n")
            pid = self._pids.get(timeout=_START_SECONDS)
            command = Command(wanted, pid)
            with self._ends:
                self._commands[pid] = command
                if pid in self._early:
                    self._end(pid, self._early.pop(pid))
        return command

    def close(self) -> None:
        """End the zygote; its commands are ended by who started them."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._process.wait(timeout=30)
        self._errors.close()

    def _listen(self) -> None:
        for line in self._lines:
            answer: dict[str, Any] = json.loads(line)
            if "pid" in answer:
                self._pids.put(answer["pid"])
            elif "ended" in answer:
                pid, code = answer["ended"], answer["code"]
                with self._ends:
                    if pid in self._commands and not self._commands[pid].ended.is_set():
                        self._end(pid, code)
                    else:
                        self._early[pid] = code
            else:
                self._ready.set()

    def _end(self, pid: int, code: int) -> None:
        self._commands[pid].code = code
        self._commands[pid].ended.set()


def processes_of(mark: str, roots: Sequence[int] = ()) -> list[psutil.Process]:
    """The living processes with the mark in their environment, or in the sessions of `roots`."""
    found = [process for process in psutil.process_iter() if _is_of(process, mark, roots)]
    return sorted(found, key=lambda process: process.pid)


def _is_of(process: psutil.Process, mark: str, roots: Sequence[int]) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # A forked command shows the zygote's environment, not its own; its session tells it.
        return os.getsid(process.pid) in roots or process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def wait_for_end(mark: str, roots: Sequence[int], seconds: float) -> list[psutil.Process]:
    """Those processes that still live after so many seconds; returns early where none is left."""
    until = time.monotonic() + seconds
    while (left := processes_of(mark, roots)) and time.monotonic() < until:
        time.sleep(0.1)
    return left
