"""The common part of all kinds of clusters: settings, sizes of workers, the protocol of a kind.

A kind is one file of this package: a `ClusterFields` with the settings that it alone has, and a
`ClusterKind`. `pipeline.clusters.settings` lists them.
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from models.errors import UserError, WorldError
from models.option import Option

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
_LEAST_MEMORY = 2**28  # bytes; a worker that has only imported what it needs takes more
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

    Where a worker dies while it starts, the cluster is started again, a few times.

    Raises:
        ClusterUnavailable: It does not start: settings of Dask's own that make no sense, no free
            port, no memory.
    """
    options["scheduler_kwargs"] = {"dashboard": dashboard}
    with ExitStack() as stack:
        yield _start(stack, kind, options)


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
                client = started.enter_context(Client(cluster, set_as_default=False))
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


def enough_memory(value: str) -> str:
    """Return an amount of memory such as "3GB"; raises ValueError where no worker could run in it.

    pydantic makes its message of that.
    """
    from dask.utils import parse_bytes  # takes longer than all else of this file

    try:
        enough = parse_bytes(value) >= _LEAST_MEMORY
    except ValueError:
        enough = False
    if not enough:
        raise ValueError(f"no worker could run in {value!r}; write an amount as 3GB")
    return value


class ClusterFields(BaseModel):
    """The settings that all kinds of clusters share."""

    model_config = ConfigDict(
        title="How to run", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    kind: str = "threads"
    workers: int | None = Field(
        None,
        ge=1,
        description="worker processes; default: what cores and memory allow (local), or 1",
    )
    threads: int | None = Field(
        None, ge=1, description="threads of a worker; default: the cores, shared by the workers"
    )
    worker_deaths: int = Field(
        3, ge=1, description="deaths of workers with a cell in work after which it is set aside"
    )
    cells_in_flight: int | None = Field(
        None, ge=1, description="cells submitted at once; default: 2, and one more per worker"
    )
    unencoded_limit: Annotated[str | None, Option(metavar="BYTES")] = Field(
        None,
        description="memory that series may take, over all workers, before they are encoded: no "
        "more cells are submitted; default: that of cells_in_flight cells",
    )
    dashboard: bool = Field(
        False,
        description="serve Dask's dashboard, for this machine alone, and show its address",
    )

    _some_memory = field_validator("unencoded_limit")(
        lambda value: None if value is None else enough_memory(value)
    )

    @property
    def most_unencoded(self) -> int | None:
        """The bytes of `unencoded_limit`, if there is one."""
        from dask.utils import parse_bytes

        return None if self.unencoded_limit is None else int(parse_bytes(self.unencoded_limit))


@dataclass(frozen=True)
class Workers:
    """The workers of a run, known before they run.

    Attributes:
        count: number of workers.
        threads: threads of each.
        memory: bytes that one may take; None on machines that this one cannot see.
        memory_setting: the setting that limits the memory, if there is one.
        encoders: number of further workers, with a GPU each, that alone encode, and do nothing
            else; 0 where the workers do all.
    """

    count: int
    threads: int
    memory: int | None
    memory_setting: str | None = None
    encoders: int = 0


Fields = TypeVar("Fields", bound=ClusterFields, contravariant=True)


class ClusterKind(Protocol[Fields]):
    """A kind of cluster.

    `remote`: its workers are on other machines. Their software and their view of the run's files
    are checked, and there may be more or fewer of them while a run goes on.
    """

    remote: bool

    def workers(self, settings: Fields, cores: int, memory: int) -> Workers:
        """Size the workers, as seen from a machine of so many cores and bytes of memory."""

    def require(self) -> None:
        """Raise ClusterError where this machine lacks what the kind needs; it is quick."""

    def open(self, settings: Fields) -> "AbstractContextManager[Client]":
        """Open a client for the length of a block; raises ClusterError and ClusterUnavailable."""
