"""The flow that distils a checkpoint: sample series, label them, train a student, measure, save."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from flows.execution.prefect_api import (
    NO_CACHE,
    create_markdown_artifact,
    flow,
    get_run_logger,
    task,
)
from flows.execution.progress import RunProgress, report_progress, report_tenths
from flows.execution.worker_calls import Stage, worker_calls
from flows.settings.distil import DistilSettings
from models.distillation import label_series, student_architecture, train_student
from models.encoder.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from models.encoder.checkpoint_folder import require_writable
from models.encoder.inference import device_at_hand, embed_all
from models.encoder.series_encoder import Architecture, SeriesEncoder
from models.towers.text_embeddings import TextEmbeddings, embed_for_checkpoint
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary
from pipeline.training.distillation_report import StudentAgreement, student_agreement, student_card
from pipeline.training.sampled_series import SampledSeries, draw_series, series_of_file


@dataclass(frozen=True)
class Student:
    """A student that was saved: its folder, its fingerprint, and how far it agrees."""

    folder: Path
    fingerprint: str
    measured: StudentAgreement


@flow(name="distil", flow_run_name="{settings.teacher} → {settings.out}", persist_result=False)
def distil_checkpoint(settings: DistilSettings) -> Student:
    """Make a student of a checkpoint and write it with its card.

    Raises UserError for whatever the user must mend, before anything is computed where that can be
    told; WorldError where reading or writing fails.
    """
    require_writable(settings.out, settings.replace)
    teacher = load_checkpoint(settings.teacher)
    architecture = student_architecture(
        teacher.card, settings.dim, settings.depth, settings.heads, settings.feedforward
    )
    vocabulary = load_vocabulary(settings.vocabulary)
    text = embed_for_checkpoint(vocabulary, teacher.card)
    drawn = draw(settings, teacher)
    seen, held_out = drawn.split(settings.seed)
    learned = learn(settings, teacher, architecture, seen, vocabulary, text)
    measured = measure_agreement(teacher, learned.encoder, held_out, vocabulary, text)
    fingerprint = save(settings, teacher, learned, drawn, len(seen), measured)
    create_markdown_artifact(measured.markdown(), key="student-agreement")
    return Student(Path(settings.out), fingerprint, measured)


@task(name="draw", cache_policy=NO_CACHE, persist_result=False)
def draw(settings: DistilSettings, teacher: Checkpoint) -> SampledSeries:
    """The series of the run or of the file."""
    if settings.run is None:
        assert settings.series is not None  # the settings hold that one of the two is given
        return series_of_file(Path(settings.series), teacher.card)
    return draw_series(
        settings.run,
        teacher.card,
        settings.pixels,
        settings.blocks,
        settings.seed,
        report_tenths("reading series"),
    )


@dataclass(frozen=True)
class Learned:
    """An encoder that learned from a bank of so many series, of which others were left out."""

    encoder: SeriesEncoder
    bank: int
    left_out: int
    device: str


@task(name="learn", cache_policy=NO_CACHE, persist_result=False)
def learn(
    settings: DistilSettings,
    teacher: Checkpoint,
    architecture: Architecture,
    series: np.ndarray,
    vocabulary: Vocabulary,
    text: TextEmbeddings,
) -> Learned:
    """Train the student on series that the teacher labels, on a worker of the cluster."""
    card = teacher.card
    scale = card.logit_scale_of(vocabulary.identity, card.architecture.months)
    with worker_calls(settings.cluster) as call:
        learned = call(_learned, settings, teacher, architecture, series, scale, text)
    if learned.left_out:
        get_run_logger().warning(
            "%s of %s series are left out: the teacher gives no finite embedding of them",
            learned.left_out,
            settings.bank,
        )
    return learned


def _learned(
    stage: Stage,
    settings: DistilSettings,
    teacher: Checkpoint,
    architecture: Architecture,
    series: np.ndarray,
    logit_scale: float | None,
    text: TextEmbeddings,
) -> Learned:
    labelling = stage("labelling by the teacher")
    bank = label_series(teacher, series, settings.bank, settings.seed, labelling)
    encoder = train_student(
        bank,
        teacher.card,
        architecture,
        steps=settings.steps,
        batch=settings.batch,
        seed=settings.seed,
        text=text,
        logit_scale=logit_scale,
        progress=stage("training the student"),
    )
    return Learned(encoder.cpu(), len(bank.series), bank.left_out, device_at_hand().type)


@task(name="measure", cache_policy=NO_CACHE, persist_result=False)
def measure_agreement(
    teacher: Checkpoint,
    student: SeriesEncoder,
    series: np.ndarray,
    vocabulary: Vocabulary,
    text: TextEmbeddings,
) -> StudentAgreement:
    """How far teacher and student agree about series that neither the bank nor training saw."""
    report_progress(RunProgress("comparing with the teacher"))
    card = teacher.card
    learned = Checkpoint(
        student, card.model_copy(update={"architecture": student.architecture}), "", teacher.path
    )
    expected, actual = (embed_all(checkpoint, series) for checkpoint in (teacher, learned))
    scale = card.logit_scale_of(vocabulary.identity, card.architecture.months)
    agreement = student_agreement(expected, actual, vocabulary, text, scale)
    get_run_logger().info("%.1f %% of %s series agree", 100 * agreement.same, agreement.pixels)
    return agreement


@task(name="save", cache_policy=NO_CACHE, persist_result=False)
def save(
    settings: DistilSettings,
    teacher: Checkpoint,
    learned: Learned,
    drawn: SampledSeries,
    seen: int,
    measured: StudentAgreement,
) -> str:
    """Write the checkpoint; gives its fingerprint."""
    out = Path(settings.out)
    training = {
        "series": f"{drawn.source}, {seen} of them to learn from",
        "bank": f"{learned.bank} of these as they are or varied, labelled by the teacher",
        "loss": f"1 - cosine, and the divergence of the softmax over {measured.vocabulary}",
        "steps": settings.steps,
        "batch": settings.batch,
        "seed": settings.seed,
        "device": learned.device,
        "versions": {name: version(name) for name in ("timesen", "torch", "numpy")},
    }
    student = learned.encoder
    card = student_card(out.absolute().name, teacher, student.architecture, training, measured)
    return save_checkpoint(out, student, card, replace=settings.replace)
