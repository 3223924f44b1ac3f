"""The file in which a starting Dask scheduler says its address."""

import json
import time
from pathlib import Path


def scheduler_address(file: Path, seconds: float = 120) -> str:
    """The address, once the file is whole: the scheduler writes it in place."""
    until = time.monotonic() + seconds
    while not (file.exists() and file.read_text().endswith("}")):
        assert time.monotonic() < until, "the scheduler did not start"
        time.sleep(0.05)
    return str(json.loads(file.read_text())["address"])
