"""Why a raster could not be read, in words that hold no address."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadFailure:
    """Why a raster could not be read.

    Attributes:
        reason: Words of our own, which hold no address.
        unreachable: Server, network, credentials or memory failed, so nothing is known of the
            raster. Else the raster is missing or damaged, and stays so.
        certain: The reason cannot be a request refused in the middle of a file.
        passing: A later attempt may succeed.
        refused: New credentials may help.
        pause: Seconds that the server wants to be left alone.
        status: The HTTP status of the server's answer, if it gave one.
        said: The server's own reason, without what was sent to it in secret.
    """

    reason: str
    unreachable: bool
    certain: bool = True
    passing: bool = False
    refused: bool = False
    pause: float = 0.0
    status: int | None = None
    said: str = ""


class Unreadable(Exception):
    """Carries a `ReadFailure` between the parts of the reader; never leaves the reader."""

    def __init__(self, failure: ReadFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def damaged(reason: str = "is truncated or damaged") -> Unreadable:
    """The error for a raster that is there, but is not what it should be."""
    return Unreadable(ReadFailure(reason, unreachable=False))
