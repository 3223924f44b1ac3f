"""The fitting of a run's labelled examples, before its cells are mapped.

Their embeddings come from the run whose embeddings are classified, or from series that are read at
the points, by the run's own items and settings. They are kept in the run's folder, together with
what was fitted, so that a run that is continued uses the same.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from pyproj import Transformer
from safetensors.numpy import load, save

from models.encoder.checkpoint import load_checkpoint
from models.encoder.inference import PixelEncoder, device_at_hand, on_one_core
from models.encoder.series_months import fill_gaps
from pipeline.classification.examples import ExampleCache, ExampleFit, fit_examples
from pipeline.classification.similarity import embeddings_at, open_embedded_run
from pipeline.errors import OutputError
from pipeline.grid.blocks import blocks_of, nearest_km, on_sphere
from pipeline.grid.cells import Cell, owned_pixels
from pipeline.io.store import public_url
from pipeline.layout import EXAMPLES_FILE, EXAMPLES_REPORT
from pipeline.mapping.example_points import ExamplePoints
from pipeline.mapping.run import PreparedRun, Run
from pipeline.observations.series_block import SeriesBlock, batches_of
from pipeline.point_series.point_file import PointsError
from pipeline.point_series.read_points import read_point_series
from pipeline.product.committed_cells import finished_ids
from pipeline.product.example_report import ExampleReport, read_example_report
from pipeline.product.ledger import require_held
from pipeline.product.manifest import sha256

_PLACES = 2000  # of the map, to which the distance of the examples is measured
_LEAST_KM = 0.25  # examples within a field are copies of one another


def fitted_run(prepared: PreparedRun) -> PreparedRun:
    """The run with what its examples add to the words; without examples, the run as it is.

    A run that is continued takes what is in its folder.

    Raises:
        PointsError: No example has an embedding.
        OutputError: The run whose embeddings are classified kept none, or its files are damaged.
        ReadingError: A raster at the examples cannot be read.
        OutputUnwritable: The folder takes no file.
    """
    points, run = prepared.points, prepared.run
    if points is None or run.examples is not None:
        return prepared
    return replace(prepared, run=replace(run, examples=_stored_fit(run) or _fit(prepared, points)))


def _fit(prepared: PreparedRun, points: ExamplePoints) -> ExampleFit:
    run = prepared.run
    if run.settings.embeddings is not None:
        embeddings, inside = embeddings_at(
            open_embedded_run(run.settings.embeddings), points.places
        )
    else:
        embeddings, inside = _read_embeddings(prepared, points)
    valid = embeddings.any(axis=1)
    if not valid.any():
        raise PointsError(
            str(run.settings.examples),
            f"none of its {len(points)} points in the region has an embedding "
            f"({int((~inside).sum())} lie in no cell of the run, {int((inside & ~valid).sum())} on "
            "nodata)",
            "Give points where there are clear observations",
        )
    classes, vectors = torch.from_numpy(points.classes[valid]), torch.from_numpy(embeddings[valid])
    lon, lat = points.places.lon[valid], points.places.lat[valid]
    block_km = _block_km(prepared.cells, lon, lat)
    blocks = torch.from_numpy(blocks_of(lon, lat, block_km))
    words = run.words(torch.device("cpu")).logits(vectors, 0, len(run.vocabulary.classes))
    with on_one_core():
        fit = fit_examples(vectors, classes, blocks, words)
    counts = np.bincount(points.classes[valid], minlength=len(run.vocabulary.classes))
    report = ExampleReport(
        fingerprint=run.manifest.fingerprint,
        label=points.label,
        by_class={
            entry.name: int(count)
            for entry, count in zip(run.vocabulary.classes, counts, strict=True)
        },
        given=points.given,
        unlabelled=points.unlabelled,
        outside=points.outside + int((~inside).sum()),
        on_nodata=int((inside & ~valid).sum()),
        weight=fit.weight,
        sharpness=fit.sharpness,
        block_km=block_km,
        judged=fit.judged,
        words_accuracy=fit.words_accuracy,
        accuracy=fit.accuracy,
    )
    content = _fit_bytes(fit, embeddings[valid], points.classes[valid], lon, lat)
    require_held(run.store, run.manifest)
    run.store.write(EXAMPLES_FILE, content)
    replace(report, sha256=sha256(content)).write(run.store)
    return fit


def _read_embeddings(prepared: PreparedRun, points: ExamplePoints) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of the points from series that are read cell by cell, as `embeddings_at`."""
    run = prepared.run
    encoder = PixelEncoder(load_checkpoint(run.checkpoint), device_at_hand())
    found = np.zeros((len(points), run.card.architecture.embedding_dim), np.float32)
    inside = np.zeros(len(points), bool)
    for cell in prepared.cells:
        numbers, rows, columns = points.places.in_grid(cell.epsg, cell.transform, cell.shape)
        if len(numbers):
            owned = owned_pixels(cell, run.region)[rows, columns]
            numbers, rows, columns = numbers[owned], rows[owned], columns[owned]
        if not len(numbers):
            continue
        inside[numbers] = True
        read = read_point_series(cell, rows, columns, prepared.items_of(cell), run.reading)
        _embed(read.series, run, encoder, found, numbers)
    return found, inside


