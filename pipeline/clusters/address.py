"""The cluster of kind "address": a Dask scheduler that runs already, and is left running."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from models.option import Option
from pipeline.clusters.kind import ClusterError, ClusterUnavailable, Workers
from pipeline.clusters.tls import TlsFields, security_of

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_SECONDS = 15
_WORKERS_SECONDS = 60


class AddressFields(TlsFields):
    """The settings that only a running scheduler has."""

    address: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="a running scheduler, e.g. tcp://host:8786, or tls://host:8786"
    )

    @model_validator(mode="after")
    def _address_fits_kind(self) -> Self:
        if (self.kind == "address") != (self.address is not None):
            raise ValueError('an address goes with kind = "address", and only with it')
        if "@" in (self.address or ""):
            raise ValueError(
                "an address is tcp://host:8786, without user and password, which Dask does not "
                "take: settings are shown"
            )
        return self


class AddressCluster:
    """The workers of a running scheduler.

    How many there are and what they have is not known before: workers like this machine are
    assumed, in the number and with the threads that the settings say, else one with all cores.
    """

    remote = True

    def workers(self, settings: AddressFields, cores: int, memory: int) -> Workers:
        """Workers like this machine, since what runs there is not known here."""
        return Workers(settings.workers or 1, settings.threads or cores, None)

    def require(self) -> None:
        """Nothing that timesen has not."""

    @contextlib.contextmanager
    def open(self, settings: AddressFields) -> "Iterator[Client]":
        """Connect to the scheduler, which is left running at the end."""
        from pipeline.clusters.scheduler_client import SchedulerClient

        address = settings.address
        assert address is not None  # AddressFields holds that it goes with this kind
        security = security_of(settings)
        if security is not None and not address.startswith("tls://"):
            raise ClusterError(
                address, "its connections are not encrypted", "Write tls://…, or leave tls_ca out"
            )
        try:
            client = SchedulerClient(address, timeout=_CONNECT_SECONDS, security=security)
        except (TypeError, RuntimeError) as error:  # Dask's, where certificates are missing
            raise ClusterError(
                address,
                f"it asks for certificates ({' '.join(str(error).split())})",
                "Give tls_ca, tls_cert and tls_key",
            ) from None
        except ValueError as error:
            raise ClusterError(
                address, f"no scheduler's address ({error})", "Write tcp://host:8786"
            ) from None
        except OSError:
            refused = " or does not take this machine's certificate" if security else ""
            raise ClusterUnavailable(
                f"The Dask scheduler at {address} does not answer{refused}. Start it "
                "(`dask scheduler`), or let the run have its own workers with --cluster local."
            ) from None
        with client:
            try:
                client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
            except TimeoutError:
                raise ClusterUnavailable(
                    f"The Dask scheduler at {address} had no workers for "
                    f"{_WORKERS_SECONDS} s. Start some (`dask worker {address}`)."
                ) from None
            yield client
