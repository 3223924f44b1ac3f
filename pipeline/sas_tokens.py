"""Shared access signatures of Azure's storage, as Planetary Computer gives them, until they expire.

They live in this process's memory only: https://planetarycomputer.microsoft.com/docs/concepts/sas.
"""

import json
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from pipeline.faults import Failure, Unreadable
from pipeline.http_client import fetch

_MARGIN = 120.0  # seconds before its end in which a signature is not used any more
_FRESH = 5.0  # seconds in which a renewed one is not renewed again: many readers ask at once
_TIMEOUT = 30.0


@dataclass(frozen=True)
class _Token:
    text: str
    expires: float
    fetched: float


_tokens: dict[str, _Token] = {}
_locks: dict[str, threading.Lock] = {}
_locks_lock = threading.Lock()


def token_of(href: str, template: str, key: str | None, renew: bool) -> str:
    """The signature (a query string) of the container in which an href lies.

    One is kept for each container and asked for again shortly before it expires, or with `renew`.
    Raises Unreadable where the service fails.
    """
    account, container = _container_of(href)
    url = template.format(account=account, container=container)
    with _locks_lock:
        lock = _locks.setdefault(url, threading.Lock())
    with lock:
        kept, now = _tokens.get(url), time.time()
        usable = kept is not None and kept.expires - _MARGIN > now
        if kept is not None and usable and not (renew and now - kept.fetched > _FRESH):
            return kept.text
        _tokens[url] = _ask(url, key)
        return _tokens[url].text


def forget() -> None:
    """Drop all signatures."""
    _tokens.clear()


def _ask(url: str, key: str | None) -> _Token:
    try:
        content = fetch(url, _TIMEOUT, {"Ocp-Apim-Subscription-Key": key} if key else {})
    except Unreadable as error:
        failure = error.failure
        reason = failure.reason.replace("its server", "its signing service")
        raise Unreadable(
            Failure(reason, unreachable=True, passing=failure.passing, pause=failure.pause)
        ) from None
    try:
        answer = json.loads(content)
        expires = datetime.fromisoformat(str(answer["msft:expiry"]))
        text = str(answer["token"]).removeprefix("?")
    except (KeyError, TypeError, ValueError):
        reason = "its signing service's answer is no token"
        raise Unreadable(Failure(reason, unreachable=True)) from None
    expires = expires if expires.tzinfo else expires.replace(tzinfo=UTC)
    return _Token(text, expires.timestamp(), time.time())


def _container_of(href: str) -> tuple[str, str]:
    """Storage account and container of https://ACCOUNT.blob.core.windows.net/CONTAINER/…"""
    parts = urlsplit(href)
    return (parts.hostname or "").partition(".")[0], parts.path.lstrip("/").partition("/")[0]
