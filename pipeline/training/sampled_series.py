"""Series of pixels drawn at random: from the land of a mapping run, or from a file."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from models.encoder.card import Card
from models.errors import UserError
from pipeline.catalog.description import describe_catalog
from pipeline.catalog.item import Item
from pipeline.catalog.item_snapshot import read_snapshot
from pipeline.catalog.normalise import require_bands
from pipeline.errors import OutputError
from pipeline.grid.cells import SOURCE_BLOCK, Cell, cells_of, owned_pixels, tiles_of
from pipeline.grid.region import Region, read_region
from pipeline.io.store import Store, public_url
from pipeline.layout import ITEMS_FILE
from pipeline.observations.clear_mask import ClearMask
from pipeline.observations.cube import Block, block_windows, reaching, substituted
from pipeline.observations.monthly_median import MONTHS
from pipeline.observations.read_band import BandSeries, read_clear, read_series
from pipeline.observations.read_month import read_month, series_of_months
from pipeline.observations.reading import Reading, reading_of
from pipeline.observations.series_block import SeriesBlock
from pipeline.product.ledger import read_run
from pipeline.settings.map import MapSettings, make_settings

_STRIPS = 5  # that a single block is cut into, so that there are places apart
_HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class DrawnSeries:
    """Series uint16 (n, 12, band), in a checkpoint's order of bands, and where they come from.

    `place` is int64 (n,): pixels of two places lie apart. `source` says it in words.
    """

    series: np.ndarray
    place: np.ndarray
    source: str

    def parted(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The series to learn from and those held out: about a fifth of the places, whole.

        Raises UserError where all lie in one place.
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


def series_of_file(path: Path, card: Card) -> DrawnSeries:
    """The series of a .npy file: uint16 (n, 12, band), in the checkpoint's order of bands.

    Reflectance × 10000 without offset, gaps filled: no zeros. Where they lie is not known: each is
    a place of its own. Raises UserError for anything else.
    """
    wanted = f"uint16 (n, {card.preprocessing.months}, {len(card.preprocessing.bands)})"
    remedy = (
        f"Save reflectance × 10000 by numpy.save: {wanted}: {', '.join(card.preprocessing.bands)}"
    )
    try:
        series = np.load(path, allow_pickle=False)
    except OSError as error:
        raise UserError(
            str(path), f"it cannot be read ({error.strerror or error})", remedy
        ) from None
    except (ValueError, EOFError):
        raise UserError(str(path), "it holds no array of numbers", remedy) from None
    if not isinstance(series, np.ndarray):
        raise UserError(str(path), "it holds several arrays", remedy)
    problem = _problem(series, (card.preprocessing.months, len(card.preprocessing.bands)))
    if problem:
        raise UserError(str(path), problem, remedy)
    return DrawnSeries(series, np.arange(len(series)), f"{len(series)} series of {path.name}")


def draw_series(
    folder: str,
    card: Card,
    count: int,
    blocks: int,
    seed: int,
    progress: Callable[[float], None] | None = None,
) -> DrawnSeries:
    """Series of up to `count` pixels of a run, from `blocks` source blocks of random cells.

    The run was planned or mapped: its region, frozen items and settings of reading say what is
    read, as when it is mapped; bands and scene classes are those of `card`. Nothing is written to
    it. There are fewer where a block has not its share of pixels with a clear observation. Raises
    OutputError where there is no run or no such pixel, CatalogError where the items lack a band of
    the checkpoint, ReadingError.
    """
    source = _source(folder, card)
    share = -(-count // blocks)
    rng = np.random.default_rng([seed, 4])
    drawn: list[np.ndarray] = []
    places: list[np.ndarray] = []
    for block in _blocks(source, blocks, rng):
        rows, columns = np.nonzero(block.valid)
        if not len(rows):
            continue
        chosen = np.sort(rng.choice(len(rows), min(share, len(rows)), replace=False))
        drawn.append(block.series.pixels(rows[chosen], columns[chosen]))
        places.append(rows[chosen] * _STRIPS // len(block.valid))
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
    apart = places if len(drawn) == 1 else [np.full(len(part), i) for i, part in enumerate(drawn)]
    series = np.concatenate(drawn)
    about = (
        f"{len(series)} pixels of {len(drawn)} blocks of run {source.fingerprint[:12]} "
        f"({source.settings.year})"
    )
    return DrawnSeries(series, np.concatenate(apart), about)


@dataclass(frozen=True)
class _Source:
    """A run, as far as reading it goes."""

    settings: MapSettings
    fingerprint: str
    region: Region
    items: Sequence[Item]
    reading: Reading


def _source(folder: str, card: Card) -> _Source:
    store = Store(folder)
    made = read_run(store)
    settings = make_settings(dict(made.settings), public_url(folder))
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    content = store.read(ITEMS_FILE)
    items = read_snapshot(content, public_url(store.path(ITEMS_FILE)), catalog.conventions)
    inputs = card.preprocessing
    require_bands(items, inputs.bands, settings.reading.substitute)
    return _Source(
        settings=settings,
        fingerprint=made.fingerprint,
        region=read_region(settings.region),
        items=substituted(items, settings.reading.substitute),
        reading=reading_of(
            settings.reading, inputs.bands, inputs.scl_keep, catalog.access.access()
        ),
    )


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A block's series, and which of its pixels are to be drawn from: bool (y, x)."""

    series: SeriesBlock
    valid: np.ndarray


