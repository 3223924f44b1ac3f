"""What was measured of a checkpoint, as files: evaluation.json, report.md, pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.figures import calibration_figure, confusion_figure, few_shot_figure
from pipeline.evaluation.labels import MatchedLabels
from pipeline.evaluation.measured import Measured, ProbesMeasured, ZeroShotMeasured
from pipeline.evaluation.regression import Correlation
from pipeline.evaluation.retrieval import Recall, Retrieval
from pipeline.evaluation.tables import by_class, percent, plain, table
from pipeline.io.store import Store

NUMBERS, REPORT = "evaluation.json", "report.md"
_REGIONS = 40
_LABELS = 20


@dataclass(frozen=True, eq=False)
class CheckpointEvaluated:
    """A checkpoint's metrics by number of steps; `about` says of what, `labels` what they mean."""

    about: Mapping[str, Any]
    labels: MatchedLabels | None
    measured: tuple[Measured, ...]


def write_checkpoint_report(store: Store, found: CheckpointEvaluated) -> str:
    """Write the report's files to a folder; gives the report, Markdown. Raises OutputUnwritable."""
    for measured in found.measured:
        for name, picture in _pictures(found, measured).items():
            store.write(name, picture)
    report = "\n".join(_lines(found)) + "\n"
    store.write(REPORT, report.encode())
    numbers = {
        "about": plain(found.about),
        "labels": None
        if found.labels is None
        else {
            "level": found.labels.level,
            "unknown": dict(found.labels.unknown),
            "blank": found.labels.blank,
            "of finer codes": dict(found.labels.finer),
        },
        "steps": {str(measured.steps): plain(measured) for measured in found.measured},
    }
    store.write(NUMBERS, json.dumps(numbers, indent=1, ensure_ascii=False).encode() + b"\n")
    return report


def summary(found: CheckpointEvaluated) -> list[str]:
    """A table of the main numbers, a column a number of steps."""
    rows: dict[str, list[str]] = {}
    for measured in found.measured:
        for name, value in main_numbers(measured).items():
            rows.setdefault(name, []).append(value)
    header = ["", *(f"T = {measured.steps}" for measured in found.measured)]
    return table(header, [[name, *values] for name, values in rows.items()])


def main_numbers(measured: Measured) -> dict[str, str]:
    """The main numbers of a number of steps, as they are shown."""
    main: dict[str, str] = {}
    if (zero := measured.zero_shot) is not None:
        main |= {
            "zero-shot accuracy (top 1)": percent(zero.classes.accuracy),
            "right class among 5": percent(zero.classes.top5),
            "mean class accuracy": percent(zero.classes.mean_class_accuracy),
            "F1, macro": percent(zero.classes.f1_macro),
            "F1, weighted": percent(zero.classes.f1_weighted),
            "calibration error (ECE)": f"{zero.calibration.ece:.3f}",
        }
    if measured.retrieval is not None:
        main["recall@1, series → ground"] = percent(measured.retrieval.to_ground.recall[1])
        main["recall@1, ground → series"] = percent(measured.retrieval.to_series.recall[1])
    if measured.regression is not None:
        main["Pearson r, by prompts"] = f"{measured.regression.pearson:.3f}"
    if measured.probes is not None:
        main["kNN accuracy"] = percent(measured.probes.knn.accuracy)
        main["linear probe accuracy"] = percent(measured.probes.linear.accuracy)
    return main


def _pictures(found: CheckpointEvaluated, measured: Measured) -> dict[str, bytes]:
    name, steps = found.about["checkpoint"], measured.steps
    pictures = {}
    if (zero := measured.zero_shot) is not None:
        pictures[f"confusion-{steps}.png"] = confusion_figure(
            zero.classes.confusion, zero.names, f"{name}, T = {steps}: zero-shot",
            "reference", "given",
        )  # fmt: skip
        pictures[f"calibration-{steps}.png"] = calibration_figure(
            zero.calibration, zero.calibrated, f"{name}, T = {steps}: confidence"
        )
    if (probes := measured.probes) is not None and probes.few_shot:
        pictures[f"few-shot-{steps}.png"] = few_shot_figure(
            probes.few_shot,
            None if zero is None else zero.classes.accuracy,
            probes.linear.accuracy,
            f"{name}, T = {steps}: few shots",
        )
    return pictures


def _lines(found: CheckpointEvaluated) -> list[str]:
    about = found.about
    data = about["data"]
    lines = [
        f"# {about['checkpoint']} on {about['part']} of the {data['kind']} {data['address']}",
        "",
        *summary(found),
        "",
        *_told(found),
    ]
    for measured in found.measured:
        lines += ["", f"## T = {measured.steps}"]
        if measured.zero_shot is not None:
            lines += _zero_shot(measured.zero_shot, measured.steps, about["logit_scale"])
        if measured.retrieval is not None:
            lines += _retrieval(measured.retrieval, measured.retrieval_by_label)
        if measured.regression is not None:
            lines += _regression(measured.regression, about["regression"])
        if measured.probes is not None:
            lines += _probes(measured.probes, measured.steps)
        lines += [f"\n{note}" for note in measured.notes]
    return [*lines, "", *(f"{text}." for text in data["attribution"] if text)]


