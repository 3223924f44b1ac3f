"""The report on a checkpoint as files: evaluation.json, report.md, pictures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.vocabulary.labels import MatchedLabels
from pipeline.evaluation.checkpoint_evaluation import CheckpointMetrics
from pipeline.evaluation.classification import Classification
from pipeline.evaluation.figures import calibration_figure, confusion_figure, few_shot_figure
from pipeline.evaluation.probes import Probe, ProbeMetrics
from pipeline.evaluation.retrieval import Retrieval
from pipeline.evaluation.tables import (
    NUMBERS,
    format_share,
    label_lines,
    table,
    write_evaluation_report,
)
from pipeline.evaluation.zero_shot import Correlation, ZeroShotMetrics
from pipeline.io.store import Store

_MOST_REGIONS = 40


@dataclass(frozen=True, eq=False)
class CheckpointResults:
    """A checkpoint's metrics by number of steps.

    `about` says what was evaluated and on what, `labels` which classes the labels are.
    """

    about: Mapping[str, Any]
    labels: MatchedLabels | None
    measured: tuple[CheckpointMetrics, ...]


def write_checkpoint_report(store: Store, results: CheckpointResults) -> str:
    """Write the report's files to a folder; gives the report, Markdown.

    Raises:
        OutputUnwritable: The folder cannot be written.
    """
    pictures: dict[str, bytes] = {}
    for measured in results.measured:
        pictures |= _pictures(results, measured)
    labels = results.labels
    numbers = {
        "about": results.about,
        "labels": labels
        and {
            "level": labels.level,
            "unknown": labels.unknown,
            "blank": labels.blank,
            "of finer codes": labels.finer,
        },
        "steps": {measured.steps: measured for measured in results.measured},
    }
    return write_evaluation_report(store, _lines(results), numbers, pictures)


def main_table(results: CheckpointResults) -> list[str]:
    """Format a table of the main numbers, one column per number of steps."""
    rows: dict[str, list[str]] = {}
    for measured in results.measured:
        for name, value in main_numbers(measured).items():
            rows.setdefault(name, []).append(value)
    header = ["", *(f"T = {measured.steps}" for measured in results.measured)]
    return table(header, [[name, *values] for name, values in rows.items()])


def main_numbers(measured: CheckpointMetrics) -> dict[str, str]:
    """Format the main numbers of one number of steps, by name."""
    main: dict[str, str] = {}
    if (zero := measured.zero_shot) is not None:
        main |= {
            "zero-shot accuracy (top 1)": format_share(zero.classes.accuracy),
            "right class among 5": format_share(zero.classes.top5),
            "mean class accuracy": format_share(zero.classes.mean_class_accuracy),
            "F1, macro": format_share(zero.classes.f1_macro),
            "F1, weighted": format_share(zero.classes.f1_weighted),
            "calibration error (ECE)": f"{zero.calibration.ece:.3f}",
        }
    if measured.retrieval is not None:
        main["recall@1, series → ground"] = format_share(measured.retrieval.to_ground.recall[1])
        main["recall@1, ground → series"] = format_share(measured.retrieval.to_series.recall[1])
    if measured.regression is not None:
        main["Pearson r, by prompts"] = f"{measured.regression.pearson:.3f}"
    if measured.probes is not None:
        main["kNN accuracy"] = format_share(measured.probes.knn.accuracy)
        main["linear probe accuracy"] = format_share(measured.probes.linear.accuracy)
    return main


def _pictures(results: CheckpointResults, measured: CheckpointMetrics) -> dict[str, bytes]:
    steps, zero, probes = measured.steps, measured.zero_shot, measured.probes
    title = f"{results.about['checkpoint']}, T = {steps}"
    pictures = {}
    if zero is not None:
        pictures[f"confusion-{steps}.png"] = confusion_figure(
            zero.classes.confusion, zero.names, f"{title}: zero-shot", "reference", "predicted"
        )
        pictures[f"calibration-{steps}.png"] = calibration_figure(
            zero.calibration, zero.calibrated, f"{title}: confidence"
        )
    if probes is not None and probes.few_shot:
        accuracy = None if zero is None else zero.classes.accuracy
        pictures[f"few-shot-{steps}.png"] = few_shot_figure(
            probes.few_shot, accuracy, probes.linear.accuracy, f"{title}: few shots"
        )
    return pictures


def _lines(results: CheckpointResults) -> list[str]:
    about = results.about
    data = about["data"]
    lines = [
        f"# {about['checkpoint']} on {about['part']} of the {data['kind']} {data['address']}",
        "",
        *main_table(results),
        "",
        *_about(results),
    ]
    for measured in results.measured:
        lines += ["", f"## T = {measured.steps}"]
        if measured.zero_shot is not None:
            lines += _zero_shot(measured.zero_shot, measured.steps)
        if measured.retrieval is not None:
            lines += _retrieval(measured.retrieval, measured.retrieval_by_label)
        if measured.regression is not None:
            lines += _regression(measured.regression, about["regression"])
        if measured.probes is not None:
            lines += _probes(measured.probes, measured.steps)
        lines += [f"\n{note}" for note in measured.notes]
    return [*lines, "", *(f"{text}." for text in data["attribution"] if text)]


def _about(results: CheckpointResults) -> list[str]:
    about, labels = results.about, results.labels
    lines = [
        f"- {about['rows']:,} rows; {about['without observation']:,} more have no clear "
        "observation and are left out",
        f"- checkpoint {about['checkpoint']}, fingerprint {about['fingerprint'][:12]}; "
        f"data {str(about['data']['fingerprint'])[:12]}",
    ]
    if labels is not None:
        lines.append(f"- vocabulary {about['vocabulary']}, label `{about['label']}`")
        if labels.blank:
            lines.append(f"- {labels.blank:,} rows without a label")
        lines += label_lines(labels)
    return lines


def _zero_shot(metrics: ZeroShotMetrics, steps: int) -> list[str]:
    classes = metrics.classes
    lines = [
        "",
        "### Zero-shot",
        "",
        f"{classes.rows:,} labelled rows. To predict the most frequent class for all of them would "
        f"be right for {format_share(classes.majority)}.",
        "",
        *_class_table(classes),
        "",
        f"![Confusion](confusion-{steps}.png)",
    ]
    if metrics.regions:
        shown = list(metrics.regions.items())[:_MOST_REGIONS]
        header = ["region", "rows", "accuracy", "mean class accuracy", "F1, macro"]
        rows = [[name, f"{region.rows:,}", *_shares(region)] for name, region in shown]
        lines += ["", "### By region", "", *table(header, rows)]
        if len(metrics.regions) > len(shown):
            lines.append(f"\n{len(metrics.regions) - len(shown)} more: see {NUMBERS}.")
    return [
        *lines,
        "",
        "### Confidence",
        "",
        *_confidence(metrics),
        "",
        f"![Calibration](calibration-{steps}.png)",
    ]


def _class_table(metrics: Classification) -> list[str]:
    """A table of the classes that occur, those with most rows first."""
    shown = [entry for entry in metrics.by_class if entry.support or entry.predicted]
    rows = [
        [
            entry.name,
            f"{entry.support:,}",
            f"{entry.predicted:,}",
            *map(format_share, (entry.recall, entry.precision, entry.f1)),
        ]
        for entry in sorted(shown, key=lambda entry: -entry.support)
    ]
    return table(["class", "rows", "predicted", "recall", "precision", "F1"], rows)


def _shares(metrics: Classification | Probe) -> list[str]:
    shares = (metrics.accuracy, metrics.mean_class_accuracy, metrics.f1_macro)
    return [format_share(share) for share in shares]


def _confidence(metrics: ZeroShotMetrics) -> list[str]:
    before = metrics.calibration
    lines = [
        f"Mean confidence {format_share(before.mean_confidence)}, accuracy "
        f"{format_share(metrics.classes.accuracy)}; expected calibration error {before.ece:.3f}, "
        f"largest {before.mce:.3f}."
    ]
    if metrics.fitted is not None and metrics.calibrated is not None:
        fitted = metrics.fitted
        lines.append(
            f"The logit scale that suits {fitted.rows:,} rows of another part best is "
            f"**{fitted.logit_scale:.1f}** (temperature {1 / fitted.logit_scale:.4f}), that of the "
            f"card is {metrics.logit_scale:g}; with the former the error is "
            f"{metrics.calibrated.ece:.3f}. `timesen checkpoint calibrate` writes it on the card, "
            "for this vocabulary: classes stay the same where no class has a bias, confidences "
            "change."
        )
        if fitted.at_bound:
            lines.append("It is at the end of the range that is tried: do not use it.")
    return lines


def _retrieval(of_pairs: Retrieval, by_label: Retrieval | None) -> list[str]:
    ways = {"series → ground": of_pairs.to_ground, "ground → series": of_pairs.to_series}
    if by_label is not None:
        ways |= {
            "series → ground of the same class": by_label.to_ground,
            "ground → series of the same class": by_label.to_series,
        }
    header = ["", *(f"recall@{k}" for k in of_pairs.to_ground.recall), "median rank", "among"]
    rows = [
        [
            name,
            *(f"{format_share(way.recall[k])} ({format_share(way.chance[k])})" for k in way.recall),
            f"{way.median_rank:,.0f}",
            f"{way.gallery:,}",
        ]
        for name, way in ways.items()
    ]
    note = "In brackets: what an arbitrary order would give."
    return ["", "### Retrieval", "", *table(header, rows), "", note]


def _regression(correlation: Correlation, about: Mapping[str, Any]) -> list[str]:
    return [
        "",
        "### Regression by prompts",
        "",
        f"`{about['number']}` against the share of {' / '.join(about['positive'])} over "
        f"{' / '.join(about['negative'])}: Pearson r {correlation.pearson:.3f} (95 %: "
        f"{correlation.low:.3f} to {correlation.high:.3f}), Spearman {correlation.spearman:.3f}, "
        f"{correlation.rows:,} rows.",
    ]


def _probes(probes: ProbeMetrics, steps: int) -> list[str]:
    header = ["", "", "rows", "accuracy", "mean class accuracy", "F1, macro"]
    rows = [
        [name, probe.setting, f"{probe.learned:,} → {probe.tested:,}", *_shares(probe)]
        for name, probe in (("kNN", probes.knn), ("linear probe", probes.linear))
    ]
    lines = ["", "### Probes", "", *table(header, rows)]
    if probes.few_shot:
        header = [
            "rows per class",
            "accuracy, mean ± sd",
            "F1, macro",
            "draws",
            "classes with fewer",
        ]
        shots = [
            [
                str(point.shots),
                f"{format_share(point.accuracy)} ± {100 * point.accuracy_sd:.1f}",
                f"{format_share(point.f1_macro)} ± {100 * point.f1_sd:.1f}",
                str(point.draws),
                str(point.short),
            ]
            for point in probes.few_shot
        ]
        lines += ["", *table(header, shots), "", f"![Few shots](few-shot-{steps}.png)"]
    return lines
