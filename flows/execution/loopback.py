"""Requests of this machine to itself: they go through no proxy, whatever the environment names."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from functools import partialmethod
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")  # programs read one or the other


@contextlib.contextmanager
def loopback_without_proxy() -> Iterator[None]:
    """Add this machine to the user's exceptions from proxies, for the processes started as well."""
    before = {name: os.environ.get(name) for name in _EXCEPTIONS}
    if _names_proxy(os.environ):  # else systems that keep proxies elsewhere would not look there
        stated = [before[name] or "" for name in _EXCEPTIONS]
        for name, own, other in zip(_EXCEPTIONS, stated, reversed(stated), strict=True):
            os.environ[name] = _with_loopback(own or other)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def prefect_without_proxy(url: str) -> Iterator[None]:
    """Let Prefect's clients of an API on this machine ignore the environment's proxies.

    httpx prepares every proxy that is named, whether or not a request will use it, and fails at one
    that it does not know, such as socks5://. Prefect has no setting for its clients.
    """
    from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient

    if urlsplit(url).hostname not in _LOOPBACK:
        yield
        return
    kinds: tuple[Any, ...] = (PrefectHttpxAsyncClient, PrefectHttpxSyncClient)
    before = [kind.__init__ for kind in kinds]
    for kind, init in zip(kinds, before, strict=True):
        kind.__init__ = partialmethod(init, trust_env=False)
    try:
        yield
    finally:
        for kind, init in zip(kinds, before, strict=True):
            kind.__init__ = init


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that talks to this machine alone."""
    return {name: value for name, value in environment.items() if not _is_proxy(name)}


def _names_proxy(environment: Mapping[str, str]) -> bool:
    return any(_is_proxy(name) and value for name, value in environment.items())


def _is_proxy(name: str) -> bool:
    return name.lower().endswith("_proxy") and name not in _EXCEPTIONS


def _with_loopback(exceptions: str) -> str:
    named = [host.strip() for host in exceptions.split(",") if host.strip()]
    if "*" in named:
        return exceptions
    return ",".join([*named, *(host for host in _LOOPBACK if host not in named)])
