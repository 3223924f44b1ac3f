"""Sampled series: of random pixels of a mapping run's land, or from a file."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from models.encoder.card import Card
from models.encoder.preprocessing import MONTHS
from models.errors import UserError
from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item import Item
from pipeline.catalog.item_snapshot import read_snapshot
from pipeline.catalog.normalise import require_bands
from pipeline.catalog.origin import access_of
from pipeline.errors import OutputError
from pipeline.grid.cell_blocks import Block, block_windows
from pipeline.grid.cells import SOURCE_BLOCK, Cell, cells_of, owned_pixels, tiles_of
from pipeline.grid.region import read_region
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE
from pipeline.observations.clear_mask import ClearMask
from pipeline.observations.cube import reaching, substituted
from pipeline.observations.read_band import BandSeries, read_clear, read_series
from pipeline.observations.read_month import read_month, series_of_months
from pipeline.observations.reading import Reading, reading_of
from pipeline.observations.series_block import SeriesBlock
from pipeline.product.ledger import read_run
from pipeline.product.manifest import RunManifest, read_planned
from pipeline.settings.map import MapSettings, make_settings

_STRIPS = 5  # of a single block, so that there are several places
_HELD_OUT = 0.2  # share of the places


@dataclass(frozen=True, eq=False)
class SampledSeries:
    """Series in a checkpoint's order of bands.

    Attributes:
        series: uint16 (n, 12, band).
        place: int64 (n,), equal for pixels that lie together.
        source: Where they come from, in words.
    """

    series: np.ndarray
    place: np.ndarray
    source: str

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The series to learn from, and those held out: all of about a fifth of the places.

        Raises:
            UserError: All lie in one place.
        """
        places = np.unique(self.place)
        if len(places) < 2:
            raise UserError(
                self.source,
                f"its {len(self.series)} series lie in one place, so that none can be held out",
                "Give more series, or a run of a larger region",
            )
        count = min(max(1, round(_HELD_OUT * len(places))), len(places) - 1)
        chosen = np.random.default_rng([seed, 3]).choice(places, count, replace=False)
        held_out = np.isin(self.place, chosen)
        return self.series[~held_out], self.series[held_out]


def series_of_file(path: Path, card: Card) -> SampledSeries:
    """Read series from a .npy file: uint16 (n, 12, band), in the checkpoint's order of bands.

    They are reflectance × 10000 without offset and without gaps: no zeros, but for optional bands
    that a series lacks in all months. Since their places are not known, each counts as a place of
    its own.

    Raises:
        UserError: The file holds anything else.
    """
    months, bands = card.preprocessing.months, card.preprocessing.bands
    series: Any = None
    try:
        # Mapped, so that a header that claims more than the file holds allocates nothing.
        series = np.load(path, mmap_mode="r", allow_pickle=False)
        optional = [band in card.preprocessing.optional_bands for band in bands]
        problem = _problem(series, (months, len(bands)), np.array(optional))
    except OSError as error:
        problem = f"it cannot be read ({error.strerror or error})"
    except (ValueError, EOFError):
        problem = "it holds no array of numbers"
    if problem is not None:
        array = f"uint16 (n, {months}, {len(bands)}): {', '.join(bands)}"
        raise UserError(str(path), problem, f"Save reflectance × 10000 by numpy.save: {array}")
    series = np.array(series)
    return SampledSeries(series, np.arange(len(series)), f"{len(series)} series of {path.name}")


