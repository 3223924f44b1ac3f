"""Clusters of two groups of workers, sized apart: readers, and encoders with a GPU each.

Encoders offer Dask's resource "GPU", readers "CPU". A map's encoding then runs on encoders alone,
and all other work on readers, so that no GPU waits while its worker reads or writes. Without
encoders there is one group, which offers nothing and does everything.
"""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, field_validator, model_validator

from models.option import Option
from pipeline.clusters.kind import ClusterError, ClusterUnavailable, Workers, enough_memory
from pipeline.clusters.tls import TlsFields

if TYPE_CHECKING:
    from distributed import Client

READS, ENCODES = "CPU", "GPU"
"""The resources that readers and encoders offer; a reader as many as it has threads."""

_POLL_SECONDS = 1.0


class GroupFields(TlsFields):
    """The settings of the workers' sizes."""

    memory_limit: Annotated[str, Option(metavar="BYTES")] = Field(
        "3GB", description="memory of a worker process (local, cuda, slurm, kubernetes)"
    )
    most_workers: Annotated[int | None, Option(hidden=True)] = Field(
        None,
        ge=1,
        description="the number of workers follows the work, from workers up to this (slurm, "
        "kubernetes, gateway); default: it stays",
    )
    encoders: Annotated[int | None, Option(hidden=True)] = Field(
        None,
        ge=0,
        description="workers with a GPU each, which encode while the others read (cuda, slurm, "
        "kubernetes); default: all GPUs of this machine (cuda), or none",
    )
    encoder_threads: Annotated[int, Option(hidden=True)] = Field(
        4, ge=1, description="cores of an encoder (cuda, slurm, kubernetes)"
    )
    encoder_memory: Annotated[str, Option(hidden=True)] = Field(
        "16GB", description="memory of an encoder (cuda, slurm, kubernetes)"
    )
    wait_minutes: Annotated[float, Option(hidden=True)] = Field(
        60.0,
        gt=0,
        allow_inf_nan=False,
        description="minutes in which a queue must give a worker (slurm, kubernetes, gateway)",
    )

    _enough_memory = field_validator("memory_limit", "encoder_memory")(enough_memory)

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.most_workers is not None and self.most_workers < (self.workers or 1):
            raise ValueError(
                f"most_workers is {self.most_workers}, and there are {self.workers or 1} workers "
                "at least"
            )
        return self


@dataclass(frozen=True)
class WorkerGroup:
    """Workers of one size.

    Attributes:
        name: "readers" or "encoders".
        least: number of workers that there are at all times.
        most: number that there may be where there is work for them.
        threads: threads of a worker.
        memory: bytes that a worker may take.
        resources: what a worker offers to Dask.
    """

    name: str
    least: int
    most: int
    threads: int
    memory: int
    resources: dict[str, int]

    @property
    def offered(self) -> str:
        """The resources as Dask's command line takes them, "CPU=4"; empty where there are none."""
        return " ".join(f"{name}={number}" for name, number in self.resources.items())

    @property
    def at_once(self) -> int:
        """Tasks of this group that a worker does at once: an encoder one, with all its threads."""
        return min([self.threads, *self.resources.values()])


def groups_of(settings: GroupFields, encoders: int | None = None) -> tuple[WorkerGroup, ...]:
    """The groups that the settings ask for: readers, and encoders if there are any.

    `encoders` is their number where the settings name none; default: 0.
    """
    from dask.utils import parse_bytes

    number = (encoders or 0) if settings.encoders is None else settings.encoders
    least, threads = settings.workers or 1, settings.threads or 1
    most = settings.most_workers or least
    offered = {READS: threads} if number else {}
    memory = int(parse_bytes(settings.memory_limit))
    readers = WorkerGroup("readers", least, most, threads, memory, offered)
    if not number:
        return (readers,)
    memory = int(parse_bytes(settings.encoder_memory))
    threads = settings.encoder_threads
    return readers, WorkerGroup("encoders", number, number, threads, memory, {ENCODES: 1})


def workers_of_groups(groups: tuple[WorkerGroup, ...]) -> Workers:
    """The readers, as many as there may be, and the encoders."""
    readers, *encoders = groups
    number = sum(group.most for group in encoders)
    return Workers(readers.most, readers.threads, readers.memory, "memory_limit", number)


def wait_for_groups(
    client: "Client",
    groups: tuple[WorkerGroup, ...],
    minutes: float,
    where: str,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Wait until a worker of each group is there.

    Args:
        client: A client of the cluster.
        groups: The groups.
        minutes: How long to wait.
        where: What gives the workers, and where to look, for the error.
        check: Called meanwhile; it may raise.

    Raises:
        ClusterUnavailable: A group has no worker in time.
    """
    until = time.monotonic() + 60 * minutes
    while missing := _missing(client, groups):
        check()
        if time.monotonic() > until:
            raise ClusterUnavailable(
                f"No worker came for the {' and the '.join(missing)} in {minutes:g} minutes "
                f"(wait_minutes). {where}"
            )
        time.sleep(_POLL_SECONDS)


def _missing(client: "Client", groups: tuple[WorkerGroup, ...]) -> list[str]:
    workers = client.scheduler_info(n_workers=-1).get("workers", {}).values()
    offers = [frozenset(worker["resources"]) for worker in workers]
    return [group.name for group in groups if frozenset(group.resources) not in offers]


def require_package(kind: str, module: str, extra: str) -> None:
    """Raise ClusterError where the package of a kind is not installed; it is not imported."""
    if importlib.util.find_spec(module) is None:
        package = module.replace("_", "-")
        raise ClusterError(
            f"a cluster of kind {kind}",
            f"{package} is not installed",
            f"pip install 'timesen[{extra}]'",
        )
