"""Pretrainings that are killed, stopped, or run out of disk: their weights must be the same."""

from contextlib import suppress

import psutil

from tests.faults.kinds.kills import ENDING
from tests.faults.kinds.kind import Kind
from tests.faults.moments import moment_of_training
from tests.faults.places import Folder
from tests.faults.trial import Started, Trial

_MEMBER = "flows.cli.pretrain_worker"


def _training(trial: Trial) -> tuple[Started, Folder]:
    trial.use(flow="pretrain", source=str(trial.world.training_set))
    return trial.start(), Folder(f"{trial.place.out}.training")


def _kill(trial: Trial) -> None:
    started, states = _training(trial)
    number = trial.draw.choice(ENDING)
    group = trial.draw.random() < 0.5
    if trial.at(moment_of_training(trial.draw), started, states):
        trial.end(started, number, group=group)
    trial.note(f"{number.name} to the {'group' if group else 'driver'} of a pretraining")


def _kill_member(trial: Trial) -> None:
    started, states = _training(trial)
    if not trial.at(moment_of_training(trial.draw), started, states):
        return
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(started.command.pid).children(recursive=True):
            if _MEMBER in " ".join(child.cmdline()):
                child.kill()
    trial.note("SIGKILL to the process that trains")


TRAINING = (
    Kind("pretraining killed", _kill),
    Kind("process of a pretraining killed", _kill_member),
)
