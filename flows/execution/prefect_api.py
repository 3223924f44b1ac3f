"""The parts of Prefect that the flows use, imported without closing the log handlers of others.

Prefect configures logging when it is imported, by `logging.config.dictConfig`, which closes every
handler of the process. Handlers such as that of absl (TensorBoard, TensorFlow) then close their
stream: often the `sys.stderr` of a notebook, a service or a test. No other module of timesen may
be the first to import Prefect, so all import it from here.
"""

import contextlib
import logging
from collections.abc import Iterator


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
    from prefect.states import Cancelled, State
    from prefect.task_runners import ThreadPoolTaskRunner
    from prefect.tasks import Task
    from prefect.utilities.annotations import quote

__all__ = [
    "NO_CACHE",
    "Cancelled",
    "State",
    "Task",
    "TaskRun",
    "ThreadPoolTaskRunner",
    "create_image_artifact",
    "create_markdown_artifact",
    "create_progress_artifact",
    "create_table_artifact",
    "flow",
    "get_run_logger",
    "quote",
    "task",
    "update_progress_artifact",
]
