"""Where Dask runs: threads of this process, processes of this machine, or a scheduler's address."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dask
from distributed import Client, LocalCluster

from models.errors import UserError, WorldError
from pipeline.io.fingerprint import software_versions
from pipeline.io.store import public_text
from pipeline.mapping.prepare import Run
from pipeline.mapping.workers import workers_of
from pipeline.settings.sections import ClusterSettings

_CONNECT_SECONDS = 15
_WORKERS_SECONDS = 60
# No dashboard; what Dask serves over HTTP nevertheless is for this machine alone.
_PRIVATE: dict[str, Any] = {
    "dashboard_address": "127.0.0.1:0",
    "worker_dashboard_address": "127.0.0.1:0",
    "scheduler_kwargs": {"dashboard": False},
    "silence_logs": logging.ERROR,
}
# Ctrl-C reaches all processes of a terminal; only the run's own is to answer it.
_LEAVE_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"


class ClusterError(UserError):
    """A cluster that cannot run what it is asked to."""


class ClusterUnavailable(WorldError):
    """A scheduler that does not answer, or has no workers."""


@contextlib.contextmanager
def open_cluster(settings: ClusterSettings) -> Iterator[Client]:
    """A Dask client for the length of the block.

    - `threads`: one worker in this process.
    - `local`: processes of this machine, of `memory_limit` each.
    - `address`: a scheduler that runs already, which is left running.

    How many workers and threads, says `pipeline.mapping.workers.workers_of`.

    Raises ClusterError where an address is none or its workers hold other software than this
    process, ClusterUnavailable where a scheduler does not answer or stays without workers.
    """
    opened = {"threads": _threads, "local": _processes, "address": _address}[settings.kind]
    with _quiet(), opened(settings) as client:
        yield client


def worker_count(client: Client) -> int:
    """How many workers the cluster has now; what was known last where it does not answer."""
    return int(client.scheduler_info(n_workers=0)["n_workers"])


def has_gpu_workers(client: Client) -> bool:
    """Whether a worker offers the resource "GPU"."""
    return any(worker["resources"].get("GPU") for worker in _workers(client).values())


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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own log, of connections made and closed, kept to errors."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _threads(settings: ClusterSettings) -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=workers_of(settings).threads,
            processes=False,
            memory_limit=None,
            **_PRIVATE,
        ) as cluster,
        Client(cluster) as client,
    ):
        try:
            yield client
        except BaseException:  # a thread cannot be stopped: leave it behind, do not wait for it
            for worker in cluster.workers.values():
                cluster.sync(worker.close, executor_wait=False)
            raise


@contextlib.contextmanager
def _processes(settings: ClusterSettings) -> Iterator[Client]:
    workers = workers_of(settings)
    with (
        LocalCluster(
            n_workers=workers.count,
            threads_per_worker=workers.threads,
            processes=True,
            host="127.0.0.1",
            memory_limit=workers.memory,
            preload=[*dask.config.get("distributed.worker.preload"), _LEAVE_INTERRUPTS],
            **_PRIVATE,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextlib.contextmanager
def _address(settings: ClusterSettings) -> Iterator[Client]:
    assert settings.address is not None  # ClusterSettings holds that it goes with this kind
    try:
        client = Client(settings.address, timeout=_CONNECT_SECONDS)
    except ValueError as error:
        raise ClusterError(
            settings.address, f"no scheduler's address ({error})", "Write tcp://host:8786"
        ) from None
    except OSError:
        raise ClusterUnavailable(
            f"The Dask scheduler at {settings.address} does not answer. Start it "
            "(`dask scheduler`), or let the run have its own workers with --cluster local."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError:
            raise ClusterUnavailable(
                f"The Dask scheduler at {settings.address} had no workers for "
                f"{_WORKERS_SECONDS} s. Start some (`dask worker {settings.address}`)."
            ) from None
        _require_same_software(client, settings.address)
        yield client


def _workers(client: Client) -> Mapping[str, Any]:
    workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return workers


def _require_same_software(client: Client, address: str) -> None:
    ours = _comparable(software_versions())

    # Sent by value, since it is a nested function: it runs where timesen is not installed too.
    def versions() -> dict[str, str] | str:
        try:
            from pipeline.io.fingerprint import software_versions
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return software_versions()

    for place, theirs in _everywhere(client, versions, scheduler=True).items():
        if isinstance(theirs, str):
            problem = f"{place} cannot import timesen ({theirs})"
        elif different := _differences(ours, _comparable(theirs)):
            problem = f"{place} has other software: {different}"
        else:
            continue
        raise ClusterError(
            f"the scheduler at {address}",
            problem,
            "Run scheduler and workers in an environment with the same versions as this one",
        )


def _everywhere(
    client: Client, function: Callable[[], Any], scheduler: bool = False
) -> dict[str, Any]:
    """What a function without arguments gives on each worker, and on the scheduler if asked."""
    given = {f"the worker {name}": found for name, found in client.run(function).items()}
    if scheduler:
        given = {"the scheduler": client.run_on_scheduler(function)} | given
    return given


def _comparable(versions: Mapping[str, str]) -> dict[str, str]:
    """Versions without what may differ: the build of torch (CPU, CUDA), Python's patch level."""
    public = {name: version.split("+")[0] for name, version in versions.items()}
    return public | {"python": public["python"].rpartition(".")[0]}


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name} {theirs.get(name)} instead of {version}"
        for name, version in ours.items()
        if theirs.get(name) != version
    )