def _embed(
    series: np.ndarray, run: Run, encoder: PixelEncoder, found: np.ndarray, numbers: np.ndarray
) -> None:
    """Put the embeddings of series uint16 (n, 12, band) into the rows `numbers` of `found`."""
    whole = np.rint(fill_gaps(torch.from_numpy(series.astype(np.float32))).numpy())
    bands = whole.astype(np.uint16).transpose(2, 1, 0)[:, :, None]  # a block of one row
    block = SeriesBlock(tuple(bands), (1, len(series)), run.reading.optional)
    every = np.ones(block.shape, bool)
    for _, columns, pixels in batches_of(block, every, encoder.batch_size):
        found[numbers[columns]] = encoder.embed(pixels, run.settings.steps).cpu().numpy()
    found[~np.isfinite(found).all(axis=1)] = 0


def _block_km(cells: Sequence[Cell], lon: np.ndarray, lat: np.ndarray) -> float:
    """The side of the blocks that are left out together, in km.

    It is the median distance from places of the map to their nearest example: examples are judged
    from as far as the map will use them (after Milà et al. 2022, doi 10.1111/2041-210X.13851).
    """
    side = max(1, round((_PLACES / len(cells)) ** 0.5))
    step = (np.arange(side) + 0.5) / side
    places = []
    for cell in cells[:: max(1, len(cells) // _PLACES)]:
        left, bottom, right, top = cell.bounds
        x, y = np.meshgrid(left + step * (right - left), bottom + step * (top - bottom))
        to_degrees = Transformer.from_crs(cell.epsg, 4326, always_xy=True)
        places.append(on_sphere(*to_degrees.transform(x.ravel(), y.ravel())))
    ways = nearest_km(np.concatenate(places), on_sphere(lon, lat))
    return max(_LEAST_KM, float(np.median(ways)))


def _fit_bytes(
    fit: ExampleFit,
    embeddings: np.ndarray,
    classes: np.ndarray,
    lon: np.ndarray,
    lat: np.ndarray,
) -> bytes:
    tensors = {"embeddings": embeddings, "classes": classes, "lon": lon, "lat": lat}
    if fit.cache is not None:
        tensors["values"] = fit.cache.values.numpy()
    return save(tensors)


def _stored_fit(run: Run) -> ExampleFit | None:
    """What was fitted before, in the run's folder; None where nothing is, and no cell is finished.

    Raises OutputError where cells were made with what is gone or changed.
    """
    store, fingerprint = run.store, run.manifest.fingerprint
    report = read_example_report(store, fingerprint)
    content = store.read(EXAMPLES_FILE) if store.exists(EXAMPLES_FILE) else b""
    if report is None or not content or report.sha256 not in ("", sha256(content)):
        if finished_ids(store, fingerprint):
            raise OutputError(
                public_url(store.path(EXAMPLES_FILE)),
                "it is not what was fitted to the run's examples, and finished cells were made "
                "with that",
                f"Put the run's own {EXAMPLES_FILE} and {EXAMPLES_REPORT} back, or map into "
                "another folder",
            )
        return None
    cache = None
    if report.weight:
        tensors = load(content)
        embeddings, values = (torch.from_numpy(tensors[k]) for k in ("embeddings", "values"))
        cache = ExampleCache(embeddings, values, report.sharpness)
    return ExampleFit(
        cache=cache,
        weight=report.weight,
        sharpness=report.sharpness,
        judged=report.judged,
        words_accuracy=report.words_accuracy,
        accuracy=report.accuracy,
    )
