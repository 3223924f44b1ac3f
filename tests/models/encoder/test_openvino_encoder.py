"""Encoding tells nobody that it was done."""

import os
import subprocess
import sys
from pathlib import Path


def test_importing_leaves_no_trace_and_no_telemetry(tmp_path: Path) -> None:
    program = (
        "import models.encoder.inference, sys; from models.encoder.openvino_encoder import ov; "
        "print(type(ov.Core()).__name__, sys.modules['openvino_telemetry'])"
    )
    # Without CI, in which OpenVINO would be silent of itself.
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    said = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split() == ["Core", "None"]
    assert not (tmp_path / "intel").exists()
