"""The report of a run for people: `report.html`."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.encoder.card import Card
from models.encoder.vocabulary_calibration import VocabularyCalibration
from models.vocabulary.vocabulary import Vocabulary
from pipeline.io.fingerprint import leaves
from pipeline.io.html_page import html_page
from pipeline.io.store import Store, public_url
from pipeline.layout import PREVIEW, REPORT
from pipeline.product.cell_report import CellReport, MaskedCounts, class_hectares
from pipeline.product.class_summary import ClassArea, class_areas, little_share
from pipeline.product.cost_report import CostReport, PlannedCost, cost_report
from pipeline.product.example_report import ExampleReport, read_example_report
from pipeline.product.layers import CELL_LAYERS, CLASS, UNLIKE_TRAINING
from pipeline.product.ledger import FailedCell, failed_cells
from pipeline.product.manifest import RunManifest
from pipeline.product.mask_report import lacking_sentence, masked_total, outside_sentence
from pipeline.product.other_land_report import ADVICE, OtherLandShare, other_land_shares
from pipeline.product.report_pictures import NO_PICTURES, ReportPictures, clear_month_colours
from pipeline.raster.read_stats import total_stats

LISTED = 200
"""The most failures and faults that are listed; of more, only the number is stated."""
_EXAMPLE, _TOLD = 0.8, 20  # the confidence that is explained, by no fewer points than this


@dataclass(frozen=True)
class Summary:
    """A run in numbers.

    `planned` is the number of all its cells, `warnings` are its plan's; `cost` is what the finished
    cells took beside its plan.
    """

    run: RunManifest
    vocabulary: Vocabulary
    card: Card
    planned: int
    reports: tuple[CellReport, ...]
    failures: tuple[FailedCell, ...]
    areas: tuple[ClassArea, ...]
    examples: ExampleReport | None = None
    warnings: tuple[str, ...] = ()
    cost: CostReport | None = None

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
    def little_confidence(self) -> float | None:
        """Percent of the pixels whose confidence is below 50 %; None where none was counted."""
        return little_share(self.reports)

    @property
    def counted_cells(self) -> int:
        """The cells whose confidence was counted by class: early versions did not."""
        return sum(report.confidence is not None for report in self.reports)

    @property
    def ranked_cells(self) -> int:
        """The cells whose second ranks were counted."""
        return sum(report.runners_up is not None for report in self.reports)

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
    def masked(self) -> MaskedCounts | None:
        """The pixels that the run's mask leaves out; None without a mask."""
        return masked_total(self.reports)

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
    warnings: Sequence[str] = (),
    planned_cost: PlannedCost | None = None,
) -> Summary:
    """Sum up a run, from the items of its finished cells and the failures in its folder.

    `planned` is the number of all its cells; `warnings` and `planned_cost` are those of its plan.
    """
    reports = tuple(CellReport.from_item(item) for item in items)
    areas = class_areas(vocabulary.legend, class_hectares(items), reports)
    cost = None
    if planned_cost is not None:
        square_km = sum(area.hectares for area in areas) / 100
        stats = total_stats(report.stats for report in reports)
        cost = cost_report(planned_cost, stats, items, square_km)
    return Summary(
        run=run,
        vocabulary=vocabulary,
        card=card,
        planned=planned,
        reports=reports,
        failures=tuple(failed_cells(store, run).values()),
        areas=areas,
        examples=read_example_report(store, run.fingerprint),
        warnings=tuple(warnings),
        cost=cost,
    )


def write_report(store: Store, summary: Summary, pictures: ReportPictures = NO_PICTURES) -> None:
    """Write `report.html`: one file without scripts, with the preview in it if there is one."""
    preview = store.read(PREVIEW) if store.exists(PREVIEW) else None
    store.write(REPORT, report_html(summary, preview, store, pictures).encode())


def report_html(
    summary: Summary, preview: bytes | None, store: Store, pictures: ReportPictures = NO_PICTURES
) -> str:
    """The report as an HTML page; `preview` is a PNG."""
    mosaic = store.gdal_path(CLASS.mosaic_file)
    return html_page(
        "pipeline.product",
        "report.html.j2",
        summary=summary,
        run=summary.run,
        card=summary.card,
        examples=summary.examples,
        faults=summary.faults,
        seconds=summary.seconds,
        settings=_setting_rows(summary.run.settings),
        listed=LISTED,
        meaning=confidence_meaning(summary.calibration),
        preview=_base64(preview),
        true_colour=_base64(pictures.true_colour),
        true_colour_cells=pictures.true_colour_cells,
        clear_months=_base64(pictures.clear_months),
        month_colours=clear_month_colours(),
        mosaic=public_url(mosaic),
        mosaics=[
            layer
            for layer in CELL_LAYERS
            if layer.mosaic
            and layer.written(summary.run)
            and not layer.optional
            and layer is not CLASS
        ],
        other_land=summary.other_land,
        advice=ADVICE,
        mask_notes=mask_notes(summary),
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


def mask_notes(summary: Summary) -> list[str]:
    """What the run's mask leaves out, in sentences; none without a mask."""
    total, mask = summary.masked, str(summary.run.settings.get("mask"))
    if total is None:
        return []
    return [note for note in (outside_sentence(total, mask), lacking_sentence(total)) if note]


def _base64(picture: bytes | None) -> str | None:
    return None if picture is None else base64.b64encode(picture).decode()


def _setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Dotted names and values of the settings that are set."""
    return [
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in leaves(settings)
        if value not in (None, {}, [])
    ]
