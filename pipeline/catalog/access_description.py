"""The table [access] of a catalogue's TOML file: how its rasters are opened, without secrets."""

import re
from string import Formatter
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline.io.redaction import holds_secret
from pipeline.raster.access import Access

_KINDS = {
    "open": {"requests"},
    "signed": {"token_url", "hosts", "key", "requests"},
    "s3": {"endpoint", "key", "secret", "requests"},
}
_NEEDED = {"open": set(), "signed": {"token_url"}, "s3": {"endpoint"}}
# A key itself has no underscore, or has small letters, too. So one that is written here by mistake
# is refused before a table of items keeps it or an error shows it.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


class AccessDescription(BaseModel):
    """How rasters are opened; `key` and `secret` are names of environment variables."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    kind: Literal["open", "signed", "s3"] = "open"
    token_url: str | None = None
    hosts: str = "*.blob.core.windows.net"
    endpoint: str | None = None
    key: str | None = None
    secret: str | None = None
    requests: int = Field(32, ge=1, le=256, strict=True)

    @field_validator("key", "secret")
    @classmethod
    def _names_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not _VARIABLE.fullmatch(value):
            raise ValueError(
                "write the name of an environment variable, in capitals with an underscore, such "
                "as MY_S3_KEY; the key itself stays out of files"
            )
        return value

    @field_validator("token_url", "endpoint")
    @classmethod
    def _plain_address(cls, value: str | None) -> str | None:
        if value is None:
            return value
        parts = urlsplit(value)
        plain = parts.scheme in ("http", "https") and parts.hostname and not holds_secret(value)
        if not plain or parts.query or parts.fragment or "@" in parts.netloc or "$" in value:
            raise ValueError("an address is http(s)://… without user, password, query or ${NAME}")
        return value

    @field_validator("token_url")
    @classmethod
    def _known_placeholders(cls, value: str | None) -> str | None:
        parts = {name for _, name, _, _ in Formatter().parse(value or "") if name is not None}
        if strange := parts - {"account", "container"}:
            raise ValueError(
                f"{{{min(strange)}}} is unknown; only {{account}} and {{container}} of a raster's "
                "address can be inserted"
            )
        return value

    @field_validator("endpoint")
    @classmethod
    def _without_path(cls, value: str | None) -> str | None:
        if value and urlsplit(value).path.strip("/"):
            raise ValueError("an endpoint is a server, https://host, without a path")
        return value

    @model_validator(mode="after")
    def _fits_kind(self) -> "AccessDescription":
        if strange := self.model_fields_set - _KINDS[self.kind] - {"kind"}:
            name = min(strange)
            fitting = " or ".join(f'kind = "{kind}"' for kind in _KINDS if name in _KINDS[kind])
            raise ValueError(f'{name} goes with {fitting}, and this is kind = "{self.kind}"')
        if lacking := _NEEDED[self.kind] - self.model_fields_set:
            raise ValueError(f'kind = "{self.kind}" needs {min(lacking)}')
        if self.kind == "s3" and (self.key is None) != (self.secret is None):
            absent = "secret" if self.secret is None else "key"
            raise ValueError(f"key and secret go together, and {absent} is missing")
        return self

    def access(self) -> Access:
        """How the readers of rasters open them, as described here."""
        if self.kind == "signed":
            return Access(
                token_url=self.token_url,
                signed_hosts=self.hosts,
                token_key=self.key,
                requests=self.requests,
            )
        return Access(
            s3_endpoint=self.endpoint,
            s3_key=self.key,
            s3_secret=self.secret,
            requests=self.requests,
        )
