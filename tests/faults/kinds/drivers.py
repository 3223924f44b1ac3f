"""Several drivers in one folder: with the same settings, with others, one that was stopped."""

import signal
import time
from dataclasses import replace

from tests.faults.kinds.kills import draw_place
from tests.faults.kinds.kind import Kind
from tests.faults.moments import moment_of_map, moment_of_plan
from tests.faults.trial import Trial


def _start_together(trial: Trial, words: list[str]) -> None:
    gap = trial.draw.choice((0.0, 0.0, 0.1, 0.5, 1.0, 2.0))
    for each in words:
        trial.start(replace(trial.job, words=each))
        time.sleep(gap)
    trial.struck = True
    where = "in a folder" if trial.on_disk else "on S3"
    trial.note(f"{len(words)} drivers {where}, {gap} s apart: {', '.join(words)}")


def _same(trial: Trial) -> None:
    draw_place(trial, remote=0.4)
    _start_together(trial, ["first"] * trial.draw.choice((2, 2, 3)))


def _different(trial: Trial) -> None:
    draw_place(trial, remote=0.4)
    words = ["first", "turned", trial.draw.choice(("first", "turned"))]
    _start_together(trial, words[: trial.draw.choice((2, 2, 3))])


def _stopped(trial: Trial) -> None:
    """A driver is stopped, another with other words runs to its end, and the first goes on."""
    draw_place(trial)
    first = trial.start()
    if not trial.at(moment_of_map(trial.draw), first):
        return
    first.command.send(signal.SIGSTOP)
    second = trial.start(replace(trial.job, words=trial.draw.choice(("turned", "turned", "first"))))
    second.command.wait(trial.seconds)
    first.command.send(signal.SIGCONT)
    trial.note(f"a driver is stopped while another ({second.job.words}) runs")


def _planned_with_other_words(trial: Trial) -> None:
    """A plan with other words is killed, and its folder used for a map."""
    draw_place(trial)
    trial.resumed_by = trial.job
    plan = trial.start(replace(trial.job, flow="plan", words="turned"))
    if trial.at(moment_of_plan(trial.draw), plan):
        trial.end(plan, signal.SIGKILL)
    trial.note("a plan with the words turned is killed, then a map with the first")


DRIVERS = (
    Kind("drivers with the same settings", _same),
    Kind("drivers with other settings", _different),
    Kind("driver stopped while another runs", _stopped),
    Kind("folder of a plan with other words", _planned_with_other_words),
)
