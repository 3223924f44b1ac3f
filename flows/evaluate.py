"""The flows that evaluate: a checkpoint on labelled series, and a finished map at points."""

from pathlib import Path

import numpy as np

from flows.execution.prefect_api import (
    NO_CACHE,
    create_markdown_artifact,
    flow,
    get_run_logger,
    task,
)
from flows.execution.progress import RunProgress, report_progress
from flows.execution.unit_groups import passed_as_is
from flows.execution.worker_calls import Stage, WorkerCall, worker_calls
from flows.settings.evaluate import CheckpointEvaluation, MapEvaluation
from models.encoder.checkpoint import Checkpoint, load_checkpoint
from models.encoder.inference import embed_all
from models.errors import UserError
from models.vocabulary.vocabulary import Vocabulary, load_vocabulary, vocabulary_from_words
from pipeline.evaluation.checkpoint_evaluation import (
    CheckpointMetrics,
    EvaluationRows,
    compare_label,
    compare_numbers,
    measure_checkpoint,
    read_probe_rows,
)
from pipeline.evaluation.checkpoint_report import (
    CheckpointResults,
    main_table,
    write_checkpoint_report,
)
from pipeline.evaluation.map_evaluation import MapResults, evaluate_run
from pipeline.evaluation.map_report import write_map_report
from pipeline.evaluation.samples import ALL, SampleSource, open_samples
from pipeline.io.store import Store
from pipeline.training_set.spatial_split import SplitRule

_BUFFER = 1.0  # km


@flow(
    name="evaluate-checkpoint",
    flow_run_name="{settings.checkpoint} on {settings.data}",
    persist_result=False,
)
def evaluate_checkpoint(settings: CheckpointEvaluation) -> CheckpointResults:
    """Measure a checkpoint on labelled series and write the report.

    Raises UserError for whatever the user must mend; WorldError where reading or writing fails.
    """
    checkpoint = load_checkpoint(settings.checkpoint)
    vocabulary = _vocabulary(settings)
    buffer = min(_BUFFER, settings.block_km / 4)
    rule = SplitRule(block_km=settings.block_km, buffer_km=buffer, seed=settings.seed)
    inputs = checkpoint.card.preprocessing
    source = open_samples(settings.data, inputs.bands, rule, inputs.optional_bands)
    _require_columns(settings, source)
    rows = read(settings, source, checkpoint, vocabulary)
    with worker_calls(settings.cluster) as call:
        measured = tuple(
            measure_steps(settings, rows, checkpoint, steps, passed_as_is(call))
            for steps in settings.steps
        )
    results = CheckpointResults(
        about=_about(settings, source, checkpoint, vocabulary, rows),
        labels=None if rows.comparison is None else rows.comparison.matched,
        measured=measured,
    )
    write_evaluation(settings.out, results)
    return results


@flow(
    name="evaluate-map", flow_run_name="{settings.run} at {settings.points}", persist_result=False
)
def evaluate_map(settings: MapEvaluation) -> MapResults:
    """Measure a finished map at reference points and write the report. Raises as the other flow."""
    results = compare(settings)
    write_map(map_folder(settings), results)
    return results


def map_folder(settings: MapEvaluation) -> str:
    """The folder of a map's report."""
    return settings.out or f"{settings.run.rstrip('/')}/evaluation"


@task(name="read", cache_policy=NO_CACHE, persist_result=False)
def read(
    settings: CheckpointEvaluation,
    source: SampleSource,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary | None,
) -> EvaluationRows:
    """Read the rows to evaluate, and those to train probes on."""
    report_progress(RunProgress("reading series"))
    part = settings.split or source.default_split
    samples = source.read(part)
    if not len(samples):
        raise UserError(
            f"part {part} of {settings.data}", "no row has a clear observation", "Take another"
        )
    comparison = regression = probe_rows = None
    notes: tuple[str, ...] = ()
    if settings.number is not None:
        prompts = settings.positive, settings.negative
        regression = compare_numbers(samples, settings.number, *prompts, checkpoint.card)
    if settings.label is not None and vocabulary is not None:
        label, level = settings.label, settings.level
        comparison = compare_label(samples, label, vocabulary, level, checkpoint.card)
        level = comparison.matched.level
        try:
            probe_rows = read_probe_rows(source, part, label, vocabulary, level, settings.seed)
        except UserError as error:
            if part != ALL:
                raise
            notes = (f"No probes and no fitted logit scale: {error}",)
    return EvaluationRows(part, samples, comparison, regression, probe_rows, notes)


