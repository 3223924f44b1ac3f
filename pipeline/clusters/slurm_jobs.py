"""The jobs of a Slurm cluster: dask-jobqueue's, in groups that follow the work within bounds.

dask-jobqueue's own cluster has jobs of one kind. Here each group has an `Adaptive` of Dask's, which
also submits a job again where one has ended.
"""

import contextlib
import getpass
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask
from dask_jobqueue.slurm import SLURMJob
from distributed import Adaptive, Client, Scheduler, SpecCluster
from distributed.core import Status
from distributed.security import Security
from tornado.ioloop import PeriodicCallback

from pipeline.clusters.groups import WorkerGroup
from pipeline.clusters.kind import ClusterError, ClusterUnavailable

_POLL = 10  # seconds between two looks at squeue
_INTERVAL, _IDLE_LOOKS = 5, 12  # seconds between two decisions; a worker idle for a minute goes
_MOST_IN_VAIN = 20  # jobs in a row that end without a worker
_LOOKS = 6  # at a job that has no number, before it counts as not submitted
_log = logging.getLogger("distributed.timesen")  # whose messages are in the file of Dask's


class _Job(SLURMJob):
    """A job. `has_come` is whether it has had a worker; `looks`, how often it had no number yet."""

    has_come = False
    looks = 0

    async def close(self) -> None:
        await super().close()
        self.status = Status.closed  # which dask-jobqueue forgets, and Dask asserts


@dataclass(frozen=True)
class GroupJobs:
    """The jobs of a group: how many workers each has, and what dask-jobqueue is told of one."""

    group: WorkerGroup
    workers_per_job: int
    options: Mapping[str, Any]

    @property
    def spec(self) -> dict[str, Any]:
        """What `SpecCluster` asks for of a job."""
        processes = {"processes": self.workers_per_job}
        spec: dict[str, Any] = {"cls": _Job, "options": {**self.options, **processes}}
        if self.workers_per_job > 1:
            spec["group"] = [f"-{number}" for number in range(self.workers_per_job)]
        return spec

    @property
    def least(self) -> int:
        """The number of jobs that there are at all times."""
        return math.ceil(self.group.least / self.workers_per_job)

    @property
    def most(self) -> int:
        """The number of jobs that there may be."""
        return math.ceil(self.group.most / self.workers_per_job)


class JobGroups(SpecCluster):
    """A scheduler of this process, and groups of jobs.

    Attributes:
        least_jobs: number of jobs that are submitted at first.
        ended_in_vain: number of jobs that ended without a worker, since one had one.
    """

    def __init__(self, groups: dict[str, dict[str, Any]], **options: Any) -> None:
        self._groups = groups
        self._numbers = dict.fromkeys(groups, 0)
        self.least_jobs = 0
        self.ended_in_vain = 0
        self.scheduler: Any
        super().__init__(**options)

    def scale_group(self, name: str, jobs: int) -> None:
        """Plan so many jobs of a group, none fewer; none at all once too many were in vain."""
        if self._has_given_up():
            return
        for _ in range(jobs - len(self.of_group(name, self.worker_spec))):
            self.worker_spec[f"{name}-{self._numbers[name]}"] = self._groups[name]
            self._numbers[name] += 1

    def of_group(self, name: str, names: Any) -> set[Any]:
        """Those names, of jobs or workers, that are of a group."""
        return {one for one in names if str(one).startswith(f"{name}-")}

    async def forget_ended(self) -> None:
        """Forget jobs that Slurm no longer has, so that others take their place.

        Where too many have ended without a worker, and a group has none, the scheduler ends.
        """
        known = {name: job.job_id for name, job in self.workers.items()}
        try:
            said = await SLURMJob._call(["squeue", "-h", "-o", "%A", "-u", getpass.getuser()])
        except RuntimeError:  # Slurm's controller does not answer; it may later
            return
        alive = set(said.split())
        arrived = {str(worker["name"]) for worker in self.scheduler_info["workers"].values()}
        for name, number in known.items():
            job = self.workers.get(name)
            if job is None:
                continue
            if _workers_of(name, arrived):
                if not job.has_come:
                    job.has_come, self.ended_in_vain = True, 0
            elif number is None and job.looks < _LOOKS:  # sbatch may be under way
                job.looks += 1
            elif number not in alive:
                self.ended_in_vain += not job.has_come
                del self.workers[name]
        if self._has_given_up() and not all(self.of_group(name, arrived) for name in self._groups):
            _log.error("jobs end before a worker comes, again and again: the run is given up")
            await self.scheduler.close()

    def _has_given_up(self) -> bool:
        return self.ended_in_vain > _MOST_IN_VAIN + self.least_jobs


