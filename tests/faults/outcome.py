"""The outcome of a fault: judged from exit codes, words, files and processes."""

import json
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from tests.faults.commands import Hung
from tests.faults.jobs import Job
from tests.faults.kinds import KINDS, Kind
from tests.faults.leftovers import files_left, processes_left
from tests.faults.product import (
    committed_cells,
    fingerprint_of,
    product_differences,
    read_product,
)
from tests.faults.trial import Skipped, Started, Trial
from tests.faults.world import World

_TRACEBACK = "Traceback (most recent call last)"
_REASONS = ("Error:", "cells failed", "Stopped.")


class Verdict(StrEnum):
    """The worst that a fault did; the first is the best."""

    UNHARMED = "unharmed"
    RESUMED = "ended with a reason, resumed"
    LEFT_BEHIND = "left something behind"
    UNCLEAR = "gave no reason, or a traceback"
    HUNG = "hung"
    LOST = "lost"
    WRONG = "wrong"
    SKIPPED = "not tried"


FINE = (Verdict.UNHARMED, Verdict.RESUMED, Verdict.SKIPPED)


@dataclass
class Outcome:
    """What a fault did.

    Attributes:
        seed: It makes the same fault again.
        kind: The fault's kind.
        notes: What was done.
        struck: Whether it met a command that ran.
        verdict: The worst that it did.
        findings: What is wrong, in words.
        seconds: How long it took.
    """

    seed: int
    kind: str
    notes: list[str] = field(default_factory=list)
    struck: bool = False
    verdict: Verdict = Verdict.UNHARMED
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def found(self, verdict: Verdict, what: Iterable[str]) -> None:
        """Add findings, and take their verdict where it is worse."""
        listed = list(what)
        if listed:
            self.findings += [f"{verdict}: {each}" for each in listed]
            self.verdict = max(self.verdict, verdict, key=list(Verdict).index)

    def __str__(self) -> str:
        done = "; ".join(self.notes if self.struck else [*self.notes, "met no running command"])
        lines = [f"seed {self.seed}: {self.kind} ({done}): {self.verdict}"]
        return "\n    ".join([*lines, *self.findings])


def kind_of(seed: int) -> Kind:
    """The kind of fault of a seed: they take turns."""
    return KINDS[seed % len(KINDS)]


def try_fault(world: World, seed: int) -> Outcome:
    """Make the fault of a seed, resume where the run ended, and judge."""
    kind, began = kind_of(seed), time.monotonic()
    outcome = Outcome(seed, kind.name)
    with world.room() as room:
        trial = Trial(world, room, random.Random(seed), Job("map", str(world.archive)))
        outcome.notes = trial.notes
        try:
            _strike_and_judge(kind, trial, outcome)
        except Skipped as reason:
            outcome.verdict, outcome.findings = Verdict.SKIPPED, [str(reason)]
        except Hung as hung:
            outcome.found(Verdict.HUNG, [str(hung), *_words(trial.started)])
        finally:
            trial.close()
        outcome.struck = trial.struck
    outcome.seconds = time.monotonic() - began
    return outcome


def _strike_and_judge(kind: Kind, trial: Trial, outcome: Outcome) -> None:
    kind.strike(trial)
    trial.wait()
    outcome.found(Verdict.LEFT_BEHIND, processes_left(trial.room, trial.pids))
    trial.end_helpers()
    trial.mend()
    outcome.found(Verdict.UNCLEAR, _without_reason(trial.started))
    job = _owner(trial)
    done = [each for each in trial.started if each.command.code == 0 and each.job.flow != "plan"]
    strangers = [each for each in done if each.job.undisturbed != job.undisturbed]
    outcome.found(Verdict.WRONG, (f"success in another run's folder: {each}" for each in strangers))
    if done or _resume(trial, job, outcome):
        _compare(trial, job, outcome)
    outcome.found(Verdict.LEFT_BEHIND, files_left(trial.room, trial.place, trial.world.cache))


def _resume(trial: Trial, job: Job, outcome: Outcome) -> bool:
    """Start the same command once more, undisturbed; whether it succeeded."""
    if any(each.command.code for each in trial.started):
        outcome.verdict = max(outcome.verdict, Verdict.RESUMED, key=list(Verdict).index)
    before = _own_cells(trial, job)
    again = trial.start(job)
    if code := again.command.wait(trial.seconds):
        outcome.found(Verdict.LOST, [f"the resume ended with {code}", *_words([again])])
        return False
    outcome.found(Verdict.UNCLEAR, _tracebacks([again]))
    outcome.found(Verdict.LEFT_BEHIND, processes_left(trial.room, trial.pids))
    after = committed_cells(trial.place)
    again_mapped = (name for name, item in before.items() if after.get(name) != item)
    outcome.found(Verdict.LOST, (f"{name} was finished, and mapped again" for name in again_mapped))
    return True


def _own_cells(trial: Trial, job: Job) -> dict[str, bytes]:
    """The finished cells that a resume must leave as they are."""
    run = json.loads(trial.world.undisturbed(job, trial.room).get("run.json", b"{}"))
    if not trial.keeps_cells or not run:
        return {}
    own = f'"{run["fingerprint"]}"'.encode()
    return {name: item for name, item in committed_cells(trial.place).items() if own in item}


def _compare(trial: Trial, job: Job, outcome: Outcome) -> None:
    wanted = trial.world.undisturbed(job, trial.room)
    missing, differing, strange = product_differences(read_product(trial.place), wanted)
    outcome.found(Verdict.LOST, (f"{name} is missing" for name in missing))
    outcome.found(Verdict.WRONG, (f"{each} differs" for each in differing))
    outcome.found(Verdict.LEFT_BEHIND, (f"{name} is no part of the product" for name in strange))


def _owner(trial: Trial) -> Job:
    """The job that is to be resumed: that whose run the place holds, else the first."""
    if trial.resumed_by is not None:
        return trial.resumed_by
    jobs = list(dict.fromkeys(each.job for each in trial.started))
    if len(jobs) > 1 and (held := fingerprint_of(trial.place)):
        for job in jobs:
            if held.encode() in trial.world.undisturbed(job, trial.room)["run.json"]:
                return job
    return jobs[0]


def _without_reason(ended: Iterable[Started]) -> list[str]:
    """What commands failed to say: why they ended, or anything without a traceback."""
    silent = [
        f"exit code {each.command.code} without a reason: {each.command.said[-400:].strip()!r}"
        for each in ended
        # Of what the harness or the kernel ends at once, no word is asked.
        if each.command.code not in (0, *(-number for number in each.signals))
        and not any(reason in each.command.said for reason in _REASONS)
    ]
    return [*silent, *_tracebacks(ended)]


def _tracebacks(ended: Iterable[Started]) -> list[str]:
    return [
        f"a traceback: …{each.command.said[-1500:].strip()}"
        for each in ended
        if _TRACEBACK in each.command.said
    ]


def _words(started: Iterable[Started]) -> list[str]:
    return [f"it said: …{each.command.said[-1500:].strip()}" for each in started]
