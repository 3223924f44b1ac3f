"""The parts of a series table, made on a cluster: a Prefect task per part, a Dask task per unit.

Workers return series, which are small; this process alone writes, so that workers need no access
to the folder.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from flows.execution.prefect_api import get_run_logger
from flows.execution.progress import UnitCount, report_progress
from flows.execution.unit_groups import UnitsFailed, run_groups
from flows.execution.work_queue import Submit, UnitQueue, open_queue
from models.errors import UserError
from pipeline.clusters.settings import ClusterSettings
from pipeline.io.store import public_text
from pipeline.point_series.table import SeriesRows
from pipeline.point_series.table_writer import Notes, SeriesFolder

_MOST_PARTS = 16  # open at once: each waits for its search, and then for slots

UnitRows = tuple[SeriesRows | None, Notes]
"""The rows of a unit, None if it has none, and the notes on it."""


class SeriesFailed(UnitsFailed):
    """Units that could not be read, in a run that went on without them; `errors` are why."""


class TablePart(Protocol):
    """A part of a table: its units, and the work of each."""

    @property
    def name(self) -> str:
        """The part's name, of letters, digits and "-"."""

    @property
    def units(self) -> Mapping[str, int]:
        """The number of points of each unit, by its name."""

    def calls(self, left: Collection[str]) -> Mapping[str, Submit] | str:
        """The workers' calls for the units that are left, or why none of them has a series."""

    def rows(self, unit: str, result: Any) -> UnitRows:
        """The rows of a unit, from the result of its call."""

    def no_rows(self, unit: str, reason: str) -> UnitRows:
        """The notes on a unit without a series, for a reason."""


def make_parts(
    parts: Sequence[TablePart], folder: SeriesFolder, cluster: ClusterSettings, units: str
) -> None:
    """Make the parts of a table that its folder lacks. `units` is the plural of "unit" for people.

    Raises SeriesFailed once all others are made, UserError for what the user must mend.
    """
    finished = folder.finished_parts()
    left = [part for part in parts if part.name not in finished]
    count = UnitCount(
        {_full(part, unit): weight for part in parts for unit, weight in part.units.items()},
        [_full(part, unit) for part in parts if part.name in finished for unit in part.units],
        units,
    )
    get_run_logger().info("%s of %s parts to make", len(left), len(parts))
    if not left:
        return
    report_progress(count.progress("reading"))
    with open_queue(cluster) as queue:
        groups = {part.name: partial(_make_part, part, folder, queue, count) for part in left}
        failures = run_groups(
            "part", groups, queue, count, "reading", "series-progress", _MOST_PARTS
        )
    _require_all(failures, units)


def _make_part(part: TablePart, folder: SeriesFolder, queue: UnitQueue, count: UnitCount) -> None:
    """Make the units of a part that are not done, and put the part together.

    Raises SeriesFailed.
    """

    def keep(unit: str, rows: UnitRows) -> None:
        folder.write_unit(part.name, unit, *rows)
        count.finished(_full(part, unit))

    done = folder.finished_units(part.name) & part.units.keys()
    for unit in done:
        count.finished(_full(part, unit))
    left = [unit for unit in part.units if unit not in done]
    calls = part.calls(left) if left and not queue.stopped else {}
    if isinstance(calls, str):
        for unit in left:
            keep(unit, part.no_rows(unit, calls))
    elif errors := queue.map(
        calls,
        lambda unit, result: keep(unit, part.rows(unit, result)),
        lambda unit, _: count.failed(_full(part, unit)),
    ):
        message = f"{len(errors)} of {len(calls)} units of {part.name} failed: {errors[0]}"
        raise SeriesFailed(public_text(message), errors)
    if not queue.stopped:
        folder.finish_part(part.name)


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


def _full(part: TablePart, unit: str) -> str:
    return f"{part.name}/{unit}"