@task(
    name="measure", task_run_name="measure T = {steps}", cache_policy=NO_CACHE, persist_result=False
)
def measure_steps(
    settings: CheckpointEvaluation,
    rows: EvaluationRows,
    checkpoint: Checkpoint,
    steps: int,
    call: WorkerCall,
) -> CheckpointMetrics:
    """Measure the checkpoint on series of a number of steps."""
    metrics = call(_measured, settings, rows, checkpoint, steps)
    if metrics.zero_shot is not None:
        get_run_logger().info(
            "T = %d: %.1f %% of %d rows right",
            steps,
            100 * metrics.zero_shot.classes.accuracy,
            metrics.zero_shot.classes.rows,
        )
    return metrics


def _measured(
    stage: Stage,
    settings: CheckpointEvaluation,
    rows: EvaluationRows,
    checkpoint: Checkpoint,
    steps: int,
) -> CheckpointMetrics:
    """Embed and compare; it runs on a worker, or here."""
    stage(f"measuring, T = {steps}")

    def embed(series: np.ndarray) -> np.ndarray:
        return embed_all(checkpoint, series, steps=steps).numpy()

    card, region = checkpoint.card, settings.region
    return measure_checkpoint(rows, steps, embed, card, region, settings.draws, settings.seed)


@task(name="compare", cache_policy=NO_CACHE, persist_result=False)
def compare(settings: MapEvaluation) -> MapResults:
    """Compare the map with the points."""
    report_progress(RunProgress("reading the map at the points"))
    mapping = None if settings.labels is None else Path(settings.labels)
    points, label = Path(settings.points), settings.label
    return evaluate_run(settings.run, points, label, settings.level, mapping)


@task(name="write", cache_policy=NO_CACHE, persist_result=False)
def write_evaluation(out: str, results: CheckpointResults) -> None:
    """Write the report, and show it in Prefect."""
    report_progress(RunProgress("writing the report"))
    write_checkpoint_report(Store(out), results)
    title = (
        f"{results.about['checkpoint']} on {results.about['part']}, {results.about['rows']} rows"
    )
    create_markdown_artifact("\n".join([f"# {title}", "", *main_table(results)]), key="evaluation")


@task(name="write", cache_policy=NO_CACHE, persist_result=False)
def write_map(out: str, results: MapResults) -> None:
    """Write the report, and show it in Prefect."""
    report_progress(RunProgress("writing the report"))
    report = write_map_report(Store(out), results)
    create_markdown_artifact(report.partition("![")[0], key="map-accuracy")


def _vocabulary(settings: CheckpointEvaluation) -> Vocabulary | None:
    if settings.classes is not None:
        return vocabulary_from_words(settings.classes)
    return None if settings.vocabulary is None else load_vocabulary(settings.vocabulary)


def _require_columns(settings: CheckpointEvaluation, source: SampleSource) -> None:
    """Raise UserError for columns that are missing, or where there is nothing to measure."""
    known = ", ".join(source.labels) or "none"
    for name in (settings.label, settings.region, settings.number):
        if name is not None and name not in source.labels:
            raise UserError(
                f"label {name!r}", f"{settings.data} has no such label", f"It has {known}"
            )
    if settings.label is None and settings.number is None and not source.has_ground:
        raise UserError(
            settings.data,
            "series alone show nothing of a checkpoint",
            f"Say what to compare with, by --label or --number; its labels are {known}",
        )


def _about(
    settings: CheckpointEvaluation,
    source: SampleSource,
    checkpoint: Checkpoint,
    vocabulary: Vocabulary | None,
    rows: EvaluationRows,
) -> dict[str, object]:
    counts = zip(checkpoint.card.preprocessing.bands, rows.evaluated.absent.tolist(), strict=True)
    absent = {band: count for band, count in counts if count}
    return {
        "checkpoint": checkpoint.card.name,
        "fingerprint": checkpoint.fingerprint,
        "logit_scale": checkpoint.card.logit_scale,
        "text tower": checkpoint.card.text_tower,
        "data": dict(source.about),
        "part": rows.part,
        "rows": len(rows.evaluated),
        "without observation": rows.evaluated.left_out,
        **({"without band": absent} if absent else {}),
        "vocabulary": None if vocabulary is None else vocabulary.name,
        "label": settings.label,
        "region": settings.region,
        "regression": None if rows.regression is None else dict(rows.regression.about),
        "seed": settings.seed,
    }
