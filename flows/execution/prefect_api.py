"""The parts of Prefect that the flows use, imported without closing the log handlers of others.

Prefect configures logging when it is imported, by `logging.config.dictConfig`, which closes every
handler of the process. Handlers such as that of absl (TensorBoard, TensorFlow) then close their
stream: often the `sys.stderr` of a notebook, a service or a test. No other module of timesen may
be the first to import Prefect, so all import it from here.

Beside them is what tasks over many units share: how they fail, and whether to try once more.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import TypeVar, cast

from models.errors import UserError, WorldError


@contextlib.contextmanager
def _handlers_kept_open() -> Iterator[None]:
    """Hide the handlers of the process from `dictConfig`, which has no option to spare them."""
    handlers: list[object] = logging._handlerList  # type: ignore[attr-defined]
    before = [*handlers]
    handlers.clear()
    try:
        yield
    finally:
        handlers[:0] = before


with _handlers_kept_open():
    from prefect import flow, get_run_logger, task
    from prefect.artifacts import (
        create_image_artifact,
        create_markdown_artifact,
        create_progress_artifact,
        create_table_artifact,
        update_progress_artifact,
    )
    from prefect.cache_policies import NO_CACHE
    from prefect.client.schemas.objects import TaskRun
    from prefect.futures import PrefectFuture
    from prefect.states import Cancelled, State
    from prefect.task_runners import ThreadPoolTaskRunner
    from prefect.tasks import Task
    from prefect.utilities.annotations import quote

__all__ = [
    "NO_CACHE",
    "Cancelled",
    "PrefectFuture",
    "State",
    "ThreadPoolTaskRunner",
    "UnitsFailed",
    "create_image_artifact",
    "create_markdown_artifact",
    "create_progress_artifact",
    "create_table_artifact",
    "flow",
    "get_run_logger",
    "is_worth_retrying",
    "passed_as_is",
    "task",
    "update_progress_artifact",
]

T = TypeVar("T")


class UnitsFailed(WorldError):
    """Units that failed, in a run that went on without them; `errors` are why."""

    def __init__(self, message: str, errors: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


def is_worth_retrying(_task: Task, _run: TaskRun, state: State) -> bool:
    """Whether something failed for a reason that may be gone a moment later."""
    failed = state.result(raise_on_failure=False)
    errors = failed.errors if isinstance(failed, UnitsFailed) else (failed,)
    return any(not isinstance(error, UserError) for error in errors)


def passed_as_is(parameter: T) -> T:
    """A parameter that Prefect hands on as it is, without looking for futures all through it."""
    return cast(T, quote(parameter))
