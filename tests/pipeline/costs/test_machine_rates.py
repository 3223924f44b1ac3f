"""The rates that are kept of machines."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.costs.machine_rates import (
    TYPICAL_MACHINE,
    chosen_rates,
    keep_rates,
    this_machine,
)
from pipeline.errors import SettingsError


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_kept_rates_are_those_of_plans() -> None:
    assert chosen_rates(None) == TYPICAL_MACHINE
    assert "timesen bench machine" in str(TYPICAL_MACHINE)
    measured = TYPICAL_MACHINE.model_copy(
        update={"machine": this_machine(), "measured": date(2026, 2, 3), "encode": {"a": 1e-3}}
    )
    path = keep_rates(measured)
    assert path.name == f"{this_machine()}.json"
    assert chosen_rates(None) == chosen_rates(this_machine()) == measured
    assert (
        str(measured) == f"rates of {this_machine()}, measured on 2026-02-03 with made-up rasters"
    )
    path.write_bytes(path.read_bytes()[:-20])  # a damaged file is as none
    assert chosen_rates(None) == TYPICAL_MACHINE


@pytest.mark.parametrize("name", ["node-9", "../../etc/passwd", "a\0b"])
def test_a_machine_that_was_not_measured(name: str) -> None:
    keep_rates(TYPICAL_MACHINE.model_copy(update={"machine": "node-1"}))
    with pytest.raises(SettingsError, match=r"no rates are kept of it; they are of node-1"):
        chosen_rates(name)
