"""The parts of Prefect that the flows use, imported without closing the log handlers of others.

Prefect configures logging when it is imported, by `logging.config.dictConfig`, which closes every
handler of the process. Handlers such as that of absl (TensorBoard, TensorFlow) then close their
stream: often the `sys.stderr` of a notebook, a service or a test. No other module of timesen may
be the first to import Prefect, so all import it from here.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.errors import TimesenError
from models.visible_text import visible_lines, visible_text
from pipeline.io.redaction import VisibleFilter


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
    from prefect import artifacts, flow, get_run_logger, task
    from prefect.artifacts import (
        create_image_artifact,
        create_progress_artifact,
        update_progress_artifact,
    )
    from prefect.cache_policies import NO_CACHE
    from prefect.client.orchestration import SyncPrefectClient, get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
    from prefect.client.schemas.objects import TaskRun
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.concurrency.sync import concurrency
    from prefect.context import FlowRunContext
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
    from prefect.flows import Flow
    from prefect.states import Cancelled, State
    from prefect.task_runners import ThreadPoolTaskRunner
    from prefect.tasks import Task
    from prefect.utilities.annotations import quote
    from prefect.utilities.callables import parameter_schema


class _WithoutTraceback(logging.Filter):
    """Leaves the traceback out of the log where an error explains itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, TimesenError):
            record.exc_info = None
            # Prefect shows errors by their `repr`.
            record.msg = record.getMessage().replace(repr(error), str(error))
            record.args = None
        return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_WithoutTraceback())
    logging.getLogger(_name).addFilter(VisibleFilter())


def create_markdown_artifact(markdown: str, key: str) -> None:
    """Show a text in Prefect, without control characters."""
    artifacts.create_markdown_artifact(visible_lines(markdown), key=key)


def create_link_artifact(link: str, text: str, key: str) -> None:
    """Show a link in Prefect, if this is within a flow's run."""
    if FlowRunContext.get() is not None:
        artifacts.create_link_artifact(visible_text(link), visible_text(text), key=key)


def create_table_artifact(table: Sequence[Mapping[str, Any]], key: str, description: str) -> None:
    """Show a table in Prefect, each text in one line."""
    rows = [
        {name: visible_text(cell) if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in table
    ]
    artifacts.create_table_artifact(rows, key=key, description=description)


__all__ = [
    "NO_CACHE",
    "Cancelled",
    "CronSchedule",
    "DeploymentFilter",
    "DeploymentFilterTags",
    "DeploymentResponse",
    "DeploymentScheduleCreate",
    "Flow",
    "ObjectNotFound",
    "PrefectHTTPStatusError",
    "State",
    "SyncPrefectClient",
    "Task",
    "TaskRun",
    "ThreadPoolTaskRunner",
    "concurrency",
    "create_image_artifact",
    "create_link_artifact",
    "create_markdown_artifact",
    "create_progress_artifact",
    "create_table_artifact",
    "flow",
    "get_client",
    "get_run_logger",
    "parameter_schema",
    "quote",
    "task",
    "update_progress_artifact",
]
