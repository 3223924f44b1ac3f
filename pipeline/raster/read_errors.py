"""Why a raster could not be read, in words that hold no address, and a server's own reason."""

import html
import re
from dataclasses import dataclass
from typing import Any

from models.files.json_text import parse_json
from pipeline.io.redaction import without_secrets

# Where APIs write their reason: STAC API and OGC, FastAPI, AWS, RFC 9457.
_KEYS = ("description", "detail", "message", "msg", "errorMessage", "error", "errors", "title")
_MARKUP = (r"<Message>(.*?)</Message>", r"<title>(.*?)</title>", r"<h1>(.*?)</h1>")


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


def reason_in(body: bytes) -> str:
    """The reason in the body of a refusal (JSON, XML, HTML or text) as one line, or empty.

    Addresses in it have no user and no query.
    """
    text = body.decode("utf-8", "replace")
    try:
        reason = _stated(parse_json(text))
    except (ValueError, RecursionError):
        marked = (re.search(pattern, text, re.IGNORECASE | re.DOTALL) for pattern in _MARKUP)
        found = next(filter(None, marked), None)
        reason = html.unescape(re.sub("<[^>]*>", " ", found[1] if found else text))
    printable = "".join(c if c.isprintable() else " " for c in reason)
    return without_secrets(" ".join(printable.split())).rstrip(".")


def _stated(answer: Any) -> str:
    """The reason in a JSON answer; a list has one for each field that is wrong."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, list):
        return "; ".join(filter(None, map(_stated, answer)))
    if not isinstance(answer, dict):
        return ""
    reason = next(filter(None, (_stated(answer.get(key)) for key in _KEYS)), "")
    place = answer.get("loc")  # of FastAPI: ["body", "limit"]
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where}: {reason}" if where and reason else reason
