"""The report on a map's accuracy as files: evaluation.json, report.md, confusion.png."""

from typing import Any

from pipeline.evaluation.area_accuracy import FEWEST, Estimate
from pipeline.evaluation.figures import confusion_figure
from pipeline.evaluation.map_evaluation import MapResults
from pipeline.evaluation.tables import format_share, label_lines, table, write_evaluation_report
from pipeline.io.store import Store

CONFUSION = "confusion.png"
_LISTED = 20


def write_map_report(store: Store, results: MapResults) -> str:
    """Write the report's files to a folder; gives the report, Markdown.

    Raises:
        OutputUnwritable: The folder cannot be written.
    """
    title = f"{results.about['title']}, {results.about['period']}"
    shares = results.accuracy.proportions
    store.write(CONFUSION, confusion_figure(shares, results.names, title, "map", "reference"))
    return write_evaluation_report(store, _lines(results), _numbers(results))


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
            format_estimate(entry.users),
            format_estimate(entry.producers),
            f"{entry.area.value:,.0f} ± {entry.area.half_width:,.0f}",
            f"{entry.mapped:,.0f}",
        ]
        for entry in sorted(shown, key=lambda entry: -entry.area.value)
    ]


def _numbers(results: MapResults) -> dict[str, Any]:
    accuracy = results.accuracy
    return {
        "map": results.about,
        "points": results.points,
        "unknown labels": results.labels.unknown,
        "labels of finer codes": results.labels.finer,
        "overall accuracy": _estimate(accuracy.overall),
        "hectares": accuracy.hectares,
        "classes left out": accuracy.left_out,
        "classes": [
            {
                "name": entry.name,
                "mapped points": entry.mapped_points,
                "reference points": entry.reference_points,
                "user's accuracy": _estimate(entry.users),
                "producer's accuracy": _estimate(entry.producers),
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


def _lines(results: MapResults) -> list[str]:
    about, accuracy, used = results.about, results.accuracy, results.points
    lines = [
        f"# Accuracy of {about['title']}, {about['period']}",
        "",
        f"Overall accuracy **{format_estimate(accuracy.overall)}** of {accuracy.hectares:,.0f} ha, "
        f"by {used.used:,} reference points ({about['points']}, column "
        f"`{about['label']}`). All intervals are of 95 %, after Olofsson et al. 2014: points "
        "weigh as much as the area of the map's class in which they lie. They hold where points "
        "were drawn at random, or on a grid, over the map or within its classes.",
        "",
        "## By class",
        "",
        *table(*class_rows(results)),
        "",
        "*Points*: mapped as the class / of the class by reference. *User's accuracy*: of what is "
        "mapped as it, the share that is of it. *Producer's*: of what is of it, the share that is "
        "mapped as it. *Area*: of the class as the references correct it; *mapped*: as counted on "
        "the map.",
        "",
        "![Confusion by area](confusion.png)",
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


def _points(results: MapResults) -> list[str]:
    used, labels = results.points, results.labels
    reasons = {
        "outside of every finished cell": used.outside,
        "on nodata": used.on_nodata,
        "without a place": used.no_place,
        "without a label": used.no_label,
        "with a label that the vocabulary does not know": used.unknown_label,
        f"in classes of the map with fewer than {FEWEST} points": used.left_out,
    }
    lines = [f"{used.used:,} of {used.given:,} points are used."]
    lines += [f"- {count:,} {reason}" for reason, count in reasons.items() if count]
    lines += label_lines(labels)
    accuracy = results.accuracy
    if accuracy.left_out:
        lost = sum(accuracy.left_out.values())
        listed = ", ".join(f"{k} ({ha:,.0f} ha)" for k, ha in accuracy.left_out.items())
        lines.append(
            f"- {format_share(lost / (lost + accuracy.hectares))} of the map is left out of "
            f"all numbers, since these classes have fewer than {FEWEST} points: {listed}"
        )
    return lines


def format_estimate(estimate: Estimate | None) -> str:
    """Format a share with its 95 % interval, "87.3 ± 2.1 %", or a dash for None."""
    if estimate is None:
        return "–"
    return f"{100 * estimate.value:.1f} ± {100 * estimate.half_width:.1f} %"
