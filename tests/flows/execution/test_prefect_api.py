"""What other libraries have open, and that importing Prefect leaves it so."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import REPOSITORY

HANDLER_THAT_CLOSES_STDERR = """
import io, logging, sys

class Handler(logging.StreamHandler):
    def close(self):
        self.stream.close()
        super().close()

sys.stderr = io.StringIO()
handler = Handler(sys.stderr)
{importing}
import prefect.main
assert not sys.stderr.closed
assert handler in [reference() for reference in logging._handlerList]
"""


@pytest.mark.parametrize(
    "importing",
    [
        "import flows.distil",
        "from flows.execution.prefect_server import prefect_server\nwith prefect_server(): pass",
    ],
)
def test_handlers_of_other_libraries_keep_their_stream(importing: str, tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", HANDLER_THAT_CLOSES_STDERR.format(importing=importing)],
        cwd=REPOSITORY, env={"HOME": str(tmp_path), "PATH": "", "PREFECT_API_URL": "http://x/api"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout


def test_flows_import_prefect_from_one_module() -> None:
    for path in (REPOSITORY / "flows").rglob("*.py"):
        if path.name == "prefect_api.py":
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] != "prefect", path
            elif isinstance(node, ast.Import):
                assert all(name.name.partition(".")[0] != "prefect" for name in node.names), path
