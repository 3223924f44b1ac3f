"""Programs that tests start, which `.ci/services` installs."""

import os
import shutil
import subprocess
from typing import Any, NoReturn

import pytest


def program(name: str, *folders: str) -> str:
    """The path of a program, looked for in `folders` first; without it the test is skipped."""
    places = [*folders, os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
    path = shutil.which(name, path=os.pathsep.join(places))
    return path or absent(name)


def absent(what: str) -> NoReturn:
    """Skip the test for want of a program; in CI, where `.ci/services` has run, fail it."""
    reason = f"{what} is not installed: .ci/services installs it"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


def ended(process: subprocess.Popen[Any], signal: int) -> None:
    """Tell a process to end and wait for it; one that does not is killed."""
    process.send_signal(signal)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
