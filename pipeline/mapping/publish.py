"""The publication of a run: collection, mosaic, styles, preview and report."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pipeline.io.store import Store
from pipeline.mapping.held_plan import planned_warnings
from pipeline.mapping.run import PreparedRun, Run
from pipeline.product.cell_report import class_hectares
from pipeline.product.ledger import (
    finished_items,
    mapped_items,
    require_held,
    write_collection,
)
from pipeline.product.mosaic import write_mosaics
from pipeline.product.preview import write_preview
from pipeline.product.publication_record import (
    PublicationRecord,
    content_of,
    record_publication,
)
from pipeline.product.qgis_styles import write_styles
from pipeline.product.report import Summary, summarise, write_report
from pipeline.product.report_pictures import NO_PICTURES, make_pictures


def publish(prepared: PreparedRun) -> Summary:
    """Write the files of the whole run, from the items of the cells that are finished so far.

    It can be repeated at any time, also while cells are missing. Raises OwnershipLost where the
    folder is no longer the run's, OutputUnwritable where it takes no file.

    Returns:
        The run in numbers.
    """
    run = prepared.run
    store, manifest, vocabulary = run.store, run.manifest, run.vocabulary
    require_held(store, manifest)
    items = mapped_items(store, manifest)
    pictures = NO_PICTURES
    if items:
        hectares = class_hectares(items)
        for write in (
            partial(write_collection, store, manifest, items, vocabulary),
            partial(write_styles, store, manifest, vocabulary),
            partial(write_mosaics, store, manifest, items, vocabulary, run.settings.crs),
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
    summary = _summary(prepared, items)
    require_held(store, manifest)
    write_report(store, summary, pictures)
    record_publication(store, manifest, content_of(summary, run.settings.crs))
    store.remove_abandoned_parts()  # of workers that were killed
    return summary


def published_summary(prepared: PreparedRun, record: PublicationRecord | None) -> Summary | None:
    """The run in numbers, if a record says that it is published as it is now."""
    if record is None:
        return None
    run = prepared.run
    summary = _summary(prepared, mapped_items(run.store, run.manifest))
    return summary if record.content == content_of(summary, run.settings.crs) else None


def _summary(prepared: PreparedRun, items: Sequence[Mapping[str, Any]]) -> Summary:
    run = prepared.run
    planned = planned_warnings(run.store, run.manifest)
    warnings = prepared.plan.warnings if planned is None else planned
    cells = len(prepared.cells)
    return summarise(run.store, run.manifest, items, run.vocabulary, run.card, cells, warnings)


def _coloured(
    run: Run, items: Sequence[Mapping[str, Any]]
) -> tuple[Store, Sequence[Mapping[str, Any]]] | None:
    """The folder and the items that have the true colours, where they are another run's."""
    if run.settings.embeddings is None or run.source is None:
        return None
    source, ids = Store(str(run.settings.embeddings)), {item["id"] for item in items}
    return source, [item for item in finished_items(source, run.source) if item["id"] in ids]
