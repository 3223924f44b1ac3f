"""A Dask cluster opened for a run, with checks that its workers can run it."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import dask
from distributed import Client

from flows.execution.dask_log import log_dask_to_file, workers_log_to_file
from flows.execution.prefect_api import create_link_artifact
from pipeline.clusters.groups import ENCODES, READS
from pipeline.clusters.kind import ClusterError
from pipeline.clusters.settings import CLUSTER_KINDS, ClusterSettings, workers_of
from pipeline.io.fingerprint import software_versions
from pipeline.io.store import public_text
from pipeline.mapping.run import Run


class _KeptCluster:
    """A cluster that is lent to one run after the other, while they ask for the same."""

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._lent: tuple[ClusterSettings, Client] | None = None

    @contextlib.contextmanager
    def lend(self, settings: ClusterSettings) -> Iterator[Client]:
        if self._lent is None or self._lent[0] != settings or self._lent[1].status != "running":
            self.close()
            self._lent = settings, self._open.enter_context(_opened(settings))
        try:
            yield self._lent[1]
        except BaseException as error:
            # It may be broken: the next run has another. Closing learns why, as without sharing.
            self._lent = None
            self._open.__exit__(type(error), error, error.__traceback__)
            raise

    def close(self) -> None:
        self._lent = None
        self._open.close()


_kept: ContextVar[_KeptCluster | None] = ContextVar("_kept", default=None)


@contextlib.contextmanager
def one_cluster() -> Iterator[None]:
    """Let runs of this block with the same `[cluster]` share a cluster, one after the other.

    It is not started anew for each, and its workers keep their encoders.
    """
    kept = _KeptCluster()
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        kept.close()


def open_cluster(settings: ClusterSettings) -> contextlib.AbstractContextManager[Client]:
    """Open a Dask client for the length of the block, or take that of `one_cluster`.

    Raises:
        ClusterError: the settings fit no cluster, or its workers have other software than this
            process.
        ClusterUnavailable: a scheduler does not answer or stays without workers.
    """
    kept = _kept.get()
    return _opened(settings) if kept is None else kept.lend(settings)


@contextlib.contextmanager
def _opened(settings: ClusterSettings) -> Iterator[Client]:
    log_dask_to_file()
    # Read by a scheduler that starts here; one that runs already keeps its own number.
    given: dict[str, object] = {
        "distributed.scheduler.allowed-failures": settings.worker_deaths - 1
    }
    if not settings.remote:
        # Dask looks for a worker of this machine so long after it died; one that has died once more
        # just then, and is starting again, would be closed for good, and another unit blamed.
        given["distributed.deploy.lost-worker-timeout"] = "1 hour"
    with (
        dask.config.set(given),
        workers_log_to_file(),
        CLUSTER_KINDS[settings.kind].open(settings) as client,
    ):
        if settings.remote:
            _require_same_software(client)
        if settings.dashboard:
            show_dashboard(client)
        yield client


def show_dashboard(client: Client) -> None:
    """Print the address of Dask's dashboard, above a bar of progress, and show it in Prefect."""
    info = client.scheduler_info(n_workers=0)
    port = info.get("services", {}).get("dashboard")
    own = client.cluster is not None and getattr(client.cluster, "scheduler", None) is not None
    # Dask's own link has another host where the scheduler is within this process.
    link = f"http://127.0.0.1:{port}/status" if own else client.dashboard_link
    if port is None or not link:
        return
    print(f"Dask's dashboard: {public_text(link)}", file=sys.stderr, flush=True)
    create_link_artifact(public_text(link), "Dask's dashboard", "dask-dashboard")


def worker_count(client: Client) -> int:
    """The number of workers of the cluster now, or the last known one if it does not answer.

    It is 0 once the connection is given up.
    """
    return int(client.scheduler_info(n_workers=0).get("n_workers", 0))


def has_gpu_workers(client: Client, settings: ClusterSettings) -> bool:
    """Whether a worker offers the resource "GPU", or will: a group can be gone for a while."""
    return workers_of(settings).encoders > 0 or _is_offered(client, ENCODES)


def has_readers(client: Client, settings: ClusterSettings) -> bool:
    """Whether workers without a GPU offer the resource "CPU", or will, to do all but encoding."""
    return workers_of(settings).encoders > 0 or _is_offered(client, READS)


def _is_offered(client: Client, resource: str) -> bool:
    return any(worker["resources"].get(resource) for worker in _workers(client).values())


def require_shared_files(client: Client, run: Run) -> None:
    """Check that every worker sees the run's folder and its checkpoint; raises ClusterError."""
    manifest, store, checkpoint = run.manifest, run.store, run.checkpoint

    def missing() -> str | None:
        from models.encoder.checkpoint import load_checkpoint
        from pipeline.product.ledger import read_run

        try:
            if read_run(store).fingerprint != manifest.fingerprint:
                return f"finds another run in {store.root}"
            load_checkpoint(checkpoint)
        except Exception as error:
            return f"cannot open the run's files: {error}"
        return None

    for worker, problem in _everywhere(client, missing).items():
        if problem:
            raise ClusterError(
                worker,
                public_text(f"it {problem}".rstrip(".")),
                "Put the run's folder and the checkpoint where all workers see them under the "
                "same path, or into s3://",
            )


def _workers(client: Client) -> Mapping[str, Any]:
    workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1).get("workers", {})
    return workers


def _require_same_software(client: Client) -> None:
    ours = _comparable(software_versions())

    # Sent by value, since it is a nested function: it runs where timesen is not installed too.
    def versions() -> dict[str, str] | str:
        try:
            from pipeline.io.fingerprint import software_versions

            return software_versions()
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    for place, theirs in _everywhere(client, versions, scheduler=True).items():
        if isinstance(theirs, str):
            problem = f"{place} cannot import timesen ({theirs})"
        elif different := _differences(ours, _comparable(theirs)):
            problem = f"{place} has other software: {different}"
        else:
            continue
        raise ClusterError(
            f"the scheduler at {client.scheduler_info(n_workers=0)['address']}",
            problem,
            "Run scheduler and workers in an environment with the same versions as this one",
        )


def _everywhere(
    client: Client, function: Callable[[], Any], scheduler: bool = False
) -> dict[str, Any]:
    """The results of a function without arguments on each worker (and on the scheduler)."""
    results = {f"the worker {name}": result for name, result in client.run(function).items()}
    if scheduler:
        results = {"the scheduler": client.run_on_scheduler(function)} | results
    return results


def _comparable(versions: Mapping[str, str]) -> dict[str, str]:
    """Versions without the parts that may differ: torch's build, Python's patch level."""
    public = {name: version.split("+")[0] for name, version in versions.items()}
    return public | {"python": public["python"].rpartition(".")[0]}


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} {theirs.get(name)} instead of {version}"
        for name, version in ours.items()
        if theirs.get(name) != version
    )
