"""The resources that a run takes, what they cost, and both in words."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from pipeline.costs.prices import Prices


@dataclass(frozen=True)
class Resources:
    """What a run takes of machines and networks.

    Attributes:
        core_seconds: Seconds for which CPU cores are held, over all cores, waiting included.
        gpu_seconds: Seconds for which GPUs encode, over all GPUs.
        bytes_read: Bytes of source rasters.
        remote_bytes: Those of them that come over a network.
        requests: Requests for them.
        bytes_written: Bytes of the product.
    """

    core_seconds: float = 0.0
    gpu_seconds: float = 0.0
    bytes_read: float = 0.0
    remote_bytes: float = 0.0
    requests: float = 0.0
    bytes_written: float = 0.0

    def money(self, prices: Prices) -> float:
        """What all of it costs, in the prices' currency."""
        return (
            self.core_seconds / 3600 * prices.core_hour
            + self.gpu_seconds / 3600 * prices.gpu_hour
            + self.remote_bytes / 1e9 * prices.read_gb
            + self.bytes_written / 1e9 * prices.written_gb
            + self.requests / 1e3 * prices.thousand_requests
        )

    def share(self, part: float) -> "Resources":
        """A part (0 … 1) of all of them."""
        return Resources(*(getattr(self, field.name) * part for field in fields(self)))

    def numbers(self) -> dict[str, float]:
        """Rounded values for JSON, by name."""
        return {field.name: round(getattr(self, field.name), 1) for field in fields(self)}


def total_resources(parts: Iterable[Resources]) -> Resources:
    """The sum of several."""
    total = Resources()
    for part in parts:
        total = Resources(*map(sum, zip(vars(total).values(), vars(part).values(), strict=True)))
    return total


def cost_line(taken: Resources, prices: Prices, square_km: float) -> str:
    """Hours, requests and money in a line, in total and per km²."""
    money, per_km2 = taken.money(prices), taken.money(prices) / square_km if square_km else 0.0
    hours = [f"{hours_text(taken.core_seconds)} core hours"]
    if taken.gpu_seconds:
        hours.append(f"{hours_text(taken.gpu_seconds)} GPU hours")
    if taken.requests:
        hours.append(f"{taken.requests:,.0f} requests")
    return (
        f"{', '.join(hours)}: about {money_text(money, prices)}, "
        f"{money_text(per_km2, prices)} per km² ({prices})"
    )


def money_text(amount: float, prices: Prices) -> str:
    """An amount with two digits that tell, and its currency."""
    return f"{plain_number(amount)} {prices.currency}"


def hours_text(seconds: float) -> str:
    """Hours with two digits that tell."""
    return plain_number(seconds / 3600)


def plain_number(value: float) -> str:
    """A number without an exponent: whole from 10 on, below with two digits that tell."""
    if value >= 10 or value == 0:
        return f"{value:,.0f}"
    text = f"{value:.2g}" if value >= 1e-4 else f"{value:.6f}"
    return text.rstrip("0").rstrip(".") or "0" if "." in text else text
