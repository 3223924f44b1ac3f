"""A group of processes over a Dask cluster: one on each of n workers, which torch joins.

Each member is a process of its own that a Dask task starts and stays with, so what torch, NCCL or
a GPU leave behind goes with it, and whatever ends the worker ends it. The death of one ends all,
with its reason.

This is written by hand, since `torch.distributed.elastic` does not give these guarantees over Dask.
It has one agent per machine; where the process of an agent fails with no restarts left, the agent
ends its own processes alone, and those of the others wait until a collective times out. With
restarts, all start again whether or not a state was saved between. Processes of an agent that is
killed live on. Its agents would need this launcher to start them, end them and hear them.
"""

import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from flows.training.process_group_worker_task import (
    Job,
    Message,
    end_member,
    reachable,
    run_member,
)
from models.errors import UserError, WorldError
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.io.store import public_text

_WORKERS_SECONDS = 120  # a busy machine takes long to start a worker again
_POLL_SECONDS = 0.25
_LAST_WORDS_SECONDS = 3.0  # that the others have to say why, once a member has ended
_LOST = (
    "The connection to the Dask scheduler was lost. What was saved is kept; the same command goes "
    "on from there."
)


class MemberDied(WorldError):
    """A process of the group that ended before its time."""


def run_job(client: Client, job: Job, hear: Callable[[Message], None]) -> None:
    """Run a job to its end; `hear` is given what the members tell, in this thread.

    Raises MemberDied where one ends before its time, UserError or WorldError where one tells such
    an error, ClusterUnavailable where there are too few workers or the scheduler is lost. In every
    case all members are ended.
    """
    _Run(client, job, hear).to_its_end()


def run_surviving(
    client: Client,
    job: Job,
    hear: Callable[[Message], None],
    *,
    restarts: int,
    advanced: Callable[[], bool],
    died: Callable[[MemberDied, int], None],
) -> None:
    """Run a job whose members go on where the last ones were, again whenever one dies.

    `restarts` is how often in a row that may be without `advanced`, which says whether anything
    was saved since it was last asked; `died` is told each death and the restarts that are left.
    Raises as `run_job`.
    """
    left = restarts
    while True:
        try:
            return run_job(client, job, hear)
        except MemberDied as error:
            left = restarts if advanced() else left - 1
            if left < 0:
                raise
            died(error, left)


