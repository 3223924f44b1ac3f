"""The parts of a series table, made on a cluster: a Prefect task a part, a Dask task a unit.

Workers give back series, which are small; this process alone writes, so that workers need not see
the folder.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from flows.execution.dask_cluster import open_cluster, worker_count
from flows.execution.prefect_api import (
    NO_CACHE,
    ThreadPoolTaskRunner,
    UnitsFailed,
    get_run_logger,
    is_worth_retrying,
    passed_as_is,
    task,
)
from flows.execution.progress import UnitCount, report_progress
from flows.execution.work_queue import Submit, UnitQueue
from models.errors import UserError
from pipeline.clusters.settings import ClusterSettings, cells_in_flight
from pipeline.io.store import public_text
from pipeline.point_series.table import SeriesRows
from pipeline.point_series.table_writer import Notes, SeriesFolder

_RETRY_SECONDS = 5
_MOST_PARTS = 16  # open at once: each waits for its search, and then for slots
_WATCH_SECONDS = 0.25

T = TypeVar("T")
Made = tuple[SeriesRows | None, Notes]
"""The rows of a unit, if there are any, and what is known of them."""


class SeriesFailed(UnitsFailed):
    """Units that could not be read, in a run that went on without them; `errors` are why."""


class PartWork(Protocol):
    """A part of the table: what its units are, and how they are made."""

    @property
    def name(self) -> str:
        """The part's name, of letters, digits and "-"."""

    @property
    def units(self) -> Mapping[str, int]:
        """How many points each unit has, by name."""

    def calls(self, left: Collection[str]) -> Mapping[str, Submit] | str:
        """What workers do of the units that are left; or why none of their points has a series."""

    def made(self, unit: str, result: Any) -> Made:
        """A unit's rows of what a worker gave back."""

    def without(self, unit: str, reason: str) -> Made:
        """A unit of which no point has a series."""


def make_parts(
    works: Sequence[PartWork], folder: SeriesFolder, cluster: ClusterSettings, units: str
) -> None:
    """Make the parts that are not there. `units` is what units are called.

    Raises SeriesFailed once all others are made, UserError for what the user must mend.
    """
    finished = folder.finished_parts()
    left = [work for work in works if work.name not in finished]
    count = UnitCount(
        {_full(work, unit): weight for work in works for unit, weight in work.units.items()},
        [_full(work, unit) for work in works if work.name in finished for unit in work.units],
        units,
    )
    get_run_logger().info("%s of %s parts to make", len(left), len(works))
    if not left:
        return
    report_progress(count.progress("reading"))
    with open_cluster(cluster) as client:
        queue = UnitQueue(client, cells_in_flight(cluster, worker_count(client)))
        runner: ThreadPoolTaskRunner[None] = ThreadPoolTaskRunner(max_workers=_MOST_PARTS)
        with runner:
            try:
                makings = [_Making(work, folder, queue, count) for work in left]
                tasks = [
                    runner.submit(make_part, {"name": making.name, "making": passed_as_is(making)})
                    for making in makings
                ]
                ended = threading.Semaphore(0)
                for submitted in tasks:
                    submitted.add_done_callback(lambda _: ended.release())
                pending = len(tasks)
                while pending:
                    pending -= ended.acquire(timeout=_WATCH_SECONDS)
                    report_progress(count.progress("reading"))
                    queue.resize(cells_in_flight(cluster, worker_count(client)))
            except BaseException as error:
                queue.stop(error)
                raise
        if queue.reason is not None:
            raise queue.reason
        _require_all([making.failure for making in makings if making.failure], units)


@task(
    name="part",
    task_run_name="{name}",
    retries=1,
    retry_delay_seconds=_RETRY_SECONDS,
    retry_condition_fn=is_worth_retrying,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def make_part(name: str, making: "_Making") -> None:
    """Make a part; a retry makes only the units that are not done. Raises SeriesFailed."""
    making.make()


class _Making:
    """A part on its way; `failure` is why it was not made when it was tried last."""

    def __init__(
        self, work: PartWork, folder: SeriesFolder, queue: UnitQueue, count: UnitCount
    ) -> None:
        self._work = work
        self._folder = folder
        self._queue = queue
        self._count = count
        self.name = work.name
        self.failure: BaseException | None = None

    def make(self) -> None:
        """Make what is not done of it, and put it together."""
        try:
            self.failure = None
            self._make()
        except BaseException as error:
            self.failure = error
            raise

    def _make(self) -> None:
        work = self._work
        done = self._folder.finished_units(work.name) & work.units.keys()
        for unit in done:
            self._count.finished(_full(work, unit))
        left = [unit for unit in work.units if unit not in done]
        calls = work.calls(left) if left and not self._queue.stopped else {}
        if isinstance(calls, str):
            for unit in left:
                self._keep(unit, work.without(unit, calls))
        else:
            self._run(calls)
        if not self._queue.stopped:
            self._folder.finish_part(work.name)

    def _run(self, calls: Mapping[str, Submit]) -> None:
        work = self._work
        errors = self._queue.map(
            calls,
            lambda unit, result: self._keep(unit, work.made(unit, result)),
            lambda unit, _: self._count.failed(_full(work, unit)),
        )
        if errors:
            message = f"{len(errors)} of {len(calls)} units of {work.name} failed: {errors[0]}"
            raise SeriesFailed(public_text(message), errors)

    def _keep(self, unit: str, made: Made) -> None:
        self._folder.write_unit(self._work.name, unit, *made)
        self._count.finished(_full(self._work, unit))


def _require_all(failures: Sequence[BaseException], units: str) -> None:
    errors = [e for f in failures for e in (f.errors if isinstance(f, SeriesFailed) else (f,))]
    for error in errors:
        if isinstance(error, UserError):
            raise error
    if errors:
        message = (
            f"{len(errors)} {units} could not be read, such as: {errors[0]} What was read is kept; "
            "start again to try these once more."
        )
        raise SeriesFailed(public_text(message), errors)


def _full(work: PartWork, unit: str) -> str:
    return f"{work.name}/{unit}"
