import datetime
from typing import Any

import pytest
from dask.system import CPU_COUNT

from pipeline.costs.machine_rates import TYPICAL_MACHINE, MachineRates
from pipeline.costs.resources import Resources
from pipeline.mapping.run_cost import run_seconds
from pipeline.settings.map import make_settings

MEASURED = TYPICAL_MACHINE.model_copy(update={"measured": datetime.date(2026, 1, 2)})
WORK = Resources(core_seconds=1000.0 * CPU_COUNT, gpu_seconds=400.0)


def _seconds(
    work: Resources = WORK, rates: MachineRates = MEASURED, **cluster: Any
) -> tuple[float, float]:
    given = {"region": "4,50,5,51", "year": 2021, "out": "out", "classes": "a, b"}
    return run_seconds(work, make_settings({**given, "cluster": cluster}).cluster, rates)


def test_local_workers_share_this_machine() -> None:
    assert _seconds() == (750, 1250)
    assert _seconds(kind="local", workers=CPU_COUNT) == (750, 1250)
    assert _seconds(kind="local", workers=4 * CPU_COUNT) == (750, 1250), (
        "no more cores than there are"
    )
    one = _seconds(kind="local", workers=1, threads=1)
    assert one == pytest.approx((750 * CPU_COUNT, 1250 * CPU_COUNT))


def test_workers_elsewhere_are_machines_like_this() -> None:
    address = {"kind": "address", "address": "tcp://host:8786", "workers": 10, "threads": CPU_COUNT}
    assert _seconds(Resources(core_seconds=WORK.core_seconds), **address) == (75, 125)
    assert _seconds(**address) == (300, 500), "the GPU takes longer"


def test_typical_rates_leave_more_room_and_the_network_may_be_slow() -> None:
    assert _seconds(rates=TYPICAL_MACHINE) == (500, 2000)
    loaded = Resources(core_seconds=WORK.core_seconds, remote_bytes=1e11)
    assert _seconds(loaded, TYPICAL_MACHINE) == (1000, 12_000)
