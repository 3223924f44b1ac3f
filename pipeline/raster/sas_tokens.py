"""Shared access signatures of Azure's storage, from a service such as Planetary Computer's.

They are kept in this process's memory only: https://planetarycomputer.microsoft.com/docs/concepts/sas.
"""

import threading
import time
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from models.files.json_text import parse_json
from pipeline.io.network_rules import UNRESTRICTED, NetworkRules
from pipeline.io.times import parse_time
from pipeline.raster.http_client import KEY_HEADER, fetch
from pipeline.raster.read_errors import ReadFailure, Unreadable

_MARGIN = 120.0  # seconds: a signature is renewed so long before it expires
_SHORTEST_USE = 5.0  # seconds: a new signature is used so long even if this clock says it expired
_TIMEOUT = 30.0


@dataclass(frozen=True)
class _Token:
    text: str = field(repr=False)
    expires: float
    fetched: float

    @property
    def ends(self) -> float:
        """Time of its renewal: `_MARGIN` before it expires, or after 3/4 of a short life."""
        life = self.expires - self.fetched
        return self.expires - min(_MARGIN, life / 4) if life > 0 else self.fetched + _SHORTEST_USE


class _Container:
    """A container's signature: one reader at a time fetches it, the others wait for the result."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._token: _Token | None = None
        self._failed: tuple[float, ReadFailure] | None = None
        self._lock = threading.Lock()

    def token(self, key: str | None, refused: str, rules: NetworkRules) -> str:
        began = time.monotonic()
        with self._lock:
            kept = self._token
            if kept is not None and time.time() < kept.ends and not refused.endswith(kept.text):
                return kept.text
            if self._failed is not None and self._failed[0] >= began:
                raise Unreadable(self._failed[1])  # another reader failed while this one waited
            try:
                self._token = _fetch(self._url, key, rules)
            except Unreadable as error:
                self._failed = (time.monotonic(), error.failure)
                raise
            return self._token.text


_containers: dict[str, _Container] = {}
_lock = threading.Lock()


def token_of(
    href: str,
    template: str,
    key: str | None,
    refused: str = "",
    rules: NetworkRules = UNRESTRICTED,
) -> str:
    """The signature, a query string, of the container in which an href lies. Raises Unreadable.

    It is kept until shortly before it expires. `template` is the service's address, with {account}
    and {container} in it. The signature of a `refused` address is not used again.
    """
    account, container = map(_segment, _container_of(href))
    url = template.format(account=account, container=container)
    with _lock:
        kept = _containers.setdefault(url, _Container(url))
    return kept.token(key, refused, rules)


def _fetch(url: str, key: str | None, rules: NetworkRules) -> _Token:
    try:
        content = fetch(url, _TIMEOUT, {KEY_HEADER: key} if key else {}, rules=rules)
    except Unreadable as error:
        failure = error.failure
        reason = failure.reason.replace("its server", "its signing service")
        raise Unreadable(
            ReadFailure(reason, unreachable=True, passing=failure.passing, pause=failure.pause)
        ) from None
    try:
        response = parse_json(content)
        expires = parse_time(response["msft:expiry"])
        text = response["token"].removeprefix("?")
        if not text:
            raise ValueError("an empty token")
    except (AttributeError, KeyError, TypeError, ValueError):
        reason = "its signing service's answer is no token"
        raise Unreadable(ReadFailure(reason, unreachable=True)) from None
    return _Token(text, expires.timestamp(), time.time())


def _segment(name: str) -> str:
    """A name of an href as a part of the service's address that leads nowhere else."""
    return "%2E" * len(name) if set(name) == {"."} else quote(name, safe="$%")


def _container_of(href: str) -> tuple[str, str]:
    """Storage account and container of `https://ACCOUNT.blob.core.windows.net/CONTAINER/…`."""
    parts = urlsplit(href)
    return (parts.hostname or "").partition(".")[0], parts.path.lstrip("/").partition("/")[0]
