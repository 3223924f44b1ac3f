"""Process groups over a Dask cluster: one process on each of n workers, joined by torch.

Each member is a process of its own. A Dask task starts it and stays with it, so that all that
torch, NCCL or a GPU leave behind ends with the process, and whatever ends the worker ends it, too.
The death of one member ends all, with its reason.

The members meet as under torchrun: a worker hosts the store, as torch's agent does. The launcher is
written by hand, since `torch.distributed.elastic` does not give these guarantees over Dask. It has
one agent per machine; where the process of an agent fails with no restarts left, the agent ends its
own processes alone, and those of the others wait until a collective times out. With restarts, all
start again whether or not a state was saved between. Processes of an agent that is killed live on.
"""

import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from flows.training.process_group_worker_task import Job, Message, end_member, reachable, run_member
from models.errors import UserError, WorldError
from pipeline.clusters.kind import ClusterUnavailable
from pipeline.io.store import public_text

_WORKERS_SECONDS = 120  # a busy machine takes long to start a worker again
_POLL_SECONDS = 0.25
_REASON_SECONDS = 3.0  # in which the other members may report an error, once one has ended
_SUCCESS = {"code": 0}
_LOST = (
    "The connection to the Dask scheduler was lost. What was saved is kept; the same command goes "
    "on from there."
)

Outcomes = Mapping[int, Mapping[str, Any] | None]
"""By rank, how a member ended, as `run_member` returns it; `gone` where its worker has ended, None
while it runs."""


class MemberDied(WorldError):
    """A process of the group that ended before its time."""


def run_job(client: Client, job: Job, on_message: Callable[[Message], None]) -> None:
    """Run a job to its end. However it ends, no member lives on.

    `on_message` is called in this thread with each message that a member sends.

    Raises:
        MemberDied: A member ended before its time.
        UserError: A member reported this error; likewise a WorldError.
        ClusterUnavailable: There are too few workers, or the scheduler is lost.
    """
    _Attempt(client, job, on_message).run()


def run_surviving(
    client: Client,
    job: Job,
    on_message: Callable[[Message], None],
    *,
    restarts: int,
    advanced: Callable[[], bool],
    on_death: Callable[[MemberDied, int], None],
) -> None:
    """Run a job whose members resume from saved states, again whenever one dies.

    It may start again `restarts` times in a row without having advanced. `advanced` returns whether
    anything was saved since its last call. `on_death` is called with each death and the number of
    restarts left. Raises as `run_job`.
    """
    left = restarts
    while True:
        try:
            return run_job(client, job, on_message)
        except MemberDied as error:
            left = restarts if advanced() else left - 1
            if left < 0:
                raise
            on_death(error, left)


