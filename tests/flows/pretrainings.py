"""Small pretrainings for tests, and what one asks of them."""

from collections.abc import Sequence
from pathlib import Path

import psutil

from flows.cli.app import run_app
from flows.cli.pretrain_worker import pretrain_process_app
from models.encoder.checkpoint_folder import CHECKPOINT_WEIGHTS

SIZES = ("--dim", "16", "--depth", "1", "--heads", "2", "--feedforward", "16")
QUICK = (
    *("--batch", "32", "--memory-bank", "64", "--steps", "30", "--rate", "0.003"),
    *("--save-every", "5", "--validate-every", "15", "--threads", "1"),
)
MEMBER = "flows.cli.pretrain_worker"


def pretraining(dataset: Path | str, out: Path, *more: str) -> list[str]:
    """The arguments of a pretraining of some seconds."""
    return ["pretrain", str(dataset), "--out", str(out), *SIZES, *QUICK, *more]


def alone(arguments: Sequence[str]) -> int:
    """The exit code of `timesen pretrain-process`, the only one of its group, here."""
    return run_app(pretrain_process_app, arguments[1:])


def weights(checkpoint: Path) -> bytes:
    """A checkpoint's weights, bit for bit."""
    return (checkpoint / CHECKPOINT_WEIGHTS).read_bytes()


def members() -> list[psutil.Process]:
    """The processes that train below this one."""
    return [child for child in psutil.Process().children(recursive=True) if _is_member(child)]


def _is_member(process: psutil.Process) -> bool:
    try:
        return MEMBER in process.cmdline()
    except psutil.Error:
        return False
