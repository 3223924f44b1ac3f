"""Why a raster could not be read, in words that hold no address."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadFailure:
    """Why a raster could not be read, in words of our own, which hold no address.

    `unreachable` says that nothing is known of the raster itself: server, network, credentials or
    memory failed. Else it is missing or damaged, and stays so; `certain` where that cannot be a
    refusal in the middle of a file. `passing`: asked again after a while, it may go better;
    `pause` is the seconds that the server wants to be left alone. `refused`: new credentials may
    help.
    """

    reason: str
    unreachable: bool
    certain: bool = True
    passing: bool = False
    refused: bool = False
    pause: float = 0.0


class Unreadable(Exception):
    """Raised with a `ReadFailure` between the parts of the reader, never outside of it."""

    def __init__(self, failure: ReadFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def damaged(reason: str = "is truncated or damaged") -> Unreadable:
    """What is raised for a raster that is there, but is not what it should be."""
    return Unreadable(ReadFailure(reason, unreachable=False))
