"""Stats of reading add up, in any grouping, and survive JSON."""

import json
import pickle

from hypothesis import given
from hypothesis import strategies as st

from pipeline.raster.read_stats import (
    NO_STATS,
    Fault,
    FaultLog,
    LeftOut,
    ReadStats,
    rasters_left_out,
    total_stats,
)

FAULTS = [Fault(f"a{n}.tif", "B02", "gone") for n in range(4)]
STATS = st.builds(
    ReadStats,
    faults=st.lists(st.sampled_from(FAULTS), unique=True).map(tuple),
    retries=st.integers(0, 100),
    seconds=st.dictionaries(st.sampled_from(["read", "composite"]), st.integers(0, 9).map(float)),
)


@given(st.lists(STATS, max_size=5))
def test_stats_add_up(parts: list[ReadStats]) -> None:
    total = total_stats(parts)
    assert total == sum(parts, NO_STATS)
    assert total.retries == sum(part.retries for part in parts)
    assert len(total.faults) == len(set(total.faults))
    assert set(total.faults) == {fault for part in parts for fault in part.faults}
    for stage, spent in total.seconds.items():
        assert spent == sum(part.seconds.get(stage, 0) for part in parts)
    assert ReadStats.from_dict(json.loads(json.dumps(total.to_dict()))) == total


def test_rasters_left_out_are_counted_once_and_their_commonest_reason_is_told() -> None:
    gone = [Fault(f"{n}.tif", "B02", "is gone") for n in range(1200)]
    torn = [Fault(f"t{n}.tif", "B03", "is torn") for n in range(2)]
    cells = [ReadStats(tuple(gone[:700])), ReadStats((*gone[600:], *torn)), NO_STATS]
    lost = rasters_left_out(cells)
    assert lost == LeftOut(1202, "is gone", 1200)
    assert lost.sentence(3300) == (
        "1,202 of 3,300 rasters could not be read and were left out, most often because: is gone "
        "(1,200)"
    )
    assert rasters_left_out([NO_STATS, NO_STATS]) is None


def test_a_log_sorts_its_faults_and_is_pickled() -> None:
    log = FaultLog()
    for fault in reversed(FAULTS):
        log.append(fault)
    log.retried()
    assert log.stats() == ReadStats(tuple(FAULTS), 1)
    copy = pickle.loads(pickle.dumps(log))
    copy.retried()
    assert (copy.stats().faults, copy.retries, log.retries) == (tuple(FAULTS), 2, 1)
