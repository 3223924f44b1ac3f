"""OpenVINO, imported without a word to anybody."""

import sys

# Of each import OpenVINO tells a server of its maker, and it writes to the user's home, unless the
# package that does so cannot be imported: then it takes a stub in its place.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402
from openvino import opset13 as ops  # noqa: E402

__all__ = ["ops", "ov"]