def _told(found: CheckpointEvaluated) -> list[str]:
    about, labels = found.about, found.labels
    lines = [
        f"- {about['rows']:,} rows; {about['without observation']:,} more have no clear "
        "observation and are left out",
        f"- checkpoint {about['checkpoint']}, fingerprint {about['fingerprint'][:12]}; "
        f"data {str(about['data']['fingerprint'])[:12]}",
    ]
    if labels is None:
        return lines
    lines.append(
        f"- vocabulary {about['vocabulary']}, label `{about['label']}`"
        + (", classes compared by their parents" if labels.level == "parent" else "")
    )
    if labels.blank:
        lines.append(f"- {labels.blank:,} rows without a label")
    if labels.unknown:
        rows = sum(labels.unknown.values())
        listed = ", ".join(f"{k} ({n})" for k, n in list(labels.unknown.items())[:_LABELS])
        lines.append(f"- {rows:,} rows with labels unknown to the vocabulary: {listed}")
    if labels.finer:
        listed = ", ".join(f"{k} as {name}" for k, name in list(labels.finer.items())[:_LABELS])
        lines.append(f"- finer codes taken for their class: {listed}")
    return lines


def _zero_shot(found: ZeroShotMeasured, steps: int, logit_scale: float) -> list[str]:
    classes = found.classes
    lines = [
        "",
        "### Zero-shot",
        "",
        f"{classes.rows:,} labelled rows. Who always said the most frequent class would be right "
        f"in {percent(classes.majority)}.",
        "",
        *by_class(classes),
        "",
        f"![Confusion](confusion-{steps}.png)",
    ]
    if found.regions:
        shown = list(found.regions.items())[:_REGIONS]
        rows = [
            [
                name,
                f"{region.rows:,}",
                percent(region.accuracy),
                percent(region.mean_class_accuracy),
                percent(region.f1_macro),
            ]
            for name, region in shown
        ]
        lines += ["", "### By region", ""]
        lines += table(["region", "rows", "accuracy", "mean class accuracy", "F1, macro"], rows)
        if len(found.regions) > len(shown):
            lines.append(f"\n{len(found.regions) - len(shown)} more: see {NUMBERS}.")
    before = found.calibration
    lines += [
        "",
        "### Confidence",
        "",
        f"Mean confidence {percent(before.mean_confidence)}, accuracy {percent(classes.accuracy)}; "
        f"expected calibration error {before.ece:.3f}, largest {before.mce:.3f}.",
    ]
    if found.fitted is not None and found.calibrated is not None:
        fitted = found.fitted
        lines.append(
            f"The logit scale that suits {fitted.rows:,} rows of another part best is "
            f"**{fitted.logit_scale:.1f}** (temperature {1 / fitted.logit_scale:.4f}), the card's "
            f"is {logit_scale:g}; with it the error is {found.calibrated.ece:.3f}. To use it, "
            f'write `"logit_scale": {fitted.logit_scale:.1f}` in the checkpoint\'s card.json: '
            "classes stay the same where no class has a bias, confidences change."
        )
        if fitted.at_bound:
            lines.append("It lies at the end of what is tried: don't take it for a card.")
    return [*lines, "", f"![Calibration](calibration-{steps}.png)"]


def _retrieval(found: Retrieval, by_label: Retrieval | None) -> list[str]:
    ways = {
        "series → ground": found.to_ground,
        "ground → series": found.to_series,
    }
    if by_label is not None:
        ways |= {
            "series → ground of the same class": by_label.to_ground,
            "ground → series of the same class": by_label.to_series,
        }
    first = list(found.to_ground.recall)
    return [
        "",
        "### Retrieval",
        "",
        *table(
            ["", *(f"recall@{k}" for k in first), "median rank", "among"],
            [[name, *_recalls(way, first)] for name, way in ways.items()],
        ),
        "",
        "In brackets: what an arbitrary order would give.",
    ]


def _recalls(way: Recall, first: Sequence[int]) -> list[str]:
    shares = [f"{percent(way.recall[k])} ({percent(way.chance[k])})" for k in first]
    return [*shares, f"{way.median_rank:,.0f}", f"{way.gallery:,}"]


def _regression(found: Correlation, asked: Mapping[str, Any]) -> list[str]:
    return [
        "",
        "### Regression by prompts",
        "",
        f"`{asked['number']}` against the share of {' / '.join(asked['positive'])} over "
        f"{' / '.join(asked['negative'])}: Pearson r {found.pearson:.3f} (95 %: {found.low:.3f} to "
        f"{found.high:.3f}), Spearman {found.spearman:.3f}, {found.rows:,} rows.",
    ]


def _probes(found: ProbesMeasured, steps: int) -> list[str]:
    rows = [
        [
            name,
            probe.setting,
            f"{probe.learned:,} → {probe.tested:,}",
            percent(probe.accuracy),
            percent(probe.mean_class_accuracy),
            percent(probe.f1_macro),
        ]
        for name, probe in (("kNN", found.knn), ("linear probe", found.linear))
    ]
    lines = [
        "",
        "### Probes",
        "",
        *table(["", "", "rows", "accuracy", "mean class accuracy", "F1, macro"], rows),
    ]
    if found.few_shot:
        shots = [
            [
                str(point.shots),
                f"{percent(point.accuracy)} ± {100 * point.accuracy_sd:.1f}",
                f"{percent(point.f1_macro)} ± {100 * point.f1_sd:.1f}",
                str(point.draws),
                str(point.short),
            ]
            for point in found.few_shot
        ]
        header = ["rows a class", "accuracy, mean ± sd", "F1, macro", "draws", "classes with fewer"]
        lines += ["", *table(header, shots), "", f"![Few shots](few-shot-{steps}.png)"]
    return lines
