"""A member of a group on its Dask worker: a process that is started, listened to, and ended."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MESSAGES = "TIMESEN_GROUP_MESSAGES"
"""The variable of a member's environment with the file descriptor that its messages go to."""
_LAST_OUTPUT = 2000  # characters of a member's output that are kept
_POLL_SECONDS = 0.25

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """What each of `processes` members runs.

    Attributes:
        module: Run as `python -P -m module`.
        input: A line of text that each member reads (`read_job_input`).
        processes: The number of members.
        threads: Of a member; default: its machine's cores, shared by the members there.
    """

    module: str
    input: str
    processes: int
    threads: int | None = None


_running: dict[str, "subprocess.Popen[bytes]"] = {}
"""The member of each group that runs on this worker."""
_ended: set[str] = set()
"""Groups whose members are to run no longer, those that have not started yet among them."""


def run_member(group: str, job: Job, place: Mapping[str, Any]) -> dict[str, Any]:
    """On a worker: start a member and stay with it until it ends.

    Args:
        group: The group's name, which is also the topic of its messages.
        job: What the member runs.
        place: torchrun's variables of its environment. Of rank 0 the port is missing: this worker
            opens the store where the members meet, and sends its port.

    Returns:
        The exit code as `code`; with it `error` (and its `parts`) that the member reported, or the
        end of its `output`.
    """
    from distributed import get_worker  # here, since members import this file, too

    worker = get_worker()
    environment = {name: str(value) for name, value in place.items()}
    if place["RANK"] == 0 and job.processes > 1:
        from torch.distributed import TCPStore

        host = place["MASTER_ADDR"]
        # A socket of its own: the store's would listen on all addresses of the machine.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, 0), family=family)
        port = listener.getsockname()[1]
        _store = TCPStore(  # lives as long as the member
            host, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
        )
        environment["MASTER_PORT"] = str(port)
        worker.log_event(group, {"store_port": port})
    environment["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # no member opens a store
    threads = job.threads or max(1, (os.cpu_count() or 1) // place["LOCAL_WORLD_SIZE"])
    environment |= {f"{kind}_NUM_THREADS": str(threads) for kind in ("OMP", "MKL", "OPENBLAS")}
    if interface := _interface(reachable(worker.address)):
        environment["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", interface)
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as output:
        member = subprocess.Popen(
            # -P: nothing is imported from the current folder, which may hold a models.py.
            [sys.executable, "-P", "-m", job.module],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            env=os.environ | environment | {MESSAGES: str(writing)},
        )
        _running[group] = member
        if group in _ended:
            member.kill()
        os.close(writing)
        threading.Thread(target=_end_with, args=(worker, member), daemon=True).start()
        outcome: dict[str, Any] = {}
        try:
            with os.fdopen(reading, encoding="utf-8") as messages:
                assert member.stdin is not None
                # A pipe that is broken: it has ended, and its exit code and output say why.
                with contextlib.suppress(BrokenPipeError):
                    member.stdin.write(job.input.encode() + b"\n")
                    member.stdin.flush()  # and open as long as this worker lives
                for message in map(json.loads, messages):
                    if "error" in message:
                        outcome = message
                    else:
                        worker.log_event(group, message)
            outcome["code"] = member.wait()
            if outcome["code"] and "error" not in outcome:
                output.seek(max(0, output.seek(0, os.SEEK_END) - _LAST_OUTPUT))
                outcome["output"] = output.read().decode(errors="replace")
        finally:
            _running.pop(group, None)
            member.kill()
            member.wait()
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


def _end_with(worker: Any, member: "subprocess.Popen[bytes]") -> None:
    """End a member once its worker closes, as it does when it loses its scheduler."""
    while member.poll() is None:
        if worker.status.name not in ("running", "paused"):
            member.kill()
        time.sleep(_POLL_SECONDS)


def _interface(host: str) -> str | None:
    """The network interface that has an address, such as "eth0"; gloo would guess by host name."""
    import psutil

    interfaces = psutil.net_if_addrs().items()
    return next((name for name, known in interfaces if any(a.address == host for a in known)), None)
