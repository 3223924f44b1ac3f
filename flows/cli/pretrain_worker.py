"""One process of a pretraining: it reads its part of the batches, trains, measures and saves.

`timesen pretrain` starts it on Dask's workers. Under torchrun or Slurm it is a command of its own,
with the same settings:
`torchrun --nproc-per-node 4 --no-python timesen pretrain-process SET --out CHECKPOINT …`.
"""

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from torch import distributed

from flows.cli.settings_command import settings_command
from flows.settings.pretrain import PretrainSettings
from flows.training.batches import training_batches, validation_batches
from flows.training.process_group_member import (
    GroupPlace,
    Messages,
    device_of,
    joined,
    place_of_environment,
    read_job_input,
)
from flows.training.trackers import Trackers, open_trackers
from flows.training.training_plan import Work, finish, model_of, work_of
from models.errors import PretrainingError, TimesenError
from models.files.process_mark import temporary_prefix
from models.pretraining.trainer import Pretraining, StepReport
from pipeline.training.journal import Journal

_ENTRY_STEPS = 10  # steps whose means are one entry of the journal


def train(work: Work, place: GroupPlace, messages: Messages) -> None:
    """Train to the end, from the last state on; process 0 saves states on the way.

    Raises UserError where settings and devices do not go together, or a loss is not finite (the
    batch is saved then); WorldError where files cannot be read or written.
    """
    if threads := work.settings.cluster.threads:
        torch.set_num_threads(threads)
    device = device_of(place, work.settings.device)
    with joined(place, device), _remains(work) as remains:
        _Process(work, place, device, messages, remains).to_the_end()


class _Process:
    def __init__(
        self, work: Work, place: GroupPlace, device: torch.device, messages: Messages, remains: Path
    ) -> None:
        self._work, self._place, self._messages = work, place, messages
        self._settings, self._recipe = work.settings, work.settings.recipe
        self._is_first = place.rank == 0
        self._training = Pretraining(
            self._recipe,
            work.preprocessing,
            work.architecture,
            device,
            rank=place.rank,
            world=place.world,
            start=None if work.start is None else work.start.encoder,
            failed_batches=remains,
        )
        last = work.run.last()
        journal = Journal()
        if last is not None:
            state, journal = last
            self._training.load_state(state)
        self._require_all_at(self._training.steps_done)
        self._journal = journal.with_session(
            {
                "from_step": self._training.steps_done,
                "processes": place.world,
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
                "threads": torch.get_num_threads(),
                "torch": version("torch"),
            }
        )

    def to_the_end(self) -> None:
        data, begun = self._work.data, self._training.steps_done
        share = (self._place.rank, self._place.world)
        with (
            contextlib.closing(training_batches(data, self._recipe, begun, *share)) as batches,
            contextlib.closing(
                open_trackers(self._work, begun) if self._is_first else Trackers()
            ) as trackers,
        ):
            reports: list[StepReport] = []
            since = time.perf_counter()
            while not self._is_over():
                reports.append(self._training.step(next(batches)))
                due = self._is_due()
                if due or self._training.steps_done % _ENTRY_STEPS == 0:
                    self._enter(reports, time.perf_counter() - since, trackers)
                    if due:
                        self._measure(trackers)
                        self._save(trackers)
                    reports, since = [], time.perf_counter()

    def _is_over(self) -> bool:
        done, patience = self._training.steps_done, self._settings.patience
        return done == self._recipe.steps or (
            patience is not None and self._journal.worse >= patience
        )

    def _is_due(self) -> bool:
        """Whether this step is followed by a validation or a saved state."""
        done, settings = self._training.steps_done, self._settings
        every = (settings.save_every, settings.validate_every)
        return done == self._recipe.steps or any(done % steps == 0 for steps in every)

    def _enter(self, reports: list[StepReport], seconds: float, trackers: Trackers) -> None:
        """Put the means of the last steps into the journal, and send them to the trackers."""
        done = self._training.steps_done
        entry = {
            "step": done,
            "loss": sum(report.loss for report in reports) / len(reports),
            "gradient_norm": sum(report.gradient_norm for report in reports) / len(reports),
            "rate": reports[-1].rate,
            "temperature": reports[-1].temperature,
            "seconds": round(seconds, 4),
            "points_per_second": round(len(reports) * self._recipe.batch / seconds, 1),
        }
        self._journal = self._journal.with_steps(entry)
        if self._is_first:
            trackers.log(done, {f"train/{k}": v for k, v in entry.items() if k != "step"})
            self._messages.send(trained=entry)
            if not self._messages.is_connected:
                print(
                    f"step {done} of {self._recipe.steps}, loss {entry['loss']:.4f}, "
                    f"{entry['points_per_second']:.0f} points per second",
                    flush=True,
                )

    def _measure(self, trackers: Trackers) -> None:
        """Validate, if that is due: all processes together."""
        done = self._training.steps_done
        is_last = done == self._recipe.steps
        if not self._work.validates or (done % self._settings.validate_every and not is_last):
            return
        share = (self._place.rank, self._place.world)
        found = {}
        for months in sorted(set(self._recipe.months), reverse=True):
            points = validation_batches(self._work.data, self._recipe, *share)
            whole, parts = self._training.validate_parts(points, months)
            found[f"T={months}"] = whole
            if len(self._work.data.sets) > 1:
                found |= {f"T={months}, {name}": part for name, part in parts.items()}
        self._journal = self._journal.with_validation(done, found)
        if self._is_first:
            for steps, values in found.items():
                trackers.log(done, {f"validation/{n} {steps}": v for n, v in values.items()})
            if self._journal.best == done and self._settings.patience is not None:
                model = model_of(self._training.state().tensors, self._recipe)
                self._work.run.save_best(done, model)

    def _save(self, trackers: Trackers) -> None:
        """Save the state, if that is due."""
        done = self._training.steps_done
        if self._is_first and (self._is_over() or done % self._settings.save_every == 0):
            self._work.run.save(self._training.state(), self._journal, self._settings.keep)
            trackers.flush()
            self._messages.send(saved=done)

    def _require_all_at(self, step: int) -> None:
        """Fail where the processes read different states, as when one is saved meanwhile."""
        if self._place.world > 1:
            found: list[int | None] = [None] * self._place.world
            distributed.all_gather_object(found, step)
            if len(set(found)) > 1:
                raise RuntimeError(f"the processes start at different steps: {found}")