class _Run:
    """One attempt at a job."""

    def __init__(self, client: Client, job: Job, hear: Callable[[Message], None]) -> None:
        self._client, self._job, self._hear = client, job, hear
        self._group = uuid.uuid4().hex
        self._told: SimpleQueue[Any] = SimpleQueue()
        self._members = _chosen(client, job.processes)
        self._futures: dict[int, Future] = {}

    def to_its_end(self) -> None:
        self._client.subscribe_topic(self._group, self._told.put)
        try:
            self._start(0, None)
            while not self._finished():
                self._listen(_POLL_SECONDS)
                if self._failed():
                    raise self._why()
            while self._listen(0):
                pass
        finally:
            self._end()

    def _start(self, rank: int, port: int | None) -> None:
        address = self._members[rank]
        hosts = [reachable(member) for member in self._members]
        place: dict[str, Any] = {
            "RANK": rank,
            "WORLD_SIZE": self._job.processes,
            "LOCAL_RANK": hosts[:rank].count(hosts[rank]),
            "LOCAL_WORLD_SIZE": hosts.count(hosts[rank]),
            "MASTER_ADDR": hosts[0],
        }
        if port is not None:
            place["MASTER_PORT"] = port
        gpu = _workers(self._client)[address]["resources"].get("GPU")
        self._futures[rank] = self._client.submit(
            run_member, self._group, self._job, place,
            key=f"{self._group}-{rank}", workers=[address], resources={"GPU": 1} if gpu else None,
            pure=False, retries=0,
        )  # fmt: skip

    def _listen(self, seconds: float) -> bool:
        """Hear one message; gives whether there was one."""
        try:
            _when, message = self._told.get(timeout=seconds)
        except Empty:
            return False
        if (port := message.get("listening")) is None:
            self._hear(message)
        elif len(self._futures) == 1:
            for rank in range(1, self._job.processes):
                self._start(rank, port)
        return True

    def _finished(self) -> bool:
        return len(self._futures) == self._job.processes and all(
            self._outcome(rank) == {"code": 0} for rank in self._futures
        )

    def _failed(self) -> bool:
        if self._client.status != "running":
            raise ClusterUnavailable(_LOST)
        if any(self._outcome(rank) not in (None, {"code": 0}) for rank in self._futures):
            return True
        return any(self._gone(rank) for rank in self._futures if self._outcome(rank) is None)

    def _gone(self, rank: int) -> bool:
        return self._members[rank] not in _workers(self._client)

    def _outcome(self, rank: int) -> dict[str, Any] | None:
        """How a member ended; None while it has not."""
        future = self._futures[rank]
        if future.status == "finished":
            found: dict[str, Any] = future.result()
            return found
        if future.status == "error":
            error = future.exception()
            return {"code": 1, "said": f"{type(error).__name__}: {error}"}
        if future.status in ("cancelled", "lost"):
            raise ClusterUnavailable(_LOST)
        return None

    def _why(self) -> Exception:
        """The reason that explains most: an error that a member tells, else how one died."""
        until = time.monotonic() + _LAST_WORDS_SECONDS
        while time.monotonic() < until and any(
            self._outcome(rank) is None and not self._gone(rank) for rank in self._futures
        ):
            self._listen(_POLL_SECONDS)
        outcomes = {rank: self._outcome(rank) for rank in self._futures}
        for outcome in outcomes.values():
            if outcome and (error := outcome.get("error")):
                parts = outcome.get("parts")
                return UserError(*parts) if parts else WorldError(error)
        return MemberDied(_obituary(self._members, outcomes, [*filter(self._gone, outcomes)]))

    def _end(self) -> None:
        """End whichever members still run, and wait until they have ended."""
        self._client.unsubscribe_topic(self._group)
        if self._client.status != "running":
            return  # members end with their workers, which end with their scheduler
        alive = [member for member in self._members if member in _workers(self._client)]
        self._client.run(end_member, self._group, workers=alive, on_error="ignore")
        self._client.cancel([*self._futures.values()], force=True)


def _obituary(
    members: Sequence[str], outcomes: Mapping[int, dict[str, Any] | None], gone: Sequence[int]
) -> str:
    """Which member died and how: the first cause, not that others then lost the connection."""
    for rank, outcome in outcomes.items():
        if rank in gone:
            return f"{_where(rank, members)} is gone with its worker."
        if outcome and outcome["code"] < 0:
            name = signal.Signals(-outcome["code"]).name
            return f"{_where(rank, members)} was ended by {name}.{_said(outcome)}"
    rank, outcome = next((r, o) for r, o in outcomes.items() if o and o["code"])
    return f"{_where(rank, members)} ended with exit code {outcome['code']}.{_said(outcome)}"


def _where(rank: int, members: Sequence[str]) -> str:
    return f"Process {rank} of {len(members)}, on the Dask worker {members[rank]},"


def _said(outcome: Mapping[str, Any]) -> str:
    said = public_text(outcome.get("said", "").strip())
    return f" It said: {said}" if said else ""


def _chosen(client: Client, processes: int) -> list[str]:
    """The addresses of the workers to take, those of a machine together; of those with GPUs first.

    Waits for workers that are still to come, such as one that its nanny starts again.
    """
    try:
        client.wait_for_workers(processes, timeout=_WORKERS_SECONDS)
    except TimeoutError:
        raise ClusterUnavailable(
            f"{processes} processes need as many Dask workers; there were "
            f"{len(_workers(client))} after {_WORKERS_SECONDS} s. Start more, or ask for "
            "fewer processes."
        ) from None
    workers = _workers(client)
    order = sorted(
        workers,
        key=lambda address: (
            not workers[address]["resources"].get("GPU"),
            str(workers[address]["host"]),
            str(workers[address]["id"]),
        ),
    )
    return order[:processes]


def _workers(client: Client) -> Mapping[str, Any]:
    # Not client.scheduler_info(), whose answer the client's own update may empty meanwhile.
    if client.scheduler is None:  # the client has given it up
        raise ClusterUnavailable(_LOST)
    try:
        workers: Mapping[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    except OSError:
        raise ClusterUnavailable(_LOST) from None
    return workers
