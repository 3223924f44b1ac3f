"""One fault of each of twenty kinds, in a real run; `make faults` tries two hundred."""

from collections.abc import Iterator

import pytest

from tests.faults.outcome import FINE, Verdict, kind_of, try_fault
from tests.faults.world import World, open_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# A kind each, of those that take least time.
SEEDS = (0, 3, 4, 6, 8, 9, 12, 13, 14, 15, 18, 19, 23, 29, 30, 32, 35, 36, 37, 38)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with open_world() as opened:
        yield opened


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed}-{kind_of(seed).name}")
def test_a_fault_does_no_harm(world: World, seed: int) -> None:
    outcome = try_fault(world, seed)
    if outcome.verdict is Verdict.SKIPPED:
        pytest.skip(outcome.findings[0])
    assert outcome.verdict in FINE, f"{outcome}\ntry again: python -m tests.faults --seed {seed}"
