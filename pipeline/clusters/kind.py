"""The common part of all kinds of clusters: settings, sizes of workers, the protocol of a kind.

A kind is one file of this package: a `ClusterFields` with the settings that it alone has, and a
`ClusterKind`. `pipeline.clusters.settings` lists them.
"""

import multiprocessing
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from models.errors import UserError, WorldError

if TYPE_CHECKING:  # it takes half a second to import, and settings are read without it
    from distributed import Client, LocalCluster

# What Dask serves over HTTP is for this machine alone, the dashboard and what it has without one.
_PRIVATE_DASHBOARD: Mapping[str, Any] = {
    "dashboard_address": "127.0.0.1:0",
    "worker_dashboard_address": "127.0.0.1:0",
    "silence_logs": 40,  # logging.ERROR; `flows.execution.dask_log` has more
}

_STARTS = 3  # a worker can be killed while it starts, by a machine that is short of memory
_CLOSING_SECONDS = 60.0  # workers get 5; on a busy machine it takes longer
_WORKER_PROCESS = "Dask Worker process"  # begins the name that Dask gives it
_LONGEST_REASON = 300  # characters of another library's words


class ClusterError(UserError):
    """A cluster that cannot do the work of a run."""


class ClusterUnavailable(WorldError):
    """A scheduler that does not answer, or has no workers."""


@contextmanager
def local_cluster(
    kind: "type[LocalCluster] | None" = None, *, dashboard: bool = False, **options: Any
) -> "Iterator[tuple[LocalCluster, Client]]":
    """Start a `LocalCluster` with these options and a client of it, for the length of the block.

    `kind` is a class that derives from it. All of it listens on this machine's loopback alone.

    A dashboard's address is printed on the standard error, above a bar of progress. Where a worker
    dies while it starts, the cluster is started again, a few times.

    Raises:
        ClusterUnavailable: It does not start: settings of Dask's own that make no sense, no free
            port, no memory.
    """
    options["scheduler_kwargs"] = {"dashboard": dashboard}
    with ExitStack() as stack:
        cluster, client = _start(stack, kind, options)
        if dashboard:
            # Dask's own link has another host where the scheduler is within this process.
            port = client.scheduler_info(n_workers=0)["services"]["dashboard"]
            address = f"http://127.0.0.1:{port}/status"
            print(f"Dask's dashboard: {address}", file=sys.stderr, flush=True)
        yield cluster, client


def _start(
    stack: ExitStack, kind: "type[LocalCluster] | None", options: Mapping[str, Any]
) -> "tuple[LocalCluster, Client]":
    from distributed import Client, LocalCluster

    start = LocalCluster if kind is None else kind
    starts = 1
    while True:
        try:
            with ExitStack() as started:
                cluster = start(**_PRIVATE_DASHBOARD, **options)
                started.callback(_close, cluster)
                client = started.enter_context(Client(cluster))
                stack.push(started.pop_all())
                return cluster, client
        except (RuntimeError, OSError, ValueError, TypeError, LookupError) as error:
            first = _first_cause(error)
            if starts == _STARTS or not isinstance(first, RuntimeError | OSError):
                said = " ".join(f"{type(first).__name__}: {first}".split())[:_LONGEST_REASON]
                tried = f" in {starts} attempts" if starts > 1 else ""
                raise ClusterUnavailable(
                    f"Dask's workers on this machine do not start{tried} ({said}). Look at the "
                    "settings of Dask (variables DASK_…, files in ~/.config/dask), and at free "
                    "memory."
                ) from error
            starts += 1


def _close(cluster: "LocalCluster") -> None:
    """End a cluster. Where Dask comes to no end, its worker processes are killed.

    A nanny whose worker dies while it starts, and which is to end, can wait for ever.
    """
    try:
        cluster.close(timeout=_CLOSING_SECONDS)
    except TimeoutError:
        for process in multiprocessing.active_children():
            if process.name.startswith(_WORKER_PROCESS):
                process.kill()


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


class ClusterFields(BaseModel):
    """The settings that all kinds of clusters share."""

    model_config = ConfigDict(
        title="How to run", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    kind: str = "threads"
    workers: int | None = Field(
        None, ge=1, description="worker processes (local); default: what cores and memory allow"
    )
    threads: int | None = Field(
        None, ge=1, description="threads of a worker; default: the cores, shared by the workers"
    )
    cells_in_flight: int | None = Field(
        None, ge=1, description="cells submitted at once; default: 2, and one more per worker"
    )
    dashboard: bool = Field(
        False,
        description="serve Dask's dashboard, for this machine alone, and print its address "
        "(threads, local)",
    )


@dataclass(frozen=True)
class Workers:
    """The workers of a run, known before they run.

    Attributes:
        count: number of workers.
        threads: threads of each.
        memory: bytes that one may take; None on machines that this one cannot see.
        memory_setting: the setting that limits the memory, if there is one.
    """

    count: int
    threads: int
    memory: int | None
    memory_setting: str | None = None


Fields = TypeVar("Fields", bound=ClusterFields, contravariant=True)


class ClusterKind(Protocol[Fields]):
    """A kind of cluster.

    `remote`: its workers are on other machines. Their software and their view of the run's files
    are checked, and there may be more or fewer of them while a run goes on.
    """

    remote: bool

    def workers(self, settings: Fields, cores: int, memory: int) -> Workers:
        """Size the workers, as seen from a machine of so many cores and bytes of memory."""

    def open(self, settings: Fields) -> "AbstractContextManager[Client]":
        """Open a client for the length of a block; raises ClusterError and ClusterUnavailable."""