@contextlib.contextmanager
def _remains(work: Work) -> Iterator[Path]:
    """Give a folder for the batch of a failed step, which is kept in the training's folder."""
    store = work.run.store
    if not store.is_remote:
        yield Path(store.path())
        return
    with tempfile.TemporaryDirectory(prefix=temporary_prefix("pretrain")) as folder:
        try:
            yield Path(folder)
        except PretrainingError as error:
            for file in Path(folder).iterdir():
                store.write(file.name, file.read_bytes())
            problem = error.problem.replace(folder, store.path())
            raise PretrainingError(error.given, problem, error.remedy) from None


@settings_command(
    "pretrain-process",
    PretrainSettings,
    file="--recipe",
    examples=(
        "torchrun --nproc-per-node 4 --no-python timesen pretrain-process sets/a --out mine",
        "sbatch --ntasks 8 --gpus-per-task 1 infra/slurm/pretrain.sbatch sets/a --out mine",
    ),
)
def pretrain_process_app(settings: PretrainSettings) -> int:
    """Train as one of the processes that torchrun or Slurm started; settings as of pretrain."""
    # A process that waits for others in a collective would not see the interruption.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    place = place_of_environment()
    settings = PretrainSettings.model_validate(settings.model_dump() | {"processes": place.world})
    work = work_of(settings)
    if place.rank == 0:
        work.run.open(work.facts)
    train(work, place, Messages())
    if place.rank == 0:
        made = finish(work)
        print(f"Checkpoint   {made.folder}: fingerprint {made.fingerprint}", flush=True)
    return 0


def on_worker(messages: Messages) -> int:
    """Train as one of the processes that a Dask worker started; returns the exit code."""
    try:
        settings = PretrainSettings.model_validate_json(read_job_input())
        train(work_of(settings), place_of_environment(), messages)
    except TimesenError as error:
        messages.send_error(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(on_worker(Messages()))
