"""How an archive's rasters are opened: as they are, with a signature that expires, or with keys."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from urllib.parse import urlsplit

from pipeline.raster import sas_tokens
from pipeline.raster.read_errors import ReadFailure, Unreadable


@dataclass(frozen=True)
class Access:
    """How rasters are opened; holds the names of secrets, never secrets, so it may be pickled.

    - `token_url`: where signatures are asked for, with {account} and {container} in it (shared
      access signatures of Azure's storage); they are put behind the hrefs of hosts that match
      `signed_hosts` only, when a raster is opened. `token_key` names the environment's variable
      of a key to that service, which may be unset.
    - `s3_endpoint`, `s3_key` and `s3_secret`: the server of s3:// hrefs, and the environment's
      variables of the keys to it; without them, those that AWS's own variables name.
    - `requests`: how many may be under way at once in a process.
    """

    token_url: str | None = None
    signed_hosts: str = "*.blob.core.windows.net"
    token_key: str | None = None
    s3_endpoint: str | None = None
    s3_key: str | None = None
    s3_secret: str | None = None
    requests: int = 32

    def signs(self, href: str) -> bool:
        """Whether an href is opened with a signature."""
        parts = urlsplit(href)
        return bool(
            self.token_url
            and parts.scheme in ("http", "https")
            and fnmatch(parts.hostname or "", self.signed_hosts)
        )

    def address(self, href: str, *, refused: str = "") -> str:
        """The href as it is opened now, with another signature than that of a `refused` address.

        Raises Unreadable where the signing service fails. The result is a secret.
        """
        if not self.signs(href):
            return href
        assert self.token_url is not None  # so says `signs`
        key = self._environment(self.token_key)
        token = sas_tokens.token_of(href, self.token_url, key, refused)
        return f"{href}{'&' if '?' in href else '?'}{token}"

    def s3_options(self) -> Mapping[str, str]:
        """GDAL's configuration for s3:// hrefs; empty where AWS's own variables have the word.

        Raises Unreadable where the environment lacks a key.
        """
        if self.s3_endpoint is None:
            return {}
        parts = urlsplit(self.s3_endpoint)
        options = {
            "AWS_S3_ENDPOINT": parts.netloc,
            "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }
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

    @staticmethod
    def _environment(name: str | None) -> str | None:
        return os.environ.get(name) if name else None


OPEN = Access()
"""Rasters that are opened as they are."""
