"""Access to an archive's rasters: open, by signatures that expire, or by keys."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from urllib.parse import urlsplit

from pipeline.io.gdal_s3 import gdal_s3_options
from pipeline.io.network_rules import UNRESTRICTED, NetworkRules
from pipeline.io.store import is_plain_url
from pipeline.raster import sas_tokens
from pipeline.raster.read_errors import ReadFailure, Unreadable


@dataclass(frozen=True)
class Access:
    """How rasters are opened. It holds the names of secrets, never secrets, so it may be pickled.

    Attributes:
        token_url: The service that gives signatures (shared access signatures of Azure's
            storage), with {account} and {container} in it.
        signed_hosts: Only hrefs of hosts that match this pattern get a signature.
        token_key: The environment variable with a key to that service; it may be unset.
        s3_endpoint: The server of s3:// hrefs; by default that of AWS's own variables.
        s3_key: The environment variable with the key to that server.
        s3_secret: The environment variable with the secret to that server.
        requests: How many requests may be under way at once in a process.
        rules: What the hrefs may lead to, and how much their servers may send.
    """

    token_url: str | None = None
    signed_hosts: str = "*.blob.core.windows.net"
    token_key: str | None = None
    s3_endpoint: str | None = None
    s3_key: str | None = None
    s3_secret: str | None = None
    requests: int = 32
    rules: NetworkRules = UNRESTRICTED

    def signs(self, href: str) -> bool:
        """Whether an href is opened with a signature."""
        if self.token_url is None and is_plain_url(href):
            return False
        parts = urlsplit(href)
        return bool(
            self.token_url
            and parts.scheme in ("http", "https")
            and fnmatch(parts.hostname or "", self.signed_hosts)
        )

    def address(self, href: str, *, refused: str = "") -> str:
        """The href as it is opened now, a secret. Raises Unreadable where the service fails.

        The signature of a `refused` address is not used again.
        """
        if not self.signs(href):
            return href
        assert self.token_url is not None  # so says `signs`
        key = os.environ.get(self.token_key) if self.token_key else None
        token = sas_tokens.token_of(href, self.token_url, key, refused, self.rules)
        return f"{href}{'&' if '?' in href else '?'}{token}"

    def s3_options(self) -> Mapping[str, str]:
        """GDAL's configuration for s3:// hrefs; empty where AWS's own variables apply.

        Raises Unreadable where the environment lacks a key.
        """
        if self.s3_endpoint is None:
            return {}
        options = gdal_s3_options(self.s3_endpoint)
        if self.s3_key is None or self.s3_secret is None:
            return {**options, "AWS_NO_SIGN_REQUEST": "YES"}
        for name in (self.s3_key, self.s3_secret):
            if not os.environ.get(name):
                reason = f"the environment of the worker has no {name}, a key to its storage"
                raise Unreadable(ReadFailure(reason, unreachable=True))
        return {
            **options,
            "AWS_ACCESS_KEY_ID": os.environ[self.s3_key],
            "AWS_SECRET_ACCESS_KEY": os.environ[self.s3_secret],
            # The environment may hold those of another archive.
            "AWS_SESSION_TOKEN": "",
            "AWS_NO_SIGN_REQUEST": "NO",
        }


OPEN = Access()
"""Access to rasters that need neither signature nor key."""
