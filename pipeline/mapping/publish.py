"""The publication of a run: collection, mosaics, styles, QGIS project, preview and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from models.encoder.card import Card
from models.encoder.checkpoint import load_checkpoint
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError
from pipeline.grid.cells import Cell
from pipeline.io.store import Store, public_url
from pipeline.mapping.held_plan import planned_cost, planned_warnings
from pipeline.mapping.plan import Plan
from pipeline.mapping.plan_geojson import read_cells
from pipeline.mapping.run import PreparedRun
from pipeline.product.cell_report import class_hectares
from pipeline.product.committed_cells import finished_items, index_cells, mapped_items
from pipeline.product.cost_report import PlannedCost
from pipeline.product.ledger import read_run, require_held, write_collection
from pipeline.product.manifest import RunManifest, run_vocabulary
from pipeline.product.model_item import write_model
from pipeline.product.mosaic import write_mosaics
from pipeline.product.preview import write_preview
from pipeline.product.publication_record import (
    PublicationRecord,
    content_of,
    record_publication,
)
from pipeline.product.qgis_project import write_project
from pipeline.product.report import Summary, summarise, write_report
from pipeline.product.report_pictures import NO_PICTURES, make_pictures
from pipeline.product.styles import write_styles


@dataclass(frozen=True)
class PublishedRun:
    """What the publication of a run is made from, besides its cells.

    Attributes:
        store: The run's folder.
        manifest: The run in it.
        vocabulary: Its classes.
        card: The card of its checkpoint.
        cells: All its cells.
        warnings: Those of its plan.
        crs: The code of the mosaic's CRS, if the user names one.
        embeddings: The folder and the fingerprint of the run whose embeddings are classified, if
            it is one's.
        cost: What its plan says that it takes.
    """

    store: Store
    manifest: RunManifest
    vocabulary: Vocabulary
    card: Card
    cells: Sequence[Cell]
    warnings: Sequence[str]
    crs: str | None = None
    embeddings: tuple[str, str] | None = None
    cost: PlannedCost | None = None


def published_run(prepared: PreparedRun) -> PublishedRun:
    """A prepared run, to be published."""
    run = prepared.run
    planned = planned_warnings(run.store, run.manifest)
    return PublishedRun(
        store=run.store,
        manifest=run.manifest,
        vocabulary=run.vocabulary,
        card=run.card,
        cells=prepared.cells,
        warnings=prepared.plan.warnings if planned is None else planned,
        crs=run.settings.crs,
        embeddings=_embeddings(run.settings.embeddings, run.source),
        cost=_cost(prepared.plan),
    )


def run_in_folder(folder: str, crs: str | None = None) -> PublishedRun:
    """The run in a folder, to be published by what is in the folder and by its checkpoint.

    Args:
        folder: The run's folder.
        crs: The code of the mosaic's CRS; by default as the run's settings have it.

    Raises:
        OutputError: The folder holds no run, files of its plan are gone or changed, or its
            checkpoint is another one now.
        CheckpointError: Its checkpoint is gone or damaged.
    """
    store = Store(folder).once_opened()
    manifest = read_run(store)
    settings = manifest.settings
    checkpoint = load_checkpoint(str(settings.get("checkpoint")))
    name = f"{checkpoint.card.name} {checkpoint.fingerprint[:12]}"
    if name != manifest.parts.get("checkpoint"):
        raise OutputError(
            public_url(store.root),
            f"it was mapped with checkpoint {manifest.parts.get('checkpoint')}, and "
            f"{settings.get('checkpoint')} is {name} now",
            "Put the run's own checkpoint where it was",
        )
    source = settings.get("embeddings")
    fingerprint = None if source is None else read_run(Store(str(source))).fingerprint
    return PublishedRun(
        store=store,
        manifest=manifest,
        vocabulary=run_vocabulary(store, manifest),
        card=checkpoint.card,
        cells=read_cells(store, manifest),
        warnings=planned_warnings(store, manifest) or (),
        crs=crs or settings.get("crs"),
        embeddings=_embeddings(source, fingerprint),
        cost=planned_cost(store, manifest),
    )


def publish(run: PublishedRun) -> Summary:
    """Write the files of the whole run, from the items of the cells that are finished so far.

    It can be repeated at any time, also while cells are missing. Raises OwnershipLost where the
    folder is no longer the run's, OutputUnwritable where it takes no file.

    Returns:
        The run in numbers.
    """
    store, manifest, vocabulary = run.store, run.manifest, run.vocabulary
    require_held(store, manifest)
    items = index_cells(store, manifest)
    pictures = NO_PICTURES
    if items:
        hectares = class_hectares(items)
        for write in (
            partial(write_model, store, manifest, vocabulary, run.card),
            partial(write_collection, store, manifest, items, vocabulary),
            partial(write_styles, store, manifest, vocabulary),
            partial(write_mosaics, store, manifest, items, vocabulary, run.crs),
            partial(write_project, store, manifest, items, vocabulary, run.crs),
            partial(
                write_preview,
                store,
                manifest,
                vocabulary,
                hectares,
                demonstration=run.card.demonstration,
            ),
        ):
            require_held(store, manifest)  # each reads and computes for a while
            write()
        pictures = make_pictures(store, items, _coloured(run, items))
    summary = _summary(run, items)
    require_held(store, manifest)
    write_report(store, summary, pictures)
    record_publication(store, manifest, content_of(summary, run.crs))
    store.remove_abandoned_parts()  # of workers that were killed
    return summary


def published_summary(run: PublishedRun, record: PublicationRecord | None) -> Summary | None:
    """The run in numbers, if a record says that it is published as it is now."""
    if record is None:
        return None
    summary = _summary(run, mapped_items(run.store, run.manifest))
    return summary if record.content == content_of(summary, run.crs) else None


def shard_summary(prepared: PreparedRun) -> Summary:
    """A start's own cells in numbers, of which nothing is published."""
    run, own = published_run(prepared), {cell.id for cell in prepared.own_cells}
    tiles = sorted({cell.tile.name for cell in prepared.own_cells})
    items = [one for one in mapped_items(run.store, run.manifest, tiles) if one["id"] in own]
    summary = _summary(run, items)
    failures = tuple(failure for failure in summary.failures if failure.cell in own)
    return replace(summary, planned=len(own), failures=failures)


def _summary(run: PublishedRun, items: Sequence[Mapping[str, Any]]) -> Summary:
    return summarise(
        run.store,
        run.manifest,
        items,
        run.vocabulary,
        run.card,
        len(run.cells),
        run.warnings,
        run.cost,
    )


def _embeddings(folder: object, fingerprint: str | None) -> tuple[str, str] | None:
    return None if folder is None or fingerprint is None else (str(folder), fingerprint)


def _cost(plan: Plan) -> PlannedCost | None:
    if plan.prices is None:
        return None
    return PlannedCost(plan.resources, plan.prices, plan.square_km)


def _coloured(
    run: PublishedRun, items: Sequence[Mapping[str, Any]]
) -> tuple[Store, Sequence[Mapping[str, Any]]] | None:
    """The folder and the items that have the true colours, where they are another run's."""
    if run.embeddings is None:
        return None
    folder, fingerprint = run.embeddings
    source, ids = Store(folder), {item["id"] for item in items}
    return source, [item for item in finished_items(source, fingerprint) if item["id"] in ids]
