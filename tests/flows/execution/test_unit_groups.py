"""Groups of units, each in a Prefect task."""

import pytest

from flows.execution.prefect_api import State
from flows.execution.unit_groups import UnitsFailed, _run_group
from flows.execution.work_queue import UnitQueue


def failing() -> None:
    raise UnitsFailed("1 of 2 units failed")


def test_units_that_failed_fail_their_group() -> None:
    queue = UnitQueue(None, lambda: 1)  # type: ignore[arg-type]
    with pytest.raises(UnitsFailed):
        _run_group.fn("a", failing, queue)


def test_a_group_of_a_stopped_queue_is_not_tried_again() -> None:
    queue = UnitQueue(None, lambda: 1)  # type: ignore[arg-type]
    queue.stop(KeyboardInterrupt("stopped by the user"))
    state = _run_group.fn("a", failing, queue)
    assert isinstance(state, State)
    assert state.is_cancelled()
