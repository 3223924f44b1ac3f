"""The cluster of kind "slurm": jobs of CPU readers and of GPU encoders, through dask-jobqueue.

The scheduler runs in this process, on the machine that submits. Its connections are encrypted: by
the certificates of the settings, else by a key of its own that only this user can read.
"""

import contextlib
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from models.errors import first_few
from models.files.durable_files import write_durably
from models.files.process_mark import process_mark, remove_abandoned
from models.option import Option
from pipeline.clusters.groups import (
    GroupFields,
    WorkerGroup,
    groups_of,
    require_package,
    wait_for_groups,
    workers_of_groups,
)
from pipeline.clusters.kind import ClusterError, ClusterUnavailable, Workers
from pipeline.clusters.tls import security_of, security_of_files

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

_FOLDER = ".timesen-slurm-"
_LAST_LINES = 12
_DEATH_TIMEOUT = 120  # seconds after which a worker without a scheduler ends


class SlurmFields(GroupFields):
    """The settings that only Slurm has; other defaults are those of dask-jobqueue's own file."""

    queue: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="partition of the readers' jobs (slurm)"
    )
    encoder_queue: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="partition of the encoders' jobs (slurm); default: queue"
    )
    most_encoders: Annotated[int | None, Option(hidden=True)] = Field(
        None,
        ge=1,
        description="the number of encoders follows the work, from encoders up to this (slurm); "
        "default: it stays",
    )
    account: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="the account that jobs are charged to (slurm)"
    )
    walltime: Annotated[str | None, Option(hidden=True)] = Field(
        None, description="time limit of a job, 12:00:00; others take its place then (slurm)"
    )
    workers_per_job: Annotated[int, Option(hidden=True)] = Field(
        1, ge=1, description="readers that share a job (slurm)"
    )
    directives: Annotated[tuple[str, ...], Option(hidden=True)] = Field(
        (), description='more of sbatch for the readers\' jobs, "--constraint=ssd" (slurm)'
    )
    encoder_directives: Annotated[tuple[str, ...], Option(hidden=True)] = Field(
        ("--gpus=1",), description="more of sbatch for the encoders' jobs (slurm)"
    )

    @field_validator("queue", "encoder_queue", "account", "walltime")
    @classmethod
    def _names_of_slurm(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w.,:+-]+", value):
            raise ValueError(f"{value!r} is no name of Slurm's")
        return value

    @field_validator("directives", "encoder_directives")
    @classmethod
    def _options_of_sbatch(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not re.fullmatch(r"--?\w[^\n\r]*", value):
                raise ValueError(f"{value!r} is no option of sbatch; write --name=value")
        return values

    @model_validator(mode="after")
    def _encoders_in_order(self) -> Self:
        if self.most_encoders is not None and not 1 <= (self.encoders or 0) <= self.most_encoders:
            raise ValueError(
                f"most_encoders is {self.most_encoders}, and there are {self.encoders or 0} "
                "encoders at least; give from 1 to as many"
            )
        return self


class SlurmCluster:
    """Jobs of Slurm. One that ends, by its time limit or with its node, is replaced."""

    remote = True

    def workers(self, settings: SlurmFields, cores: int, memory: int) -> Workers:
        """The readers, as many as there may be, and the encoders."""
        return workers_of_groups(_groups(settings))

    def require(self) -> None:
        """Raise ClusterError where dask-jobqueue or Slurm's commands are missing."""
        require_package("slurm", "dask_jobqueue", "slurm")
        if missing := [name for name in ("sbatch", "scancel", "squeue") if not shutil.which(name)]:
            raise ClusterError(
                "a cluster of kind slurm",
                f"this machine has no {', '.join(missing)}",
                "Start on a machine from which jobs are submitted",
            )

    @contextlib.contextmanager
    def open(self, settings: SlurmFields) -> "Iterator[Client]":
        """Submit the jobs; they are cancelled at the end. Their output is kept if it fails."""
        self.require()
        from pipeline.clusters.slurm_jobs import GroupJobs, open_jobs

        groups = _groups(settings)
        with _shared_folder() as folder:
            security = security_of(settings) or _own_security(folder)
            try:
                jobs = [
                    GroupJobs(
                        group,
                        _per_job(settings, group),
                        job_options(settings, group, security, folder),
                    )
                    for group in groups
                ]
                with open_jobs(jobs, security, settings.dashboard) as (cluster, client):

                    def check() -> None:
                        if cluster.ended_in_vain >= cluster.least_jobs:
                            raise ClusterUnavailable(
                                "The jobs ended before a worker came. The end of their output: "
                                + _last_output(folder)
                            )

                    where = f"Look at squeue, and at the jobs' output in {folder}"
                    wait_for_groups(client, groups, settings.wait_minutes, where, check)
                    yield client
            except (subprocess.SubprocessError, OSError) as error:
                raise ClusterUnavailable(f"Slurm does not answer: {error}") from error


def _groups(settings: SlurmFields) -> tuple[WorkerGroup, ...]:
    """The groups of jobs, each within its bounds."""
    readers, *encoders = groups_of(settings)
    most = settings.most_encoders
    return (readers, *(replace(one, most=most or one.most) for one in encoders))


def job_options(
    settings: SlurmFields, group: WorkerGroup, security: "Security", folder: Path
) -> dict[str, Any]:
    """What dask-jobqueue is told of a job of a group; what it says of Dask's own settings holds."""
    import dask

    encodes, processes = group.name == "encoders", _per_job(settings, group)
    tls = security.get_tls_config_for_role("worker")
    names = {"ca_file": "--tls-ca-file", "cert": "--tls-cert", "key": "--tls-key"}
    options = [word for part, option in names.items() for word in (option, tls[part])]
    options += ["--no-dashboard", *(["--resources", group.offered] if group.offered else [])]
    more = settings.encoder_directives if encodes else settings.directives
    configured = dask.config.get("jobqueue.slurm.worker-extra-args", [])
    return {
        "cores": group.threads * processes,
        "memory": f"{group.memory * processes} B",
        "queue": (settings.encoder_queue if encodes else None) or settings.queue,
        "account": settings.account,
        "walltime": settings.walltime,
        "job_name": f"timesen-{group.name}",
        "death_timeout": _DEATH_TIMEOUT,
        "protocol": "tls://",
        "interface": dask.config.get("jobqueue.slurm.interface", None),
        # dask-jobqueue puts these into a line of the shell as they are.
        "worker_extra_args": [*configured, *map(shlex.quote, options)],
        "job_extra_directives": [
            *dask.config.get("jobqueue.slurm.job-extra-directives", []),
            # Below the folder of the submission, whose own name may hold spaces.
            f"--output={folder.name}/{group.name}-%j.out",
            *more,
        ],
    }


def _per_job(settings: SlurmFields, group: WorkerGroup) -> int:
    return 1 if group.name == "encoders" else settings.workers_per_job


@contextlib.contextmanager
def _shared_folder() -> Iterator[Path]:
    """A folder for the jobs' keys and output, where all nodes see it: that of the submission.

    It is removed at the end; where the block fails, the keys alone are removed.
    """
    here = Path.cwd()
    remove_abandoned(here, re.compile(re.escape(_FOLDER)))
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{process_mark()}-", dir=here))
    try:
        yield folder
    except BaseException:
        for key in folder.glob("*.pem"):
            key.unlink()
        if not any(path.stat().st_size for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _own_security(folder: Path) -> "Security":
    """A key and a certificate that is its own authority; the folder is this user's alone."""
    from distributed.security import Security

    made = Security.temporary().get_tls_config_for_role("scheduler")
    names = {part: folder / f"{part}.pem" for part in ("ca_file", "cert", "key")}
    for part, path in names.items():
        write_durably(path, made[part].encode())
    return security_of_files(*(str(path) for path in names.values()))


def _last_output(folder: Path) -> str:
    texts = (path.read_text(errors="replace") for path in sorted(folder.glob("*.out")))
    return first_few((" / ".join(text.split("\n")[-_LAST_LINES:]) for text in texts), " | ", 1)
