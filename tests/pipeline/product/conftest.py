"""Processes that hold something of a run until their input is closed."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def start_holder() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a process: `start_holder(program, *arguments, says="a line")`, which it must print."""
    started = []

    def start(program: str, *arguments: str, says: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{says}\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