def _blocks(source: _Source, blocks: int, rng: np.random.Generator) -> Iterator[_Drawn]:
    """Blocks of cells in random order; of a cell only as many as its region's few cells ask for."""
    cells = [
        cell
        for tile in tiles_of(source.region)
        for cell in cells_of(tile, source.region, source.settings.cell_size)
    ]
    of_each = -(-blocks // max(1, len(cells)))
    for number in rng.permutation(len(cells)):
        cell = cells[number]
        items = reaching([i for i in source.items if i.tile == cell.tile.name], cell)
        windows = block_windows(cell, SOURCE_BLOCK)
        clear = read_clear(items, cell, source.reading.masking, source.reading.reader)
        owned = owned_pixels(cell, source.region)
        for place in islice(rng.permutation(len(windows)), of_each):
            block = windows[place]
            series = _read(source, items, cell, block, clear)
            yield _Drawn(series, series.valid & owned[block.slices()])


def _read(
    source: _Source, items: Sequence[Item], cell: Cell, block: Block, clear: ClearMask
) -> SeriesBlock:
    """A block's series, as `pipeline.mapping.cell_graph` has them made."""
    bands, settings = source.reading.bands, source.reading.reader

    def of_band(band: str) -> BandSeries:
        return read_series(items, band, cell, block, clear, settings)

    parts: Sequence[BandSeries]
    with ThreadPoolExecutor() as pool:
        if source.reading.geometric:
            months = pool.map(
                lambda m: read_month(items, bands, cell, block, clear, m, settings), range(MONTHS)
            )
            parts = series_of_months(*months)
        else:
            parts = list(pool.map(of_band, bands))
    return SeriesBlock(tuple(part.series for part in parts), (block.height, block.width))


def _problem(series: np.ndarray, shape: tuple[int, int]) -> str | None:
    """What is wrong with an array that should be uint16 (n, *shape) without nodata."""
    if series.ndim != 3 or series.shape[1:] != shape or not len(series):
        return f"it is of shape {series.shape}"
    if np.issubdtype(series.dtype, np.floating) and not np.isfinite(series).all():
        return f"it is {series.dtype} and holds NaN or infinity"
    if series.dtype != np.uint16:
        return f"it is {series.dtype}"
    if not series.all():
        empty = int((series == 0).any(axis=(1, 2)).sum())
        return f"{empty} of its series hold zeros, which are no observation"
    return None
