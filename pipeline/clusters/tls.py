"""Encrypted connections between the parts of a Dask cluster: certificates in place of open ports.

With these, nobody connects to scheduler or workers who has no certificate of the authority that is
named; without, whoever reaches a port of theirs runs programs as their user.
"""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from models.option import Option, RelativePath, user_path
from pipeline.clusters.kind import ClusterError, ClusterFields

if TYPE_CHECKING:
    from distributed.security import Security


class TlsFields(ClusterFields):
    """The certificates of a cluster; all three are given, or none."""

    tls_ca: Annotated[str | None, RelativePath(), Option(metavar="FILE")] = Field(
        None,
        description="certificate of the authority that signs those of scheduler, workers and "
        "clients (PEM): connections are then encrypted, and nobody else is let in",
    )
    tls_cert: Annotated[str | None, RelativePath(), Option(metavar="FILE")] = Field(
        None, description="this machine's certificate (PEM)"
    )
    tls_key: Annotated[str | None, RelativePath(), Option(metavar="FILE")] = Field(
        None, description="the key of tls_cert (PEM), without a passphrase"
    )

    @model_validator(mode="after")
    def _all_three(self) -> Self:
        given = [self.tls_ca, self.tls_cert, self.tls_key]
        if any(given) and not all(given):
            raise ValueError("tls_ca, tls_cert and tls_key belong together: give all three")
        return self


def security_of(settings: TlsFields) -> "Security | None":
    """Dask's settings of these certificates; None without any: then Dask's own settings apply.

    Raises:
        ClusterError: A file is missing, or no certificate or key, or the key is another's.
    """
    if settings.tls_ca is None or settings.tls_cert is None or settings.tls_key is None:
        return None
    names = settings.tls_ca, settings.tls_cert, settings.tls_key
    authority, certificate, key = (str(user_path(name)) for name in names)
    for path in (authority, certificate, key):
        if not Path(path).is_file():
            raise ClusterError(path, "there is no such file", "Give a file in PEM")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(authority)
    except (ssl.SSLError, OSError) as error:
        raise ClusterError(authority, f"no certificate ({_reason(error)})", "Give PEM") from None
    try:  # a passphrase would be asked for on the terminal, by each worker
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ClusterError(
            f"{certificate} and {key}",
            f"no certificate and its key without a passphrase ({_reason(error)})",
            "Give both in PEM",
        ) from None
    return security_of_files(authority, certificate, key)


def security_of_files(authority: str, certificate: str, key: str) -> "Security":
    """Dask's settings where all parts have one certificate, of files in PEM."""
    from distributed.security import Security

    return Security(
        require_encryption=True,
        tls_ca_file=authority,
        tls_client_cert=certificate,
        tls_client_key=key,
        tls_scheduler_cert=certificate,
        tls_scheduler_key=key,
        tls_worker_cert=certificate,
        tls_worker_key=key,
    )


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(reason).replace("_", " ").lower().split())
