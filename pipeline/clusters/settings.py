"""The list of the kinds of clusters, and the settings of a cluster, of whatever kind."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from models.option import Option
from pipeline.clusters.address import AddressCluster, AddressFields
from pipeline.clusters.cuda import CudaCluster
from pipeline.clusters.gateway import GatewayCluster, GatewayFields
from pipeline.clusters.kind import ClusterKind, Workers
from pipeline.clusters.kubernetes import KubernetesCluster, KubernetesFields
from pipeline.clusters.local import ProcessesCluster
from pipeline.clusters.slurm import SlurmCluster, SlurmFields
from pipeline.clusters.threads import ThreadsCluster


class ClusterSettings(SlurmFields, KubernetesFields, GatewayFields, AddressFields):
    """Where the Dask work runs: a kind of cluster, with the settings of all kinds.

    Settings of other kinds are allowed and unused, so that --cluster can be laid over a file.
    """

    kind: Annotated[
        Literal["threads", "local", "address", "cuda", "slurm", "kubernetes", "gateway"],
        Option("--cluster", metavar="KIND|tcp://…", replaces="address"),
    ] = Field(
        "threads",
        description="threads (of this process), local (worker processes), cuda, slurm, kubernetes, "
        "gateway, or the address of a running Dask scheduler, tcp://host:8786 or tls://host:8786",
    )

    @model_validator(mode="before")
    @classmethod
    def _address_as_kind(cls, raw: Any) -> Any:
        """Take kind = "tcp://…" for kind = "address" with this address."""
        kind = raw.get("kind") if isinstance(raw, dict) else None
        if isinstance(kind, str) and "://" in kind:
            return raw | {"kind": "address", "address": kind}
        return raw

    @property
    def remote(self) -> bool:
        """Whether the workers are on other machines, and may come and go."""
        return CLUSTER_KINDS[self.kind].remote


CLUSTER_KINDS: Mapping[str, ClusterKind[ClusterSettings]] = {
    "threads": ThreadsCluster(),
    "local": ProcessesCluster(),
    "address": AddressCluster(),
    "cuda": CudaCluster(),
    "slurm": SlurmCluster(),
    "kubernetes": KubernetesCluster(),
    "gateway": GatewayCluster(),
}


def workers_of(
    settings: ClusterSettings, cores: int | None = None, memory: int | None = None
) -> Workers:
    """Size the workers before they run, for the cores and bytes of memory of a machine.

    By default it is this machine.
    """
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return CLUSTER_KINDS[settings.kind].workers(
        settings, cores or CPU_COUNT, memory or MEMORY_LIMIT
    )


def cells_in_flight(settings: ClusterSettings, workers: int) -> int:
    """How many cells to keep submitted: the user's number, else 2, and one more per worker."""
    return settings.cells_in_flight or 2 + workers
