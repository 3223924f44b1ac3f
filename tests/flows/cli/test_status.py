"""The commands that answer at once, without what takes seconds to import."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "prefect", "distributed"}


@pytest.mark.parametrize("arguments", [["--help"], ["status", "nowhere"]], ids=["help", "status"])
def test_help_and_status_import_no_torch(arguments: list[str]) -> None:
    script = (
        f"import sys\nfrom flows.cli.main import run\nrun({arguments!r})\n"
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
