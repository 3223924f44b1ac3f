"""The cluster of kind "gateway": a new cluster of a Dask Gateway, a service that an institute runs.

Its connections are encrypted, with keys that the service makes. Who the user is, it asks by the
settings of dask-gateway itself (`gateway.auth`, ~/.config/dask/gateway.yaml or DASK_GATEWAY__…).
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, model_validator

from models.option import PAIRS, Option
from pipeline.clusters.groups import GroupFields, groups_of, require_package, wait_for_groups
from pipeline.clusters.kind import ClusterUnavailable, Workers

if TYPE_CHECKING:
    from distributed import Client

_LONGEST_REASON = 300  # characters of another library's words


class GatewayFields(GroupFields):
    """The settings that only a Dask Gateway has."""

    gateway: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="the address of a Dask Gateway, https://host/services/dask (gateway)"
    )
    gateway_options: Annotated[dict[str, str | int | float | bool], PAIRS, Option(hidden=True)] = (
        Field(
            default_factory=dict,
            description="what the gateway offers to choose, such as an image or a worker's cores "
            "(gateway)",
        )
    )

    @model_validator(mode="after")
    def _gateway_fits_kind(self) -> Self:
        if self.kind == "gateway" and not (self.gateway or "").startswith(("https://", "http://")):
            raise ValueError("kind gateway needs gateway, the address of one: https://host/…")
        if "@" in (self.gateway or ""):
            raise ValueError(
                "a gateway's address has no user and password: settings are shown; dask-gateway "
                "takes them from its own settings"
            )
        return self


class GatewayCluster:
    """A cluster of a gateway, which is shut down at the end. All its workers are alike."""

    remote = True

    def workers(self, settings: GatewayFields, cores: int, memory: int) -> Workers:
        """As many as there may be; what one has is the gateway's to say."""
        least = settings.workers or 1
        return Workers(settings.most_workers or least, settings.threads or 1, None)

    def require(self) -> None:
        """Raise ClusterError where dask-gateway is missing."""
        require_package("gateway", "dask_gateway", "gateway")

    @contextlib.contextmanager
    def open(self, settings: GatewayFields) -> "Iterator[Client]":
        """Ask for a cluster, and wait for a worker."""
        self.require()
        from dask_gateway import Gateway

        address, least = settings.gateway, settings.workers or 1
        assert address is not None  # GatewayFields holds that it goes with this kind
        with contextlib.ExitStack() as stack:
            try:
                gateway = Gateway(address)
                stack.callback(_leave_closed, gateway)
                stack.enter_context(gateway)
                name = gateway.submit(**settings.gateway_options)
                cluster = gateway.connect(name, shutdown_on_close=True)
                stack.callback(_leave_closed, cluster.gateway)
                stack.enter_context(cluster)
                if settings.most_workers is None:
                    cluster.scale(least)
                else:
                    cluster.adapt(minimum=least, maximum=settings.most_workers)
                client = stack.enter_context(cluster.get_client(set_as_default=False))
            except Exception as error:  # of aiohttp, of the gateway, of its authentication
                said = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
                raise ClusterUnavailable(
                    f"The Dask Gateway at {address} gives no cluster ({said}). Look at its address,"
                    " at gateway_options, and at gateway.auth of dask-gateway's settings."
                ) from error
            where = "Ask those who run the gateway, or give more wait_minutes."
            alike = groups_of(settings.model_copy(update={"encoders": 0}))
            wait_for_groups(client, alike, settings.wait_minutes, where)
            yield client


def _leave_closed(gateway: Any) -> None:
    """Have Python not close it once more when it is collected: its loop has ended by then."""
    gateway._asynchronous = True
