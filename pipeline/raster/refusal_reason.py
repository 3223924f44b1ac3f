"""The reason that a server gives for a refusal, as a line that may be shown."""

import html
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

from pipeline.io.redaction import without_secrets

_SHORTEST = 3  # characters of a secret; a shorter word is none, and stands in other words
# Where APIs write their reason: STAC API and OGC, FastAPI, AWS, RFC 9457.
_KEYS = ("description", "detail", "message", "msg", "errorMessage", "error", "errors", "title")
_MARKUP = (r"<Message>(.*?)</Message>", r"<title>(.*?)</title>", r"<h1>(.*?)</h1>")


def reason_in(body: bytes) -> str:
    """The reason in the body of a refusal (JSON, XML, HTML or text) as one line, or empty.

    Addresses in it have no user and no query.
    """
    text = body.decode("utf-8", "replace")
    try:
        reason = _stated(json.loads(text))
    except (ValueError, RecursionError):
        marked = (re.search(pattern, text, re.IGNORECASE | re.DOTALL) for pattern in _MARKUP)
        found = next(filter(None, marked), None)
        reason = html.unescape(re.sub("<[^>]*>", " ", found[1] if found else text))
    printable = "".join(c if c.isprintable() else " " for c in reason)
    return without_secrets(" ".join(printable.split())).rstrip(".")


def without_words(text: str, words: Iterable[str]) -> str:
    """The text without some words, also as they are written in an address."""
    long = [word for word in words if len(word) >= _SHORTEST]
    written = {form for word in long for form in (word, quote(word, ""), quote_plus(word))}
    for form in sorted(written, key=len, reverse=True):
        text = text.replace(form, "…")
    return text


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
