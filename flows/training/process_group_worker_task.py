"""A member of a group on its Dask worker: a process that is started, heard, and ended with it."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MESSAGES, LISTENING = "TIMESEN_GROUP_MESSAGES", "TIMESEN_GROUP_LISTENING"
"""Variables of a member's environment: the file descriptors of its messages, and of the port that
is open already for the first of the group."""
_SAID = 2000  # characters of a member's output that are kept
_POLL_SECONDS = 0.25

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """What each of `processes` members runs: `python -m module`, which is given `given`, a line.

    `threads` of a member; default: its machine's cores, shared by the members there.
    """

    module: str
    given: str
    processes: int
    threads: int | None = None


_running: dict[str, "subprocess.Popen[bytes]"] = {}
"""The member of each group that runs on this worker."""
_ended: set[str] = set()
"""Groups whose members are to run no longer, those that have not started yet among them."""


def run_member(group: str, job: Job, place: Mapping[str, Any]) -> dict[str, Any]:
    """On a worker: start a member and stay with it until it ends; gives its exit code, `code`.

    Beside it `error` (and `parts`) that it told, or what it `said` last.
    """
    from distributed import get_worker  # here, since members import this file, too

    worker = get_worker()
    listener = None
    environment = {name: str(value) for name, value in place.items()}
    if place["RANK"] == 0:
        family = socket.AF_INET6 if ":" in place["MASTER_ADDR"] else socket.AF_INET
        listener = socket.create_server((place["MASTER_ADDR"], 0), family=family)
        port = listener.getsockname()[1]
        environment |= {"MASTER_PORT": str(port), LISTENING: str(listener.fileno())}
        worker.log_event(group, {"listening": port})
    threads = job.threads or max(1, (os.cpu_count() or 1) // place["LOCAL_WORLD_SIZE"])
    environment |= {f"{kind}_NUM_THREADS": str(threads) for kind in ("OMP", "MKL", "OPENBLAS")}
    if interface := _interface(reachable(worker.address)):
        environment["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", interface)
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as output:
        member = subprocess.Popen(
            [sys.executable, "-m", job.module],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[writing, *([] if listener is None else [listener.fileno()])],
            env=os.environ | environment | {MESSAGES: str(writing)},
        )
        _running[group] = member
        if group in _ended:
            member.kill()
        os.close(writing)
        if listener is not None:
            listener.close()
        watch = threading.Thread(target=_end_with, args=(worker, member), daemon=True)
        watch.start()
        try:
            outcome = _heard(member, job.given, reading, lambda told: worker.log_event(group, told))
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - _SAID))
            said = output.read().decode(errors="replace")
        finally:
            _running.pop(group, None)
            member.kill()
            member.wait()
    if outcome["code"] and "error" not in outcome:
        outcome["said"] = said
    return outcome


def end_member(group: str) -> None:
    """On a worker: end a group's member, if it runs."""
    _ended.add(group)
    if (member := _running.get(group)) is not None:
        member.kill()


def reachable(address: str) -> str:
    """The host of a worker's address; that of a worker in the client's own process is this one."""
    from distributed.comm import get_address_host

    return "127.0.0.1" if address.startswith("inproc") else str(get_address_host(address))


def _heard(
    member: "subprocess.Popen[bytes]", given: str, reading: int, tell: Callable[[Message], None]
) -> dict[str, Any]:
    assert member.stdin is not None
    outcome: dict[str, Any] = {}
    with os.fdopen(reading, encoding="utf-8") as messages:
        try:
            member.stdin.write(given.encode() + b"\n")
            member.stdin.flush()  # and open as long as this worker lives
        except BrokenPipeError:
            pass  # it has ended; its exit code and its output say why
        for line in messages:
            message = json.loads(line)
            if "error" in message:
                outcome = message
            else:
                tell(message)
    return outcome | {"code": member.wait()}


def _end_with(worker: Any, member: "subprocess.Popen[bytes]") -> None:
    """End a member once its worker closes, as it does when it loses its scheduler."""
    while member.poll() is None:
        if worker.status.name not in ("running", "paused"):
            member.kill()
        time.sleep(_POLL_SECONDS)


def _interface(host: str) -> str | None:
    """The network interface that has an address, such as "eth0"; gloo would guess by host name."""
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == host for address in addresses):
            return str(name)
    return None
