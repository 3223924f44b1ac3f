"""The report of a run in a few lines of Markdown, for the artifact in Prefect's interface."""

from models.visible_text import visible_text
from pipeline.product.other_land_report import ADVICE
from pipeline.product.report import (
    LISTED,
    Summary,
    confidence_meaning,
    mask_notes,
    unlike_meaning,
)


def summary_markdown(summary: Summary) -> str:
    """The run in a few lines of Markdown: cells, area by class, failures and their reasons."""
    run, lines = summary.run, []
    lines.append(f"# {markdown_text(summary.vocabulary.title)}, {run.years}\n")
    if summary.card.demonstration:
        lines.append(
            f"**Checkpoint “{markdown_text(summary.card.name)}” is for demonstration only.**\n"
        )
    lines.append(
        f"{len(summary.reports)} of {summary.planned} cells done, {len(summary.failures)} failed, "
        f"{summary.left} left; {len(summary.faults)} rasters left out as unreadable; "
        f"{summary.hectares:,.0f} ha mapped.\n"
    )
    if summary.cost is not None:
        lines.append(f"{markdown_text(summary.cost.sentence)}.\n")
    lines += [f"- {markdown_text(warning)}" for warning in summary.warnings]
    if summary.warnings:
        lines.append("")
    if summary.invalid_embeddings:
        lines.append(
            f"**{summary.invalid_embeddings:,} pixels are nodata because their embedding is not a "
            "number.**\n"
        )
    lines += [f"{markdown_text(note)}.\n" for note in mask_notes(summary)]
    if summary.examples is not None:
        lines.append(f"{markdown_text(summary.examples.summary)}\n")
    lines.append(
        "| class | hectares | share | confidence | below 50 % |\n|---|---:|---:|---:|---:|"
    )
    lines += [
        f"| {markdown_text(area.name)} | {area.hectares:,.1f} | {area.share:.1f} % | "
        f"{_percent(area.confidence)} | {_percent(area.little)} |"
        for area in summary.areas
    ]
    lines.append(f"\n{markdown_text(confidence_meaning(summary.calibration))}")
    if (unlike := unlike_meaning(summary.unlike_training)) is not None:
        lines.append(f"\n{unlike}")
    if summary.other_land:
        lines.append(f"\n{ADVICE}\n")
        lines += [f"- {markdown_text(str(one))}" for one in summary.other_land]
    if summary.failures:
        lines.append("\n| failed cell | why |\n|---|---|")
        lines += [
            f"| {failure.cell} | {markdown_text(failure.error)} |"
            for failure in summary.failures[:LISTED]
        ]
    lines.append(f"\n{markdown_text(run.attribution)}.")
    return "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    return "not counted" if share is None else f"{share:.0f} %"


def markdown_text(text: str) -> str:
    """Text that Markdown and HTML show as it is, in one line."""
    text = visible_text(text)
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(sign, shown)
    return " ".join(text.split())
