"""The publication of a run: collection, mosaic, styles, preview and report."""

from pipeline.mapping.prepare import PreparedRun
from pipeline.product.cell_report import class_hectares
from pipeline.product.ledger import finished_items, write_collection
from pipeline.product.mosaic import write_mosaics
from pipeline.product.preview import write_preview
from pipeline.product.qgis_styles import write_styles
from pipeline.product.report import Summary, summarise, write_report


def publish(prepared: PreparedRun) -> Summary:
    """Write the files of the whole run, from the items of the cells that are finished so far.

    It can be repeated at any time, also while cells are missing. Raises OutputUnwritable.

    Returns:
        The run in numbers.
    """
    run = prepared.run
    items = finished_items(run.store, run.manifest.fingerprint)
    if items:
        write_collection(run.store, run.manifest, items, run.vocabulary)
        write_styles(run.store, run.manifest, run.vocabulary)
        write_mosaics(run.store, run.manifest, items, run.vocabulary)
        write_preview(
            run.store,
            run.manifest,
            run.vocabulary,
            class_hectares(items),
            demonstration=run.card.demonstration,
        )
    summary = summarise(
        run.store, run.manifest, items, run.vocabulary, run.card, len(prepared.cells)
    )
    write_report(run.store, summary)
    return summary