class _Attempt:
    """One attempt at a job."""

    def __init__(self, client: Client, job: Job, on_message: Callable[[Message], None]) -> None:
        self._client, self._job, self._on_message = client, job, on_message
        self._group = uuid.uuid4().hex
        self._messages: SimpleQueue[Any] = SimpleQueue()
        self._members = _choose_workers(client, job.processes)
        self._futures: dict[int, Future] = {}

    def run(self) -> None:
        all_done = dict.fromkeys(range(self._job.processes), _SUCCESS)
        self._client.subscribe_topic(self._group, self._messages.put)
        try:
            self._start(0)
            while (outcomes := self._outcomes()) != all_done:
                if any(outcome not in (None, _SUCCESS) for outcome in outcomes.values()):
                    raise self._error()
                self._receive(_POLL_SECONDS)
            while self._receive(0):
                pass
        finally:
            self._end()

    def _start(self, rank: int, **more: Any) -> None:
        """Start a member; `more` of its environment."""
        address = self._members[rank]
        hosts = [reachable(member) for member in self._members]
        environment = {
            "RANK": rank,
            "WORLD_SIZE": self._job.processes,
            "LOCAL_RANK": hosts[:rank].count(hosts[rank]),
            "LOCAL_WORLD_SIZE": hosts.count(hosts[rank]),
            "MASTER_ADDR": hosts[0],
            **more,
        }
        gpu = _workers(self._client)[address]["resources"].get("GPU")
        self._futures[rank] = self._client.submit(
            run_member,
            self._group,
            self._job,
            environment,
            key=f"{self._group}-{rank}",
            workers=[address],
            resources={"GPU": 1} if gpu else None,
            pure=False,
            retries=0,
        )

    def _receive(self, seconds: float) -> bool:
        """Pass one message on; returns whether one came in time."""
        try:
            _when, message = self._messages.get(timeout=seconds)
        except Empty:
            return False
        if (port := message.get("store_port")) is None:
            self._on_message(message)
        elif len(self._futures) == 1:  # not where Dask runs the task of rank 0 again
            for rank in range(1, self._job.processes):
                self._start(rank, MASTER_PORT=port)
        return True

    def _outcomes(self) -> Outcomes:
        """The outcomes of the members that were started."""
        if self._client.status != "running":
            raise ClusterUnavailable(_LOST)
        workers = _workers(self._client)
        outcomes: dict[int, Mapping[str, Any] | None] = {}
        for rank, future in self._futures.items():
            if future.status in ("cancelled", "lost"):
                raise ClusterUnavailable(_LOST)
            if future.status == "finished":
                outcomes[rank] = future.result()
            elif future.status == "error":
                error = future.exception()
                outcomes[rank] = {"code": 1, "output": f"{type(error).__name__}: {error}"}
            else:
                gone = self._members[rank] not in workers
                outcomes[rank] = {"code": 1, "gone": True} if gone else None
        return outcomes

    def _error(self) -> Exception:
        """The reason that explains most: an error that a member reports, else how one died."""
        until = time.monotonic() + _REASON_SECONDS
        while None in (outcomes := self._outcomes()).values() and time.monotonic() < until:
            self._receive(_POLL_SECONDS)
        for outcome in outcomes.values():
            if outcome and (error := outcome.get("error")):
                parts = outcome.get("parts")
                return UserError(*parts) if parts else WorldError(error)
        return MemberDied(_cause_of_death(self._members, outcomes))

    def _end(self) -> None:
        """End whichever members still run, and wait until they have ended."""
        self._client.unsubscribe_topic(self._group)
        if self._client.status != "running":
            return  # members end with their workers, which end with their scheduler
        alive = [member for member in self._members if member in _workers(self._client)]
        self._client.run(end_member, self._group, workers=alive, on_error="ignore")
        self._client.cancel([*self._futures.values()], force=True)


def _cause_of_death(members: Sequence[str], outcomes: Outcomes) -> str:
    """Which member died and how: the first cause, not that others then lost the connection."""
    dead = [(rank, outcome) for rank, outcome in outcomes.items() if outcome and outcome["code"]]
    first_causes = (one for one in dead if "gone" in one[1] or one[1]["code"] < 0)
    rank, outcome = next(first_causes, dead[0])
    if "gone" in outcome:
        how = "is gone with its worker"
    elif outcome["code"] < 0:
        how = f"was ended by {signal.Signals(-outcome['code']).name}"
    else:
        how = f"ended with exit code {outcome['code']}"
    output = public_text(outcome.get("output", "").strip())
    where = f"Process {rank} of {len(members)}, on the Dask worker {members[rank]},"
    return f"{where} {how}." + (f" Its last output: {output}" if output else "")


def _choose_workers(client: Client, processes: int) -> list[str]:
    """The addresses of the workers to use: those with GPUs first, those of a machine together.

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

    def order(entry: tuple[str, Any]) -> tuple[bool, str, str]:
        worker = entry[1]
        return not worker["resources"].get("GPU"), str(worker["host"]), str(worker["id"])

    return [address for address, _ in sorted(_workers(client).items(), key=order)][:processes]


def _workers(client: Client) -> Mapping[str, Any]:
    # Not client.scheduler_info(), whose answer the client's own update may empty meanwhile.
    if client.scheduler is None:  # the client has given it up
        raise ClusterUnavailable(_LOST)
    try:
        workers: Mapping[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    except OSError:
        raise ClusterUnavailable(_LOST) from None
    return workers
