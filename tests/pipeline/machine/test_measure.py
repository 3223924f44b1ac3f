"""The measuring of a machine, with a catalogue over HTTP."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import run
from models.encoder.checkpoint import load_checkpoint
from pipeline.costs.machine_rates import chosen_rates, this_machine
from pipeline.machine.made_archive import MADE_DATES, MADE_YEAR, write_made_archive


@pytest.mark.slow
def test_a_plan_is_reckoned_by_what_was_measured(
    tmp_path: Path,
    http_server: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = write_made_archive(tmp_path / "archive", 256)
    address = f"{http_server(made.folder)}/catalog.json"
    catalog = ["--catalog", address, "--allowed-hosts", "127.0.0.1", "--year", str(MADE_YEAR)]
    given = [*catalog, "--region", str(made.region), "--checkpoint", "sample"]
    assert run(["bench", "machine", *given]) == 0
    said = capsys.readouterr().out
    requests = re.search(r"in (\d+) requests", said)
    assert requests is not None, said
    # Of twelve dates eleven windows, and one more to check the offset; and headers, of each file
    # once or, by threads that ask at the same time, again.
    assert 12 * 12 + 11 <= int(requests[1]) <= 2 * 12 * 12, said
    rates = chosen_rates(this_machine())
    assert rates.catalog == address
    mark = load_checkpoint("sample").fingerprint[:12]
    assert rates.encode[mark] > 1e-7
    assert rates.read > 1e-10
    page = tmp_path / "plan.html"
    classes = ["--classes", "forest, lake", "--out", str(tmp_path / "run"), "--map", str(page)]
    assert run(["plan", *given, *classes]) == 0
    said = capsys.readouterr().out
    assert f"reckoned by    rates of {this_machine()}, measured on " in said
    assert f"with {address}" in said
    assert f"items          {MADE_DATES}" in said
    assert "requests: about" in said
    assert page.read_text().startswith("<!DOCTYPE html>")
    elsewhere = ["--map", str(tmp_path / "nowhere" / "plan.html")]
    assert run(["plan", *given, *classes[:-2], *elsewhere]) == 2
    assert "the page cannot be written" in capsys.readouterr().err
