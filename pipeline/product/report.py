"""The report of a run for people: `report.html`, and a short form in Markdown."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from models.encoder.card import Card
from models.encoder.vocabulary_calibration import VocabularyCalibration
from models.visible_text import visible_lines, visible_text
from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.fingerprint import leaves
from pipeline.io.store import Store, public_url
from pipeline.layout import PREVIEW, REPORT
from pipeline.product.cell_report import CellReport, class_hectares
from pipeline.product.example_report import ExampleReport, read_example_report
from pipeline.product.layers import CELL_LAYERS, CLASS, UNLIKE_TRAINING
from pipeline.product.ledger import FailedCell, failed_cells
from pipeline.product.manifest import RunManifest
from pipeline.product.other_land_report import ADVICE, OtherLandShare, other_land_shares
from pipeline.raster.read_stats import total_stats

LISTED = 200
"""The most failures and faults that are listed; of more, only the number is stated."""
_EXAMPLE, _TOLD = 0.8, 20  # the confidence that is explained, by no fewer points than this


@dataclass(frozen=True)
class ClassArea:
    """A class, its area on the ellipsoid, and its share of the mapped area in percent."""

    name: str
    code: str | None
    value: int
    colour: str
    hectares: float
    share: float


@dataclass(frozen=True)
class Summary:
    """A run in numbers; `planned` is the number of all its cells."""

    run: RunManifest
    vocabulary: Vocabulary
    card: Card
    planned: int
    reports: tuple[CellReport, ...]
    failures: tuple[FailedCell, ...]
    areas: tuple[ClassArea, ...]
    examples: ExampleReport | None = None

    @property
    def left(self) -> int:
        """The number of cells that are neither done nor failed."""
        return max(0, self.planned - len(self.reports) - len(self.failures))

    @property
    def hectares(self) -> float:
        """The mapped area."""
        return sum(area.hectares for area in self.areas)

    @property
    def mean_confidence(self) -> float | None:
        """Mean over all pixels that have a class, in percent; None where there is none."""
        weights = [(r.mean_confidence, sum(r.pixels.values())) for r in self.reports]
        total = sum(count for _, count in weights)
        return sum((mean or 0.0) * count for mean, count in weights) / total if total else None

    @property
    def unlike_training(self) -> float | None:
        """Percent of the mapped pixels that are unlike the training; None if it is not mapped."""
        counts = [r.unlike_training for r in self.reports if r.unlike_training is not None]
        total = sum(sum(r.pixels.values()) for r in self.reports)
        return 100 * sum(counts) / total if counts and total else None

    @property
    def other_land(self) -> tuple[OtherLandShare, ...]:
        """The classes of which much is nearer to other land than to any word of the map."""
        return other_land_shares(self.reports, self.vocabulary.legend)

    @property
    def calibration(self) -> VocabularyCalibration | None:
        """The calibration of the confidence, if the checkpoint's card has one for the classes.

        It does not hold where examples have changed the logits.
        """
        if self.examples is not None and self.examples.weight:
            return None
        steps = int(self.run.settings.get("steps", 12))
        return self.card.calibration_of(self.vocabulary.identity, steps)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Time by stage over all cells, in seconds of the workers."""
        return total_stats(report.stats for report in self.reports).seconds

    @property
    def invalid_embeddings(self) -> int:
        """Pixels that are nodata because the encoder gave no number for them."""
        return sum(report.invalid_embeddings for report in self.reports)

    @property
    def faults(self) -> list[Mapping[str, str]]:
        """The rasters that were left out, each with its cell."""
        return [
            {"cell": report.cell, **asdict(fault)}
            for report in self.reports
            for fault in report.stats.faults
        ]


def summarise(
    store: Store,
    run: RunManifest,
    items: Sequence[Mapping[str, Any]],
    vocabulary: Vocabulary,
    card: Card,
    planned: int,
) -> Summary:
    """Sum up a run, from the items of its finished cells and the failures in its folder.

    `planned` is the number of all its cells.
    """
    hectares = class_hectares(items)
    total = sum(hectares.values()) or 1.0
    areas = [
        ClassArea(
            name=entry.name,
            code=entry.code,
            value=entry.value,
            colour=entry.colour,
            hectares=hectares.get(entry.value, 0.0),
            share=100 * hectares.get(entry.value, 0.0) / total,
        )
        for entry in vocabulary.legend
    ]
    return Summary(
        run=run,
        vocabulary=vocabulary,
        card=card,
        planned=planned,
        reports=tuple(CellReport.from_item(item) for item in items),
        failures=tuple(failed_cells(store, run).values()),
        areas=tuple(sorted(areas, key=lambda area: -area.hectares)),
        examples=read_example_report(store, run.fingerprint),
    )


def write_report(store: Store, summary: Summary) -> None:
    """Write `report.html`: one file without scripts, with the preview in it if there is one."""
    preview = store.read(PREVIEW) if store.exists(PREVIEW) else None
    store.write(REPORT, report_html(summary, preview, store).encode())


