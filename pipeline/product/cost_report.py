"""What a run took, and what that costs, beside its plan: a part of its report."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.costs.prices import Prices
from pipeline.costs.resources import Resources, hours_text, money_text, plain_number
from pipeline.raster.read_stats import ReadStats

_ON_GPU = ("encode", "classify")  # the stages that a GPU computes where there is one


@dataclass(frozen=True)
class PlannedCost:
    """What a plan says that a run takes, what is charged for that, and its area in km²."""

    resources: Resources
    prices: Prices
    square_km: float


class CostRow(NamedTuple):
    """A line of the table: what it is, as planned, and as it was."""

    name: str
    planned: str
    taken: str


@dataclass(frozen=True)
class CostReport:
    """A plan beside what the finished cells took.

    `taken` is of the cells that are finished, `square_km` their area.
    """

    plan: PlannedCost
    taken: Resources
    square_km: float

    @property
    def rows(self) -> Iterator[CostRow]:
        """The table: hours, bytes, requests and money."""
        planned, taken, prices = self.plan.resources, self.taken, self.plan.prices
        yield CostRow(
            "core hours", hours_text(planned.core_seconds), hours_text(taken.core_seconds)
        )
        if planned.gpu_seconds:
            yield CostRow(
                "GPU hours", hours_text(planned.gpu_seconds), hours_text(taken.gpu_seconds)
            )
        yield CostRow("GB read", _gigabytes(planned.bytes_read), _gigabytes(taken.bytes_read))
        yield CostRow("requests", f"{planned.requests:,.0f}", f"{taken.requests:,.0f}")
        yield CostRow(
            "GB written", _gigabytes(planned.bytes_written), _gigabytes(taken.bytes_written)
        )
        money = planned.money(prices), taken.money(prices)
        yield CostRow("cost", *(money_text(amount, prices) for amount in money))
        areas = self.plan.square_km, self.square_km
        per_km2 = (
            money_text(amount / area, prices) if area else "–"
            for amount, area in zip(money, areas, strict=True)
        )
        yield CostRow("cost per km²", *per_km2)

    @property
    def sentence(self) -> str:
        """What the finished cells took and cost, beside the plan, in a sentence."""
        prices, taken = self.plan.prices, self.taken
        gpu = f", {hours_text(taken.gpu_seconds)} GPU hours" if taken.gpu_seconds else ""
        return (
            f"It took {hours_text(taken.core_seconds)} core hours{gpu}, about "
            f"{money_text(taken.money(prices), prices)}; planned were "
            f"{money_text(self.plan.resources.money(prices), prices)} ({prices})"
        )


def cost_report(
    plan: PlannedCost, stats: ReadStats, items: Iterable[Mapping[str, Any]], square_km: float
) -> CostReport:
    """The report of a plan's cost.

    Args:
        plan: What was planned.
        stats: The facts of all finished cells.
        items: The STAC items of these cells, whose files' sizes are added up.
        square_km: Their area.
    """
    planned, seconds = plan.resources, stats.seconds
    on_gpu = sum(seconds.get(stage, 0.0) for stage in _ON_GPU) if planned.gpu_seconds else 0.0
    remote = planned.remote_bytes / planned.bytes_read if planned.bytes_read else 0.0
    sizes = (a.get("file:size", 0) for item in items for a in item["assets"].values())
    taken = Resources(
        core_seconds=sum(seconds.values()) - on_gpu,
        gpu_seconds=on_gpu,
        bytes_read=stats.fetched,
        remote_bytes=stats.fetched * remote,
        requests=stats.requests,
        bytes_written=sum(sizes),
    )
    return CostReport(plan, taken, square_km)


def _gigabytes(count: float) -> str:
    return plain_number(count / 1e9)
