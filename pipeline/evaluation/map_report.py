"""The report on a map's accuracy as files: evaluation.json, report.md, confusion.png."""

from typing import Any

from pipeline.evaluation.area_accuracy import FEW, FEWEST, ClassAccuracy, Estimate
from pipeline.evaluation.figures import confusion_figure
from pipeline.evaluation.map_evaluation import MapResults
from pipeline.evaluation.map_labels import unknown_lines
from pipeline.evaluation.proportion import Proportion
from pipeline.evaluation.tables import format_share, label_lines, table, write_evaluation_report
from pipeline.io.store import Store

CONFUSION = "confusion.png"
_LISTED = 20
_TOO_FEW = "too few points"
_ADVISED = 50  # points of each class


def write_map_report(store: Store, results: MapResults) -> str:
    """Write the report's files to a folder; gives the report, Markdown.

    Raises:
        OutputUnwritable: The folder cannot be written.
    """
    title = f"{results.about['title']}, {results.about['period']}"
    shares = results.accuracy.proportions
    picture = confusion_figure(shares, results.names, title, "map", "reference")
    return write_evaluation_report(store, _lines(results), _numbers(results), {CONFUSION: picture})


def class_rows(results: MapResults) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the table of classes that occur, the largest first."""
    header = ["class", "points", "user's accuracy", "producer's accuracy", "area, ha", "mapped, ha"]
    shown = [
        entry
        for entry in results.accuracy.by_class
        if entry.mapped_points or entry.reference_points or entry.mapped
    ]
    return header, [
        [
            entry.name,
            f"{entry.mapped_points:,} / {entry.reference_points:,}",
            _users(entry),
            _producers(entry),
            f"{entry.area.value:,.0f} ± {entry.area.half_width:,.0f}",
            f"{entry.mapped:,.0f}",
        ]
        for entry in sorted(shown, key=lambda entry: -entry.area.value)
    ]


def _users(entry: ClassAccuracy) -> str:
    if 0 < entry.mapped_points < FEW:
        return _TOO_FEW
    if entry.one_stratum and entry.users is not None:
        return format_proportion(entry.mapped_right)
    return format_estimate(entry.users)


def _producers(entry: ClassAccuracy) -> str:
    return _TOO_FEW if 0 < entry.reference_points < FEW else format_estimate(entry.producers)


def _numbers(results: MapResults) -> dict[str, Any]:
    accuracy, classes = results.accuracy, results.classes
    drawn = results.sample
    return {
        "map": results.about,
        "points": results.points,
        "unknown labels": results.labels.unknown,
        "labels that may be meant": classes.near,
        "mapping of labels": None
        if classes.mapping is None
        else {
            "file": classes.mapping.file,
            "classes": classes.mapping.classes,
            "points": classes.mapped,
        },
        "sample": None if drawn is None else drawn.model_dump(exclude={"stratum"}),
        "labels of finer codes": results.labels.finer,
        "overall accuracy": _estimate(accuracy.overall),
        "agreement of points": _proportion(accuracy.right),
        "hectares": accuracy.hectares,
        "classes left out": accuracy.left_out,
        "classes": [
            {
                "name": entry.name,
                "mapped points": entry.mapped_points,
                "reference points": entry.reference_points,
                "user's accuracy": _estimate(entry.users),
                "producer's accuracy": _estimate(entry.producers),
                "agreement of mapped points": _proportion(entry.mapped_right),
                "agreement of reference points": _proportion(entry.reference_right),
                "share of the area": _estimate(entry.share),
                "hectares": _estimate(entry.area),
                "hectares as mapped": entry.mapped,
            }
            for entry in accuracy.by_class
        ],
        "confusion": {
            "classes": results.names,
            "rows": "map",
            "columns": "reference",
            "points": accuracy.counts,
            "proportion of the area": accuracy.proportions,
        },
    }


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {
        "value": estimate.value,
        "standard error": estimate.standard_error,
        "95 % interval, to either side": estimate.half_width,
    }


def _proportion(proportion: Proportion) -> dict[str, Any]:
    return {
        "right": proportion.right,
        "points": proportion.total,
        "share": proportion.share,
        "95 % interval, exact": proportion.interval,
        "too few points": proportion.total < FEW,
    }


def _lines(results: MapResults) -> list[str]:
    about, accuracy, used = results.about, results.accuracy, results.points
    lines = [
        f"# Accuracy of {about['title']}, {about['period']}",
        "",
        f"Overall accuracy **{format_estimate(accuracy.overall)}** of {accuracy.hectares:,.0f} ha, "
        f"by {used.used:,} reference points ({about['points']}, column "
        f"`{about['label']}`). All intervals are of 95 %. Estimates with ± are those of Olofsson "
        "et al. 2014: points weigh as much as the area of the map's class in which they lie. They "
        "hold where points were drawn at random, or on a grid, over the map or within its classes.",
        "",
        "## By class",
        "",
        *table(*class_rows(results)),
        "",
        "*Points*: mapped as the class / of the class by reference. *User's accuracy*: of what is "
        "mapped as it, the share that is of it. *Producer's*: of what is of it, the share that is "
        "mapped as it. *Area*: of the class as the references correct it; *mapped*: as counted on "
        f"the map. *Too few points*: fewer than {FEW}.",
        "",
        "An interval in brackets is exact (Clopper and Pearson 1934): all points of the class "
        "count alike. One with ± is that of a normal distribution: it is too narrow where points "
        f"are few, and ± 0 where all are right. The good practice is {_ADVISED} points or more of "
        "each class.",
        "",
        "![Confusion by area](confusion.png)",
        "",
        "## Agreement of the points",
        "",
        "Of the points alone, whatever area they stand for. Intervals are exact. Where some "
        "classes have more points for their area than others, these are no shares of the area.",
        "",
        *table(*_agreement(results)),
        "",
        "## Confusion: points",
        "",
        *_matrix(results, accuracy.counts.tolist(), "{:,}"),
        "",
        "Rows are the map's classes, columns the references'.",
        "",
        "## Confusion: share of the area",
        "",
        *_matrix(results, accuracy.proportions.tolist(), "{:.4f}"),
        "",
        "## Points",
        "",
        *_points(results),
        *_mapping_lines(results),
    ]
    return [*lines, "", f"{about['attribution']}."]


def _matrix(results: MapResults, values: list[list[Any]], form: str) -> list[str]:
    accuracy = results.accuracy
    occurring = accuracy.counts.sum(axis=0) + accuracy.counts.sum(axis=1) > 0
    places = [k for k, occurs in enumerate(occurring) if occurs]
    if len(places) > _LISTED:
        return [f"{len(places)} classes: see evaluation.json and the picture."]
    return table(
        ["map", *(results.names[k] for k in places)],
        [[results.names[k], *(form.format(values[k][j]) for j in places)] for k in places],
    )


def _agreement(results: MapResults) -> tuple[list[str], list[list[str]]]:
    accuracy = results.accuracy
    rows = [
        [entry.name, *map(_counted, (entry.mapped_right, entry.reference_right))]
        for entry in accuracy.by_class
        if entry.mapped_points or entry.reference_points
    ]
    every = _counted(accuracy.right)
    header = ["class", "right of those mapped as it", "right of those of it by reference"]
    return header, [*rows, ["all points", every, every]]


def _counted(proportion: Proportion) -> str:
    if not proportion.total:
        return "–"
    told = _TOO_FEW if proportion.total < FEW else format_proportion(proportion)
    return f"{proportion.right:,} of {proportion.total:,}: {told}"


def _mapping_lines(results: MapResults) -> list[str]:
    """What the mapping of labels says, and how many points each label has."""
    classes = results.classes
    if classes.mapping is None or classes.mapped is None:
        return []
    counts = classes.mapped
    rows = [
        [label, "left out" if name is None else name, f"{counts.get(label, 0):,}"]
        for label, name in classes.mapping.classes.items()
    ]
    return [
        "",
        "## Labels",
        "",
        f"Labels mean the classes that {classes.mapping.file} says:",
        "",
        *table(["label", "class", "points"], rows),
    ]


def _points(results: MapResults) -> list[str]:
    used, labels = results.points, results.labels
    knows = "vocabulary" if results.classes.mapping is None else "mapping of labels"
    reasons = {
        "outside of every finished cell": used.outside,
        "on nodata": used.on_nodata,
        "without a place": used.no_place,
        "without a label": used.no_label,
        "with a label that the mapping of labels leaves out": used.no_class,
        f"with a label that the {knows} does not know": used.unknown_label,
        f"in classes of the map with fewer than {FEWEST} points": used.left_out,
    }
    lines = [f"{used.used:,} of {used.given:,} points are used."]
    lines += [f"- {count:,} {reason}" for reason, count in reasons.items() if count]
    lines += label_lines(labels)
    lines += [f"- {line}" for line in unknown_lines(results.classes)]
    lines += _sample_lines(results)
    accuracy = results.accuracy
    if accuracy.left_out:
        lost = sum(accuracy.left_out.values())
        listed = ", ".join(f"{k} ({ha:,.0f} ha)" for k, ha in accuracy.left_out.items())
        lines.append(
            f"- {format_share(lost / (lost + accuracy.hectares))} of the map is left out of "
            f"all numbers, since these classes have fewer than {FEWEST} points: {listed}"
        )
    return lines


def _sample_lines(results: MapResults) -> list[str]:
    sample = results.sample
    if sample is None:
        return []
    drawn = f"- they were drawn by `timesen sample` (seed {sample.seed}) within "
    if sample.fingerprint == results.about["fingerprint"]:
        return [f"{drawn}the classes of this map; these weigh by their area at that time"]
    return [
        f"{drawn}the classes of another map, in {sample.run}: its classes are the strata, and "
        "weigh by their area there (Stehman 2014). All numbers are of the land that both maps cover"
    ]


def format_proportion(proportion: Proportion) -> str:
    """Format a share with its exact 95 % interval, "95.0 % (83.1–99.4)", or a dash."""
    if proportion.share is None:
        return "–"
    low, high = proportion.interval
    return f"{100 * proportion.share:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def format_estimate(estimate: Estimate | None) -> str:
    """Format a share with its 95 % interval, "87.3 ± 2.1 %", or a dash for None."""
    if estimate is None:
        return "–"
    return f"{100 * estimate.value:.1f} ± {100 * estimate.half_width:.1f} %"
