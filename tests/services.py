"""Programs that tests start; `.ci/services` installs them."""

import os
import shutil
import socket
import subprocess
from typing import Any, NoReturn

import pytest

DEBIANS_PYTHON = "/usr/bin/python3"  # for which python3-qgis is installed


def program(name: str, *folders: str) -> str:
    """Find a program, in `folders` first; skip the test if it is not installed."""
    places = [*folders, os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    path = shutil.which(name, path=os.pathsep.join(places))
    return path or absent(name)


def absent(what: str) -> NoReturn:
    """Skip the test because a program is missing; in CI, where `.ci/services` ran, fail it."""
    reason = f"{what} is not installed: .ci/services installs it"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


def ended(process: subprocess.Popen[Any], signal: int) -> None:
    """Send a process a signal and wait for its end; kill it after 20 seconds."""
    process.send_signal(signal)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port of this machine's loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
