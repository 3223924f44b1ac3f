"""What a member of a group does in tests: it adds numbers with the others, and may end badly."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import torch
from torch import distributed

from flows.training.process_group_member import (
    Messages,
    joined,
    place_of_environment,
    read_job_input,
)
from models.errors import UserError, WorldError


def store_addresses() -> list[str]:
    """The addresses of this machine at which the group's store listens."""
    return [
        str(connection.laddr.ip)
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.port == int(os.environ["MASTER_PORT"])
    ]


def main() -> int:
    place, messages = place_of_environment(), Messages()
    given = json.loads(read_job_input())
    first = not (mark := Path(given["folder"]) / "begun").exists()
    does = given["does"] if place.rank == given.get("rank", place.rank) else None
    with joined(place, torch.device("cpu"), timeout=given.get("timeout", 60)):
        total = torch.tensor([place.rank + 1.0])
        if place.world > 1:
            distributed.all_reduce(total)
            distributed.barrier()
        mark.touch()
        messages.send(
            rank=place.rank,
            total=total.item(),
            pid=os.getpid(),
            threads=torch.get_num_threads(),
            store=store_addresses() if place.world > 1 else [],
        )
        if does == "die" or (does == "die once" and first):
            os.kill(os.getpid(), signal.SIGKILL)
        if does == "raise":
            raise ArithmeticError("nobody expected this")
        if does == "mistake":
            messages.send_error(UserError("the given", "it is wrong", "Give another"))
            return 2
        if does == "failure":
            messages.send_error(WorldError("s3://key:secret@bucket/x does not answer."))
            return 1
        if does == "wait":
            time.sleep(600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
