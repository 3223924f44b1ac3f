"""Groups of units of work: a Prefect task per group, whose units share one Dask cluster."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from flows.execution.prefect_api import (
    NO_CACHE,
    Cancelled,
    State,
    Task,
    TaskRun,
    ThreadPoolTaskRunner,
    create_progress_artifact,
    get_run_logger,
    quote,
    task,
    update_progress_artifact,
)
from flows.execution.progress import UnitCount, report_progress
from flows.execution.work_queue import UnitQueue
from models.errors import UserError, WorldError
from pipeline.io.store import public_text

_RETRY_SECONDS = 5
_WATCH_SECONDS = 0.25
_RESIZE_SECONDS = 5
_ARTIFACT_SECONDS = 2

T = TypeVar("T")


class UnitsFailed(WorldError):
    """Units that failed, in a run that went on without them; `errors` are why."""

    def __init__(self, message: str, errors: Sequence[BaseException] = ()) -> None:
        super().__init__(message)
        self.errors = tuple(errors)


def passed_as_is(parameter: T) -> T:
    """A parameter that Prefect hands on as it is, without looking for futures all through it."""
    return cast(T, quote(parameter))


def run_groups(
    kind: str,
    groups: Mapping[str, Callable[[], None]],
    queue: UnitQueue,
    count: UnitCount,
    stage: str,
    artifact: str,
    at_once: int,
) -> list[BaseException]:
    """Run each group in a Prefect task of its own, in threads of this process.

    A group that fails is run once more, unless all its errors are the user's to mend; it stops no
    other group. Progress is reported, logged, and shown in a Prefect artifact.

    Args:
        kind: What the groups are, such as "tile"; their tasks are named "tile 31UFS".
        groups: The work of each group by its name: it puts the group's units through `queue`, and
            raises UnitsFailed for those that failed.
        queue: The units' way through the cluster; it follows the cluster's size.
        count: How many units are done; the groups keep it.
        stage: The progress's word for this work, such as "mapping".
        artifact: The key of the Prefect artifact.
        at_once: How many groups are open at a time.

    Returns:
        The errors of the groups that failed.

    Raises:
        BaseException: The reason for which the queue was stopped.
    """
    group_task = _run_group.with_options(name=kind, task_run_name=f"{kind} {{name}}")
    runner: ThreadPoolTaskRunner[State | None] = ThreadPoolTaskRunner(max_workers=at_once)
    with runner:
        try:
            ended = threading.Semaphore(0)
            futures = [
                runner.submit(
                    group_task,
                    {"name": name, "run": passed_as_is(run), "queue": passed_as_is(queue)},
                )
                for name, run in groups.items()
            ]
            for future in futures:
                future.add_done_callback(lambda _: ended.release())
            _watch(ended, len(futures), queue, count, artifact, stage)
        except BaseException as error:
            queue.stop(error)
            raise
    if queue.reason is not None:
        raise queue.reason
    results: list[Any] = [future.result(raise_on_failure=False) for future in futures]
    return [result for result in results if isinstance(result, BaseException)]


def _is_worth_retrying(_task: Task, _run: TaskRun, state: State) -> bool:
    """Whether something failed for a reason that may be gone a moment later."""
    failed = state.result(raise_on_failure=False)
    errors = failed.errors if isinstance(failed, UnitsFailed) else (failed,)
    return any(not isinstance(error, UserError) for error in errors)


@task(
    retries=1,
    retry_delay_seconds=_RETRY_SECONDS,
    retry_condition_fn=_is_worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def _run_group(name: str, run: Callable[[], None], queue: UnitQueue) -> State | None:
    try:
        run()
    except UnitsFailed:
        if not queue.stopped:  # else another attempt would find the queue stopped
            raise
    if queue.stopped:
        return Cancelled(message=public_text(f"the run was stopped: {queue.reason}"))
    return None


def _watch(
    ended: threading.Semaphore, left: int, queue: UnitQueue, count: UnitCount, key: str, stage: str
) -> None:
    """Report progress until `left` groups have ended, and follow the cluster's size."""
    artifact = create_progress_artifact(0.0, key=key, description=stage)
    assert isinstance(artifact, UUID)  # a coroutine only in a flow that is one
    published = count.progress(stage)
    published_at = resized_at = time.monotonic()
    while left:
        left -= ended.acquire(timeout=_WATCH_SECONDS)
        now = time.monotonic()
        if now - resized_at >= _RESIZE_SECONDS:
            queue.resize()
            resized_at = now
        progress = count.progress(stage)
        report_progress(progress)
        due = not left or now - published_at >= _ARTIFACT_SECONDS
        if due and (progress.done, progress.failed) != (published.done, published.failed):
            get_run_logger().info(str(progress))
            update_progress_artifact(artifact, progress=100 * progress.share)
            published, published_at = progress, now
