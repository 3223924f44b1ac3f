"""Twenty faults in real runs; `make faults` tries two hundred, of all kinds."""

from collections.abc import Iterator

import pytest

from tests.faults.kinds import KINDS
from tests.faults.outcome import FINE, Verdict, try_fault
from tests.faults.world import World, open_world

# Each of a kind of its own.
SEEDS = (0, 3, 4, 6, 8, 9, 12, 13, 14, 15, 18, 19, 23, 29, 30, 32, 35, 36, 37, 41)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with open_world() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{KINDS[seed].name}-{seed}")
def test_a_run_survives(world: World, seed: int) -> None:
    outcome = try_fault(world, seed)
    if outcome.verdict is Verdict.SKIPPED:
        pytest.skip(str(outcome))
    assert outcome.verdict in FINE, (
        f"{outcome}\n    try it again: python -m tests.faults --seed {seed}"
    )
