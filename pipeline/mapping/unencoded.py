"""How far readers may run ahead of encoders: the bytes of series that are read and not encoded."""

from collections.abc import Sequence

from models.encoder.preprocessing import MONTHS
from pipeline.catalog.item import Item
from pipeline.clusters.kind import ClusterError
from pipeline.grid.cells import PIXEL, Cell
from pipeline.mapping.run import PreparedRun, Run
from pipeline.observations.cube import band_resolution, substituted

_VALUE = 2  # bytes of a value of a series, uint16


def series_bytes(cell: Cell, items: Sequence[Item], run: Run) -> int:
    """The bytes that a cell's series take on the workers, from reading to encoding.

    Medians are kept at each band's own resolution; geometric ones at 10 m, as months and as series.
    0 where the run reads nothing.
    """
    if run.settings.embeddings is not None:
        return 0
    pixels, reading = cell.height * cell.width, run.reading
    if reading.geometric:
        return 2 * MONTHS * _VALUE * pixels * len(reading.bands)
    items = substituted(items, run.settings.reading.substitute)
    shares = ((PIXEL / band_resolution(items, band)) ** 2 for band in reading.bands)
    return int(MONTHS * _VALUE * pixels * sum(shares))


def require_series_fit(prepared: PreparedRun) -> None:
    """Raise ClusterError where a cell's series have more bytes than the limit of them all."""
    cluster = prepared.run.settings.cluster
    limit = cluster.most_unencoded
    if limit is None or not prepared.cells:
        return
    largest = max(prepared.cells, key=lambda cell: cell.height * cell.width)
    needed = series_bytes(largest, prepared.items_of(largest), prepared.run)
    if needed > limit:
        raise ClusterError(
            f"unencoded_limit = {cluster.unencoded_limit}",
            f"the series of one cell have {needed / 1e6:,.0f} MB",
            "Give more, or a smaller cell_size",
        )
