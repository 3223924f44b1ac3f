"""The Dask graph of a cell, from its items to its committed files.

A month without observations is filled by the median of all the year's dates, so a task reads
one band's whole year in one source block rather than one month of every band. That is about
130 MB at 60 dates, whatever the cell's size; each source block is decoded once; and bands of
20 m are composited at 20 m. Geometric medians need all bands of a date at once: there a task
reads a month in a block of 2048 pixels, and gaps are filled from the months. Tasks are plain
functions from arrays to arrays, so that workers with and without a GPU can share a cell.
"""

from collections.abc import Sequence
from dataclasses import replace

import dask
from dask.delayed import Delayed, delayed

from models.encoder.preprocessing import MONTHS
from pipeline.catalog.item import Item
from pipeline.clusters.groups import ENCODES, READS
from pipeline.grid.cell_blocks import Block, block_windows
from pipeline.grid.cells import PIXEL, SOURCE_BLOCK, Cell, region_near
from pipeline.mapping.cell_mask import masked_counts, masked_pixels, wanted_pixels
from pipeline.mapping.cell_rasters import cell_rasters, joint_counts
from pipeline.mapping.encode_block import BlockMap, map_block
from pipeline.mapping.land_mask import MaskedPixels
from pipeline.mapping.reclassify_cell import reclassify_cell
from pipeline.mapping.run import Run
from pipeline.observations.clear_mask import ClearMask
from pipeline.observations.cube import band_resolution, reaching, substituted
from pipeline.observations.read_band import read_clear, read_series
from pipeline.observations.read_month import read_month, series_of_months
from pipeline.observations.true_colour import cell_true_colour
from pipeline.product.cell_commit import commit_cell
from pipeline.product.cell_report import CellReport, CellResult
from pipeline.product.layers import TRUE_COLOUR
from pipeline.raster.read_stats import ReadStats, total_stats

LONG_TASKS = ("read_clear", "read_series", "read_month", "map_block")
"""The functions in whose tasks a cell's time goes; Dask's keys of tasks begin with these names."""

_STRIP = 256  # rows


def cell_graph(
    cell: Cell, items: Sequence[Item], run: Run, *, gpu: bool = False, readers: bool = False
) -> Delayed:
    """Build the lazy work of a cell; computing it commits the cell and gives its CellReport.

    Args:
        cell: The cell.
        items: The items of its tile, by time; those that do not reach into the cell are left out.
        run: The run. If it classifies the embeddings of another, nothing is read or encoded.
        gpu: Whether only workers that offer the resource "GPU" encode.
        readers: Whether only workers that offer the resource "CPU" do all else.
    """
    with dask.annotate(**({"resources": {READS: 1}} if readers else {})):
        return _cell_graph(cell, items, run, gpu)


def _cell_graph(cell: Cell, items: Sequence[Item], run: Run, gpu: bool) -> Delayed:
    if run.mask is not None:
        run = replace(run, mask=run.mask.of_cell(cell))
    if run.settings.embeddings is not None:
        return delayed(reclassify_cell)(cell, delayed(run, traverse=False))
    reading = run.reading
    bands, settings = reading.bands, reading.reader
    chosen = tuple(substituted(reaching(items, cell), run.settings.reading.substitute))
    shared_items = delayed(chosen, traverse=False)
    # A continent's outline is left out of what travels to the workers.
    run = replace(run, region=region_near(cell.tile, run.region))
    shared_run = delayed(run, traverse=False)
    clear = delayed(read_clear)(shared_items, cell, reading.masking, settings)
    mask = delayed(masked_pixels)(cell, shared_run)
    owned = delayed(wanted_pixels)(cell, run.region, mask)

    def medians(block: Block, of_20m: bool) -> dict[str, Delayed]:
        return {
            band: delayed(read_series)(shared_items, band, cell, block, clear, settings)
            for band in bands
            if (band_resolution(chosen, band) > PIXEL) == of_20m
        }

    def geometric_medians(block: Block) -> dict[str, Delayed]:
        months = [
            delayed(read_month)(
                shared_items, bands, cell, block, clear, month, settings, reading.optional
            )
            for month in range(MONTHS)
        ]
        series = delayed(series_of_months, nout=len(bands))(*months, optional=reading.optional)
        return dict(zip(bands, series, strict=True))

    around = {
        block: geometric_medians(block) if reading.geometric else medians(block, True)
        for block in block_windows(cell, 2 * SOURCE_BLOCK)
    }
    maps = []
    for block in block_windows(cell, SOURCE_BLOCK):
        outer, coarse = next((b, parts) for b, parts in around.items() if _contains(b, block))
        fine = {} if reading.geometric else medians(block, False)
        parts = [fine.get(band, coarse.get(band)) for band in bands]
        places = [block if band in fine else outer for band in bands]
        with dask.annotate(**({"resources": {ENCODES: 1}} if gpu else {})):
            # Each part is an argument of its own: the parts of a list would be annotated, too.
            maps += [
                delayed(map_block)(piece, places, owned, cell, shared_run, *parts)
                for piece in ([block] if gpu else _strips(block))
            ]
    return delayed(commit)(cell, shared_run, clear, mask, *maps)


def commit(
    cell: Cell, run: Run, clear: ClearMask, mask: MaskedPixels | None, *maps: BlockMap
) -> CellReport:
    """Assemble the blocks and write the cell's files, its item last."""
    read: dict[str, ReadStats] = {}
    for part in maps:
        read |= part.read
    rasters = cell_rasters(
        run, cell, ((part.block, part.rasters) for part in maps), clear.monthly_counts
    )
    coloured = [(m.block, m.true_colour) for m in maps if m.true_colour is not None]
    if coloured:
        rasters[TRUE_COLOUR.name] = cell_true_colour(cell, coloured)
    result = CellResult(
        rasters=rasters,
        acquisitions=clear.acquisitions,
        observations=clear.clear_acquisitions,
        stats=total_stats([clear.stats, *read.values(), *(part.stats for part in maps)]),
        invalid_embeddings=sum(part.invalid_embeddings for part in maps),
        embeddings=[part.embeddings for part in maps if part.embeddings is not None],
        other_land=joint_counts(part.other_land for part in maps),
        masked=masked_counts(cell, run.region, mask),
    )
    return commit_cell(run.store, run.manifest, cell, run.vocabulary, result)


def _strips(block: Block) -> list[Block]:
    """Strips of a block, which threads encode in parallel: a small cell is one block."""
    return [
        replace(block, row=row, height=min(_STRIP, block.row + block.height - row))
        for row in range(block.row, block.row + block.height, _STRIP)
    ]


def _contains(outer: Block, inner: Block) -> bool:
    return (
        outer.row <= inner.row < outer.row + outer.height
        and outer.column <= inner.column < outer.column + outer.width
    )