def draw_series(
    folder: str,
    card: Card,
    count: int,
    blocks: int,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> SampledSeries:
    """Draw series of up to `count` pixels of a run, from `blocks` source blocks of random cells.

    The run was planned or mapped. Its region, its snapshot of items and its settings of reading
    apply, as when it is mapped; bands and scene classes are those of `card`. Nothing is written to
    it. There are fewer series where a block has too few pixels with a clear observation.

    Raises:
        OutputError: There is no run, or no such pixel.
        CatalogError: The items lack a band of the checkpoint.
        ReadingError: Items cannot be read.
    """
    store = Store(folder)
    run = read_run(store)
    settings = make_settings(dict(run.settings), public_url(folder))
    rng = np.random.default_rng([seed, 4])
    share = -(-count // blocks)
    drawn: list[np.ndarray] = []
    places: list[np.ndarray] = []
    for series, valid in _read_blocks(store, run, settings, card, blocks, rng):
        rows, columns = np.nonzero(valid)
        if not len(rows):
            continue
        chosen = np.sort(rng.choice(len(rows), min(share, len(rows)), replace=False))
        drawn.append(series.pixels(rows[chosen], columns[chosen]))
        places.append(rows[chosen] * _STRIPS // len(valid))
        if progress is not None:
            progress(len(drawn) / blocks)
        if len(drawn) == blocks:
            break
    if not drawn:
        raise OutputError(
            public_url(folder),
            "no pixel of its region has a clear observation",
            "Name a run of a region and year that the catalogue shows",
        )
    if len(drawn) > 1:
        places = [np.full(len(part), number) for number, part in enumerate(drawn)]
    series_of_all = np.concatenate(drawn)
    source = (
        f"{len(series_of_all)} pixels of {len(drawn)} blocks of run {run.fingerprint[:12]} "
        f"({settings.year})"
    )
    return SampledSeries(series_of_all, np.concatenate(places), source)


def _read_blocks(
    store: Store,
    run: RunManifest,
    settings: MapSettings,
    card: Card,
    blocks: int,
    rng: np.random.Generator,
) -> Iterator[tuple[SeriesBlock, np.ndarray]]:
    """Blocks of a run's cells in random order, and which pixels may be drawn: bool (y, x).

    Each cell gives only as many blocks as are needed if all cells give the same number.
    """
    region = read_region(settings.region)
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    content, inputs = read_planned(store, run, ITEMS_FILE), card.preprocessing
    snapshot = read_snapshot(content, public_url(store.path(ITEMS_FILE)), catalog.conventions)
    optional = inputs.optional_bands
    require_bands(snapshot, inputs.bands, settings.reading.substitute, optional)
    snapshot = substituted(snapshot, settings.reading.substitute)
    access = access_of(catalog, settings.network)
    reading = reading_of(settings.reading, inputs.bands, inputs.scl_keep, access, optional)
    cells = [
        cell for tile in tiles_of(region) for cell in cells_of(tile, region, settings.cell_size)
    ]
    per_cell = -(-blocks // max(1, len(cells)))
    for number in rng.permutation(len(cells)):
        cell = cells[number]
        items = reaching([item for item in snapshot if item.tile == cell.tile.name], cell)
        windows = block_windows(cell, SOURCE_BLOCK)
        clear = read_clear(items, cell, reading.masking, reading.reader)
        owned = owned_pixels(cell, region)
        for place in islice(rng.permutation(len(windows)), per_cell):
            block = windows[place]
            series = _read_block(reading, items, cell, block, clear)
            yield series, series.valid & owned[block.slices()]


def _read_block(
    reading: Reading, items: Sequence[Item], cell: Cell, block: Block, clear: ClearMask
) -> SeriesBlock:
    """Read a block's series by threads, as the Dask tasks of `pipeline.mapping.cell_graph` do."""
    bands, settings = reading.bands, reading.reader
    parts: Iterable[BandSeries]
    with ThreadPoolExecutor() as pool:
        if reading.geometric:
            months = pool.map(
                lambda month: read_month(
                    items, bands, cell, block, clear, month, settings, reading.optional
                ),
                range(MONTHS),
            )
            parts = series_of_months(*months, optional=reading.optional)
        else:
            parts = pool.map(
                lambda band: read_series(items, band, cell, block, clear, settings), bands
            )
        series = tuple(part.series for part in parts)
        return SeriesBlock(series, (block.height, block.width), reading.optional)


def _problem(series: Any, shape: tuple[int, int], optional: np.ndarray) -> str | None:
    """What is wrong with an array that should be uint16 (n, *shape) without nodata.

    `optional` says which bands a series may lack: bool (band,).
    """
    if not isinstance(series, np.ndarray):
        return "it holds several arrays"
    if series.ndim != 3 or series.shape[1:] != shape or not len(series):
        return f"it is of shape {series.shape}"
    if np.issubdtype(series.dtype, np.floating) and not np.isfinite(series).all():
        return f"it is {series.dtype} and holds NaN or infinity"
    if series.dtype != np.uint16:
        return f"it is {series.dtype}"
    empty = series == 0
    empty &= ~(empty.all(axis=1, keepdims=True) & optional)
    if empty.any():
        count = int(empty.any(axis=(1, 2)).sum())
        return f"{count} of its series hold zeros, which are no observation"
    return None
