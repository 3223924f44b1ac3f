"""The flow of many maps: a subflow for each run of a file of regions, one after the other.

Each run has the whole machine, or the whole cluster, while its turn lasts. Runs that ask for the
same cluster share it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flows.execution.dask_cluster import one_cluster
from flows.execution.prefect_api import create_table_artifact, flow, get_run_logger
from flows.execution.progress import progress_of
from flows.map_region import map_region
from models.errors import UserError, WorldError
from models.visible_text import visible_text
from pipeline.io.store import Store, public_text
from pipeline.layout import REPORT
from pipeline.product.report import Summary
from pipeline.raster.read_stats import rasters_left_out
from pipeline.settings.map import MapSettings


@dataclass(frozen=True)
class RegionFailure:
    """A run that ended without a whole map.

    Attributes:
        name: The run's name in the file of regions.
        error: Why, in one line, without secrets.
        mistake: Whether the user must mend something, so that starting again alone is no use.
    """

    name: str
    error: str
    mistake: bool


class RegionsFailed(WorldError):
    """Runs of a file of regions that failed, while the others went on; `failures` are why."""

    def __init__(self, failures: Sequence[RegionFailure], of: int) -> None:
        first = failures[0]
        super().__init__(
            f"{len(failures)} of {of} runs failed, such as {first.name} ({first.error}). The "
            "others are mapped; start again to try these once more"
        )
        self.failures = tuple(failures)


@flow(name="map-regions", flow_run_name="{file}", persist_result=False)
def map_regions(file: str, runs: Mapping[str, MapSettings]) -> None:
    """Map several regions, one after the other; one that fails stops no other.

    Args:
        file: The name of the whole, such as that of the file of regions.
        runs: The settings by the runs' names; each is a subflow of this name.

    Raises:
        RegionsFailed: Some of them failed; raised once the others are mapped.
    """
    failures = []
    with one_cluster():
        for name, settings in runs.items():
            with progress_of(name):
                failure = _mapped(name, settings)
                failures += [] if failure is None else [failure]
    states = {failure.name: failure.error for failure in failures}
    table = [
        {
            "run": name,
            "year": settings.year,
            "state": states.get(name, "mapped"),
            "report": Store(settings.out).path(REPORT),
        }
        for name, settings in runs.items()
    ]
    create_table_artifact(table, key="map-regions", description="the runs, and why some failed")
    if failures:
        raise RegionsFailed(failures, len(runs))


def _mapped(name: str, settings: MapSettings) -> RegionFailure | None:
    """Map a region; gives what failed."""
    try:
        summary: Summary = map_region.with_options(flow_run_name=name)(settings)
        for warning in _warnings(summary):
            get_run_logger().warning("%s: %s", name, warning)
        return None
    # What the command line tells in one line, and what libraries raise for bad data.
    except (UserError, WorldError, OSError, ValueError, MemoryError, RuntimeError) as error:
        failure = _failure(name, error)
        get_run_logger().error("%s: %s", name, failure.error)
        return failure


def _warnings(summary: Summary) -> list[str]:
    """What to say of a map that is whole: rasters that were left out, land without words."""
    lost = rasters_left_out(report.stats for report in summary.reports)
    left_out = [f"{lost.sentence()}. The report names them"] if lost is not None else []
    return left_out + [str(one) for one in summary.other_land]


def _failure(name: str, error: Exception) -> RegionFailure:
    text = visible_text(public_text(str(error) or type(error).__name__))
    mistake = isinstance(error, UserError)
    return RegionFailure(name, text, mistake)
