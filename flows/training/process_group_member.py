"""One process of a group that trains together: its place in it, and how it joins the others.

The place comes from the environment, in which whoever started the process wrote it: a Dask worker
(`flows.training.process_group_launcher`), torchrun, or Slurm's srun.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from flows.training.process_group_worker_task import MESSAGES
from models.errors import TimesenError, UserError
from pipeline.io.store import public_text

_JOIN_SECONDS = 300.0
_WAIT_SECONDS = 1800.0  # of a process for the others, in a collective


@dataclass(frozen=True)
class GroupPlace:
    """Which of `world` processes this is (`rank`), and which of those on its machine (`local`)."""

    rank: int = 0
    world: int = 1
    local: int = 0


def place_of_environment(environment: Mapping[str, str] = os.environ) -> GroupPlace:
    """The place of this process; without a group, the only one.

    Raises:
        UserError: There is no address at which the group meets.
    """
    for rank, world, local in (
        ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    ):
        if rank in environment and world in environment:
            place = GroupPlace(
                int(environment[rank]), int(environment[world]), int(environment.get(local, "0"))
            )
            break
    else:
        return GroupPlace()
    if place.world > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        raise UserError(
            f"process {place.rank} of {place.world}",
            "MASTER_ADDR and MASTER_PORT, where the first of them listens, are not set",
            "Set them, as infra/slurm/pretrain.sbatch does, or start by torchrun",
        )
    return place


@contextlib.contextmanager
def joined(
    place: GroupPlace, device: torch.device, timeout: float = _WAIT_SECONDS
) -> Iterator[None]:
    """Be a member of torch.distributed's group, over NCCL between GPUs and gloo between CPUs.

    A single process joins nothing. A collective raises after `timeout` seconds without the others.

    Raises:
        UserError: Not all have the same kind of device.
    """
    if place.world == 1:
        yield
        return
    wait = timedelta(seconds=_JOIN_SECONDS)
    store, _, _ = next(distributed.rendezvous("env://", place.rank, place.world, timeout=wait))
    _require_one_kind(store, place, device)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world,
        timeout=timedelta(seconds=timeout),
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield
        distributed.barrier()  # none leaves while another still needs it
    finally:
        distributed.destroy_process_group()


def device_of(place: GroupPlace, wanted: str) -> torch.device:
    """The device of this process: "cpu", "cuda", or a GPU where there is one ("auto").

    Of several GPUs that a process sees, it takes the one of its number on the machine. Under Dask
    it is the first: dask-cuda shows each worker its own as the first.

    Raises:
        UserError: "cuda" where there is no GPU.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            f"process {place.rank} of {place.world}",
            "it sees no GPU",
            "Start it where there is one, or say --device cpu",
        )
    own = 0 if MESSAGES in os.environ else place.local % torch.cuda.device_count()
    return torch.device("cuda", own)


class Messages:
    """Messages from this process to whoever started it: under Dask by a pipe, else to nobody."""

    def __init__(self) -> None:
        pipe = os.environ.get(MESSAGES)
        self._file = None if pipe is None else os.fdopen(int(pipe), "w", encoding="utf-8")

    @property
    def is_connected(self) -> bool:
        """Whether somebody receives them."""
        return self._file is not None

    def send(self, **message: Any) -> None:
        """Send a message of JSON values."""
        if self._file is not None:
            self._file.write(json.dumps(message) + "\n")
            self._file.flush()

    def send_error(self, error: TimesenError) -> None:
        """Send the reason why this process gives up."""
        parts = (error.given, error.problem, error.remedy) if isinstance(error, UserError) else None
        self.send(error=public_text(str(error)), parts=parts and [*map(public_text, parts)])


def read_job_input() -> str:
    """Read the line that a Dask worker hands to this process, which from then on ends with it.

    Ctrl-C in a worker's terminal is the worker's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline().decode()

    def end_with_worker() -> None:
        os.read(sys.stdin.fileno(), 1)  # not through `sys.stdin`, whose lock would outlive us
        os._exit(1)

    threading.Thread(target=end_with_worker, daemon=True).start()
    return line


def _require_one_kind(store: distributed.Store, place: GroupPlace, device: torch.device) -> None:
    store.set(f"device/{place.rank}", device.type)
    kinds = [store.get(f"device/{rank}").decode() for rank in range(place.world)]
    if len(set(kinds)) > 1:
        raise UserError(
            f"{place.world} processes",
            f"{kinds.count('cuda')} of them have a GPU, {kinds.count('cpu')} have none",
            "Use workers of one kind, or say --device cpu",
        )