class _GroupAdaptive(Adaptive):
    """The number of jobs of one group: as many as have work at once, within bounds."""

    cluster: JobGroups

    def __init__(self, cluster: JobGroups, jobs: GroupJobs) -> None:
        self._group, self._per_job = jobs.group, jobs.workers_per_job
        super().__init__(
            cluster,
            interval=_INTERVAL,
            wait_count=_IDLE_LOOKS,
            minimum=jobs.least,
            maximum=jobs.most,
        )

    @property
    def plan(self) -> set[Any]:
        return self.cluster.of_group(self._group.name, self.cluster.worker_spec)

    @property
    def requested(self) -> set[Any]:
        return self.cluster.of_group(self._group.name, self.cluster.workers)

    @property
    def observed(self) -> set[Any]:
        workers = self.cluster.scheduler_info["workers"].values()
        names = {str(worker["name"]) for worker in workers}
        return {job for job in self.requested if _workers_of(job, names)}

    async def target(self) -> int:
        waiting = _waiting(self.cluster.scheduler, self._group)
        if waiting:
            at_once = self._group.at_once * self._per_job
            return len(self.observed) + math.ceil(waiting / at_once)
        return len(self.observed) - len(self._idle())

    async def workers_to_close(self, target: int) -> list[str]:
        return self._idle()[: max(0, len(self.plan) - target)]

    def _idle(self) -> list[str]:
        """The jobs whose workers all have nothing to do."""
        by_name = {str(ws.name): ws for ws in self.cluster.scheduler.workers.values()}
        return [
            job
            for job in sorted(self.observed)
            if not any(by_name[name].processing for name in _workers_of(job, by_name))
        ]

    async def scale_up(self, n: Any) -> None:
        self.cluster.scale_group(self._group.name, n)
        await self.cluster

    async def scale_down(self, workers: Any) -> None:
        there = [str(worker["name"]) for worker in self.cluster.scheduler_info["workers"].values()]
        names = [name for job in workers for name in _workers_of(job, there)]
        # What they hold is moved to others first.
        await self.scheduler.retire_workers(names=names, remove=True, close_workers=True)
        await self.cluster.scale_down(workers)


def _workers_of(job: str, names: Any) -> list[str]:
    return [name for name in names if name == job or name.startswith(f"{job}-")]


def _waiting(scheduler: Scheduler, group: WorkerGroup) -> int:
    """The tasks that this group could begin now, had it more workers."""
    wants = set(group.resources)
    behind = sum(
        max(0, len(ws.processing) - group.at_once)
        for ws in scheduler.workers.values()
        if set(ws.resources) == wants
    )
    waiting = [*scheduler.queued, *scheduler.unrunnable]
    return behind + sum(set(task.resource_restrictions or ()) == wants for task in waiting)


@contextlib.contextmanager
def open_jobs(
    groups: Sequence[GroupJobs], security: Security, dashboard: bool
) -> Iterator[tuple[JobGroups, Client]]:
    """Submit the least number of jobs of each group, and follow the work.

    Raises ClusterError where Slurm refuses a job.
    """
    specs = {jobs.group.name: jobs.spec for jobs in groups}
    scheduler = {"cls": Scheduler, "options": _scheduler_options(security, dashboard)}
    try:
        cluster = JobGroups(specs, scheduler=scheduler, security=security, silence_logs=40)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ClusterUnavailable(
            f"Dask's scheduler does not start ({' '.join(str(error).split())}). Look at "
            "~/.config/dask/jobqueue.yaml, where there is one."
        ) from error
    with cluster:
        for jobs in groups:
            cluster.scale_group(jobs.group.name, jobs.least)
        cluster.least_jobs = len(cluster.worker_spec)
        try:
            cluster.sync(cluster._correct_state)
        except RuntimeError as error:
            raise ClusterError(
                "a job for Slurm", _refusal(str(error)), "Change the settings of [cluster]"
            ) from None
        with Client(cluster, set_as_default=False) as client:
            following = cluster.sync(_follow, cluster, groups)
            try:
                yield cluster, client
            finally:
                cluster.sync(_stop, following)


async def _stop(following: list[Any]) -> None:
    for one in following:
        one.stop()


async def _follow(cluster: JobGroups, groups: Sequence[GroupJobs]) -> list[Any]:
    look = PeriodicCallback(cluster.forget_ended, 1000 * _POLL)
    look.start()
    return [look, *(_GroupAdaptive(cluster, jobs) for jobs in groups)]


def _scheduler_options(security: Security, dashboard: bool) -> dict[str, Any]:
    interface = dask.config.get("jobqueue.slurm.interface", None)
    configured = dask.config.get("jobqueue.slurm.scheduler-options", {})
    return {
        "interface": None if "host" in configured else interface,
        "dashboard": dashboard,
        "dashboard_address": "127.0.0.1:0",
        **configured,
        "protocol": "tls://",
        "security": security,
    }


def _refusal(said: str) -> str:
    """What sbatch says, of the words that dask-jobqueue puts around it."""
    lines = said.partition("stderr:\n")[2] or said
    return " ".join(lines.replace("sbatch: error: ", "").split())
