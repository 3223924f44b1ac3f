import sys
from pathlib import Path

import pytest

from tests.services import program


def test_a_program_is_found_in_its_folder_or_on_the_path(tmp_path: Path) -> None:
    own = tmp_path / "sh"
    own.symlink_to(sys.executable)
    assert program("sh", str(tmp_path)) == str(own)
    assert program("sh").endswith("/sh")


@pytest.mark.parametrize(
    ("ci", "outcome"),
    [("", pytest.skip.Exception), ("true", pytest.fail.Exception)],
)
def test_without_a_program_a_test_is_skipped_but_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match=r"no-such-server is not installed: \.ci/services installs"):
        program("no-such-server")
