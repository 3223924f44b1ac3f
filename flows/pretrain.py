"""The flow that pretrains an encoder: check, train on a cluster, write the checkpoint."""

import base64
import time
from typing import Any
from uuid import UUID

from flows.execution.prefect_api import (
    NO_CACHE,
    create_image_artifact,
    create_progress_artifact,
    create_table_artifact,
    flow,
    get_run_logger,
    task,
    update_progress_artifact,
)
from flows.execution.progress import RunProgress, report_progress
from flows.settings.pretrain import PretrainSettings
from flows.training.cluster import training_cluster
from flows.training.process_group_launcher import MemberDied, run_surviving
from flows.training.process_group_worker_task import Job, Message
from flows.training.trackers import tracker_library
from flows.training.training_plan import Pretrained, Work, finish, work_of
from pipeline.io.store import public_text
from pipeline.training.journal import loss_curve, validation_table

_ARTIFACT_SECONDS = 30
_CURVE, _MEASURES, _PROGRESS = "loss-curve", "pretraining-measures", "pretraining-progress"


@flow(name="pretrain", flow_run_name="{settings.named_sets} → {settings.out}", persist_result=False)
def pretrain(settings: PretrainSettings) -> Pretrained:
    """Pretrain an encoder and write its checkpoint; started again, it goes on where it stopped.

    Raises UserError for whatever the user must mend; MemberDied where processes die again and
    again, ClusterUnavailable where the cluster is lost, WorldError where reading or writing fails.
    What was saved before is kept in every case.
    """
    report_progress(RunProgress("checking"))
    work = check_pretraining(settings)
    train_on_cluster(work)
    report_progress(RunProgress("writing the checkpoint"))
    made = write_checkpoint(work)
    _TrainingProgress(work).show()
    return made


@task(name="check", cache_policy=NO_CACHE, persist_result=False)
def check_pretraining(settings: PretrainSettings) -> Work:
    """Open the training set and the checkpoint to start from, and begin or find the folder."""
    if settings.tracker != "none":
        tracker_library(settings.tracker)
    work = work_of(settings)
    work.run.open(work.facts)
    return work


@task(name="train", cache_policy=NO_CACHE, persist_result=False)
def train_on_cluster(work: Work) -> None:
    """Train on the cluster, from the last state that was saved to the end."""
    settings, logger = work.settings, get_run_logger()
    progress = _TrainingProgress(work)
    report_progress(RunProgress("starting the processes"))

    def on_death(error: MemberDied, left: int) -> None:
        logger.warning("%s Going on from the last state; %s restarts left.", error, left)
        report_progress(RunProgress("starting the processes again, since one died"))

    job = Job(
        "flows.cli.pretrain_worker",
        settings.model_dump_json(),
        settings.processes,
        settings.cluster.threads,
    )
    with training_cluster(settings) as client:
        run_surviving(
            client,
            job,
            progress.hear,
            restarts=settings.restarts,
            advanced=progress.advanced,
            on_death=on_death,
        )


@task(name="write", cache_policy=NO_CACHE, persist_result=False)
def write_checkpoint(work: Work) -> Pretrained:
    """Write the checkpoint with its card."""
    return finish(work)


class _TrainingProgress:
    """The progress of a training, on the console and as Prefect's artifacts."""

    def __init__(self, work: Work) -> None:
        self._work, self._steps = work, work.settings.recipe.steps
        self._artifact: UUID | None = None
        self._published = time.monotonic()
        self._has_advanced = False
        self._trained: tuple[float, int] | None = None

    def advanced(self) -> bool:
        """Whether a state was saved since this was last asked."""
        found, self._has_advanced = self._has_advanced, False
        self._trained = None  # the time that passes until they train again says nothing
        return found

    def hear(self, message: Message) -> None:
        """Take a message of the processes."""
        if (entry := message.get("trained")) is not None:
            self._report(entry)
        elif (step := message.get("saved")) is not None:
            self._has_advanced = True
            get_run_logger().info("state of step %s saved", step)
            if time.monotonic() - self._published >= _ARTIFACT_SECONDS:
                self.show()

    def _report(self, entry: dict[str, Any]) -> None:
        done, now = entry["step"], time.monotonic()
        since, first = self._trained = self._trained or (now, done)
        report_progress(
            RunProgress(
                "training",
                total=self._steps,
                done=done,
                share=done / self._steps,
                seconds_left=(now - since) / (done - first) * (self._steps - done)
                if done > first
                else None,
                units=f"steps, loss {entry['loss']:.3f}",
            )
        )

    def show(self) -> None:
        """Publish progress, loss curve and measures as they were when the last state was saved."""
        journal = self._work.run.journal()
        if not journal.steps:
            return
        progress = 100 * journal.steps[-1]["step"] / self._steps
        if self._artifact is None:
            made = create_progress_artifact(progress, key=_PROGRESS, description="steps")
            assert isinstance(made, UUID)  # a coroutine only in a flow that is one
            self._artifact = made
        else:
            update_progress_artifact(self._artifact, progress=progress)
        picture = base64.b64encode(loss_curve(journal)).decode()
        create_image_artifact(f"data:image/png;base64,{picture}", key=_CURVE)
        if measures := validation_table(journal):
            described = public_text(self._work.settings.named_sets)
            create_table_artifact(measures, key=_MEASURES, description=f"validation, {described}")
        self._published = time.monotonic()
