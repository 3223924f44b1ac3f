"""What Prefect tasks over many units share: how they fail, and whether to try once more."""

from collections.abc import Sequence
from typing import TypeVar, cast

from flows.execution.prefect_api import State, Task, TaskRun, quote
from models.errors import UserError, WorldError

T = TypeVar("T")


class UnitsFailed(WorldError):
    """Units that failed, in a run that went on without them; `errors` are why."""

    def __init__(self, message: str, errors: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


def may_pass(_task: Task, _run: TaskRun, state: State) -> bool:
    """Whether something failed for a reason that may be gone a moment later."""
    failed = state.result(raise_on_failure=False)
    errors = failed.errors if isinstance(failed, UnitsFailed) else (failed,)
    return any(not isinstance(error, UserError) for error in errors)


def opaque(parameter: T) -> T:
    """A parameter that Prefect hands on as it is, without looking for futures all through it."""
    return cast(T, quote(parameter))
