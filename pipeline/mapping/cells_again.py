"""Cells of a run that are finished, and are mapped once more: for what they lack."""

from dataclasses import replace

from pipeline.errors import OutputError
from pipeline.io.store import public_url
from pipeline.mapping.run import PreparedRun
from pipeline.product.ledger import finished_cells, mapped_items
from pipeline.settings.map import MapSettings

_OUTPUTS = {
    "keep_embeddings": "embeddings",
    "top_k": "the next best classes",
    "unlike_training": "how unlike the training their pixels are",
}


def lacking_rasters(prepared: PreparedRun) -> PreparedRun:
    """The run, with its finished cells that rasters were left out of to be mapped once more.

    Raises OutputError for a run that classifies the embeddings of another.
    """
    run = prepared.run
    if run.settings.embeddings is not None:
        raise OutputError(
            public_url(run.store.root),
            "it classifies the embeddings of another run, and reads no rasters",
            f"Rerun {public_url(run.settings.embeddings)}, then classify again",
        )
    reports = finished_cells(run.store, run.manifest.fingerprint)
    return replace(prepared, again=frozenset(c for c, one in reports.items() if one.stats.faults))


def made_again(prepared: PreparedRun) -> list[str]:
    """What the user should know of cells that are mapped once more, in sentences."""
    run, notes = prepared.run, []
    if prepared.again:
        notes.append(
            f"{_counted(len(prepared.again))} once more, since rasters were left out; a cell that "
            "would lack more of them than now stays as it is"
        )
    if run.manifest.extends:
        finished = finished_cells(run.store, run.manifest.fingerprint)
        former = [one for one in mapped_items(run.store, run.manifest) if one["id"] not in finished]
        if former:
            written = [
                text
                for name, text in _OUTPUTS.items()
                if getattr(run.settings, name) != MapSettings.model_fields[name].default
            ]
            notes.append(
                f"{_counted(len(former))} once more, to write {' and '.join(written)}, too; their "
                "classes stay the same"
            )
    return notes


def _counted(cells: int) -> str:
    return "1 finished cell is mapped" if cells == 1 else f"{cells} finished cells are mapped"
