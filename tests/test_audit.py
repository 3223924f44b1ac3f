"""The audit says what it could not look up, whatever pip-audit ends with."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit"
SOUND: dict[str, Any] = {"name": "numpy", "version": "2.4.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI: torch (2.13.0)"}
FLAWED = {
    "name": "pillow",
    "version": "9.0",
    "vulns": [{"id": "PYSEC-2023-1", "fix_versions": ["10.0"], "aliases": [], "description": ""}],
}


@pytest.mark.parametrize(
    ("found", "ends", "code", "said"),
    [
        ([SOUND], 0, 0, "of 1 packages, 1 were looked up, 0 of these are vulnerable"),
        ([SOUND, FLAWED], 1, 1, "pillow 9.0: PYSEC-2023-1, mended in 10.0"),
        ([SOUND, SKIPPED], 0, 3, "1 could NOT be audited"),
        ([SKIPPED] * 9, 0, 3, "and 4 more"),
        ([FLAWED, SKIPPED], 1, 1, "1 could NOT be audited"),
        ([], 0, 3, "could NOT be audited"),
        (None, 1, 3, "could NOT be audited: the service does not answer"),
    ],
)
def test_what_pip_audit_found(
    tmp_path: Path, found: list[dict[str, Any]] | None, ends: int, code: int, said: str
) -> None:
    """A program that ends as pip-audit does stands for it: the real one needs a network."""
    tool = tmp_path / "pip-audit"
    answer = "" if found is None else json.dumps({"dependencies": found, "fixes": []})
    tool.write_text(
        f"#!{sys.executable}\nimport sys\nprint({answer!r})\n"
        f"print('the service does not answer', file=sys.stderr)\nsys.exit({ends})\n"
    )
    tool.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, SCRIPT, tool], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (code, "")
    assert said in ran.stdout


def test_without_pip_audit(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "absent"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 3
    assert "constraints.txt could NOT be audited" in ran.stdout
