"""Calls of long functions on one worker of a cluster, with their progress: an encoder, if any."""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from distributed import Client, get_worker
from distributed.scheduler import KilledWorker

from flows.execution.dask_cluster import has_gpu_workers, open_cluster
from flows.execution.progress import report_tenths
from pipeline.clusters.groups import ENCODES
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.clusters.settings import ClusterSettings

Stage = Callable[[str], Callable[[float], None]]
"""Begins a stage by its name; gives a function that takes its share, 0 … 1, of work done."""

Result = TypeVar("Result")

_POLL_SECONDS = 0.25


class WorkerCall(Protocol):
    """Calls a function on a worker, with a `Stage` before the arguments; all are picklable."""

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Wait for the result; raises what the function raises, and ClusterUnavailable."""


@contextlib.contextmanager
def worker_calls(cluster: ClusterSettings) -> Iterator[WorkerCall]:
    """Open a cluster for calls; with kind "threads", they are made in this process and thread.

    Raises as `open_cluster`.
    """
    if cluster.kind == "threads":
        yield _called_here
        return
    with open_cluster(cluster) as client:
        resources = {ENCODES: 1} if has_gpu_workers(client, cluster) else None

        def call(function: Callable[..., Result], *arguments: Any) -> Result:
            return _called_there(client, resources, function, *arguments)

        yield call


def _called_here(function: Callable[..., Result], *arguments: Any) -> Result:
    return function(report_tenths, *arguments)


def _called_there(
    client: Client, resources: Any, function: Callable[..., Result], *arguments: Any
) -> Result:
    topic = uuid.uuid4().hex
    heard: SimpleQueue[Any] = SimpleQueue()
    stages: dict[str, Callable[[float], None]] = {}
    client.subscribe_topic(topic, heard.put)
    try:
        # Sent once to a worker, in place of a graph that the scheduler would keep.
        (given,) = client.scatter([arguments], hash=False)
        future = client.submit(_reporting, topic, function, given, pure=False, resources=resources)
        while not future.done():
            with contextlib.suppress(Empty):
                stage, share = heard.get(timeout=_POLL_SECONDS)[1]
                if stage not in stages:
                    stages[stage] = report_tenths(stage)
                stages[stage](share)
        result: Result = future.result()
    except (KilledWorker, CancelledError) as error:
        raise ClusterUnavailable(
            f"A worker died in the middle of this work ({type(error).__name__}). Look at its "
            "memory limit, and start again."
        ) from error
    finally:
        client.unsubscribe_topic(topic)
    return result


def _reporting(topic: str, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
    def stage(name: str) -> Callable[[float], None]:
        get_worker().log_event(topic, (name, 0.0))
        return lambda share: get_worker().log_event(topic, (name, share))

    return function(stage, *arguments)
