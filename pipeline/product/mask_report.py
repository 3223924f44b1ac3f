"""What to say of the pixels that a mask, the classes of another run, leaves out."""

from collections.abc import Sequence

from pipeline.product.cell_report import CellReport, MaskedCounts


def masked_total(reports: Sequence[CellReport]) -> MaskedCounts | None:
    """The pixels of all cells that the mask leaves out; None where the run has no mask."""
    counts = [report.masked for report in reports if report.masked is not None]
    if not counts:
        return None
    return MaskedCounts(sum(each.outside for each in counts), sum(each.lacking for each in counts))


def outside_sentence(total: MaskedCounts, mask: str) -> str:
    """How much lies outside the mask, "runs/cover=cropland"."""
    return f"Outside the mask ({mask}) are {total.outside:,} pixels: they are nodata"


def lacking_sentence(total: MaskedCounts) -> str | None:
    """How much the mask's run has not mapped; None where that is nothing."""
    if not total.lacking:
        return None
    return (
        f"{total.lacking:,} pixels are nodata because the run that is the mask has no class there: "
        "it is of less land, or has gaps"
    )