def report_html(summary: Summary, preview: bytes | None, store: Store) -> str:
    """The report as an HTML page; `preview` is a PNG."""
    environment = Environment(
        loader=PackageLoader("pipeline.product", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_safe,
    )
    mosaic = store.gdal_path(CLASS.mosaic_file)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        run=summary.run,
        card=summary.card,
        examples=summary.examples,
        faults=summary.faults,
        seconds=summary.seconds,
        settings=_setting_rows(summary.run.settings),
        listed=LISTED,
        meaning=confidence_meaning(summary.calibration),
        preview=base64.b64encode(preview).decode() if preview else None,
        mosaic=public_url(mosaic),
        mosaics=[
            layer
            for layer in CELL_LAYERS
            if layer.mosaic and layer.written(summary.run) and layer is not CLASS
        ],
        other_land=summary.other_land,
        advice=ADVICE,
        unlike=unlike_meaning(summary.unlike_training),
        invalid_embeddings=summary.invalid_embeddings,
        remote=store.is_remote,
    )


def confidence_meaning(calibration: VocabularyCalibration | None) -> str:
    """What the confidence of a map means, in a sentence or two."""
    enough = [one for one in calibration.reliability if one.points >= _TOLD] if calibration else []
    if calibration is None or not enough:
        return (
            "The confidence is not calibrated for these classes: use it to compare pixels, not as "
            "a probability."
        )
    near = min(enough, key=lambda one: abs(one.confidence - _EXAMPLE))
    return (
        f"Of {near.points:,} held-out points with a confidence near {near.confidence:.0%}, "
        f"{near.accuracy:.0%} were right. Confidence and share of right points differ by "
        f"{100 * calibration.ece_after:.1f} percentage points on average (calibrated on "
        f"{calibration.points:,} points of the {calibration.data}). This holds on land like that "
        "of these points."
    ).replace("%", " %")


def unlike_meaning(percent: float | None) -> str | None:
    """What the share of pixels that are unlike the training means; None where it is not mapped."""
    if percent is None:
        return None
    return (
        f"{percent:.1f} % of the mapped pixels lie outside of what the checkpoint was trained on "
        f"(over 100 % in {UNLIKE_TRAINING.mosaic_file}): do not trust the map there. Of land like "
        "that of its training it would be 5 %. A pixel within is not for that reason right: the "
        "encoder places some land that it has never seen among land that it knows."
    )


def summary_markdown(summary: Summary) -> str:
    """The run in a few lines of Markdown: cells, area by class, failures and their reasons."""
    run, lines = summary.run, []
    lines.append(f"# {_plain(summary.vocabulary.title)}, {run.years}\n")
    if summary.card.demonstration:
        lines.append(f"**Checkpoint “{_plain(summary.card.name)}” is for demonstration only.**\n")
    lines.append(
        f"{len(summary.reports)} of {summary.planned} cells done, {len(summary.failures)} failed, "
        f"{summary.left} left; {len(summary.faults)} rasters left out as unreadable; "
        f"{summary.hectares:,.0f} ha mapped.\n"
    )
    if summary.invalid_embeddings:
        lines.append(
            f"**{summary.invalid_embeddings:,} pixels are nodata because their embedding is not a "
            "number.**\n"
        )
    if summary.examples is not None:
        lines.append(f"{_plain(summary.examples.summary)}\n")
    lines.append("| class | hectares | share |\n|---|---:|---:|")
    lines += [
        f"| {_plain(area.name)} | {area.hectares:,.1f} | {area.share:.1f} % |"
        for area in summary.areas
    ]
    lines.append(f"\n{_plain(confidence_meaning(summary.calibration))}")
    if (unlike := unlike_meaning(summary.unlike_training)) is not None:
        lines.append(f"\n{unlike}")
    if summary.other_land:
        lines.append(f"\n{ADVICE}\n")
        lines += [f"- {_plain(str(one))}" for one in summary.other_land]
    if summary.failures:
        lines.append("\n| failed cell | why |\n|---|---|")
        lines += [
            f"| {failure.cell} | {_plain(failure.error)} |" for failure in summary.failures[:LISTED]
        ]
    lines.append(f"\n{_plain(run.attribution)}.")
    return "\n".join(lines) + "\n"


def _safe(value: Any) -> Any:
    """What a template shows, without control characters; markup of our own stays markup."""
    return visible_lines(value) if type(value) is str else value


def _plain(text: str) -> str:
    """Text that Markdown and HTML show as it is, in one line."""
    text = visible_text(text)
    for sign, shown in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|")):
        text = text.replace(sign, shown)
    return " ".join(text.split())


def _setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Dotted names and values of the settings that are set."""
    return [
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in leaves(settings)
        if value not in (None, {}, [])
    ]
