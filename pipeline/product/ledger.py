"""The ledger of a run, kept in its folder: the open run, its finished cells and its failures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from models.files.json_text import parse_json
from models.visible_text import visible_text
from models.vocabulary.vocabulary import Vocabulary
from pipeline.errors import OutputError, OwnershipLost
from pipeline.grid.cells import Cell
from pipeline.io.fingerprint import differences
from pipeline.io.store import Store, public_text, public_url
from pipeline.layout import (
    CELLS,
    COLLECTION_FILE,
    EXAMPLES_FILE,
    EXAMPLES_REPORT,
    FAILURES,
    ITEM,
    OWNERS,
    PLANNED,
    RUN,
    cell_key,
    failure_key,
)
from pipeline.product.cell_report import PREFIX
from pipeline.product.example_report import read_example_report
from pipeline.product.manifest import RunManifest, new_manifest
from pipeline.product.stac import collection

ADDED_OUTPUTS = frozenset({"top_k", "keep_embeddings", "unlike_training"})
"""Settings of which a higher value adds to a run's rasters, and changes none of the others."""


@dataclass(frozen=True)
class FailedCell:
    """A cell that failed: `kind` is the error's class, `error` its message without secrets."""

    cell: str
    tile: str
    kind: str
    error: str
    when: str

    @classmethod
    def from_json(cls, content: bytes) -> "FailedCell | None":
        """The failure in a record's bytes; None for a record that is damaged."""
        try:
            failure = cls(**parse_json(content))
            "".join(vars(failure).values()).encode()  # all are texts, without lone surrogates
        except (TypeError, ValueError):
            return None
        return failure


def held_run(store: Store) -> RunManifest | None:
    """The run in a folder, or None if the folder is free for a run.

    Raises OutputError where the folder holds something else, or is a file.
    """
    folder = public_url(store.root)
    if store.is_file():
        raise OutputError(folder, "this is a file, not a folder", "Name a new or an empty folder")
    if store.exists(RUN):
        return read_run(store)
    # A run that was ended while it was planned leaves its plan, and what an earlier plan left.
    keys = list(store.keys(""))
    planned = any(key.startswith(f"{OWNERS}/") for key in keys)
    strange = next(
        (k for k in keys if k.startswith(f"{CELLS}/") or not (planned or k.startswith(PLANNED))),
        None,
    )
    if strange is not None:
        raise OutputError(
            folder,
            f"the folder is not empty and holds no run of timesen (for one, {strange})",
            "Name a new or an empty folder",
        )
    return None


def only_adds(before: Mapping[str, Any], parts: Mapping[str, Any]) -> bool:
    """Whether a run of `parts` has all that the run of `before` has, unchanged, and more.

    Both are parts of fingerprints.
    """
    names = {*before, *parts}
    changed = {name for name in names if before.get(name) != parts.get(name)}
    return len(changed) > 0 and all(
        name in ADDED_OUTPUTS and int(parts.get(name) or 0) > int(before.get(name) or 0)
        for name in changed
    )


def require_replaceable(store: Store, differing: Sequence[str]) -> None:
    """Raise OutputError with the differing settings if a folder's run has begun a cell."""
    if _is_begun(store):
        what = "; ".join(differing) or "what its fingerprint is made of"
        raise OutputError(
            public_url(store.root),
            f"it holds another run, whose results would differ ({what})",
            "Name another folder, or set these back to go on with the run that is there",
        )


def begun_run(store: Store) -> RunManifest | None:
    """The run in a folder if a cell of it is begun; raises OutputError as `held_run`."""
    held = held_run(store)
    return held if held is not None and _is_begun(store) else None


def _is_begun(store: Store) -> bool:
    return next(store.keys(CELLS), None) is not None


def open_run(
    store: Store,
    parts: Mapping[str, Any],
    settings: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> RunManifest:
    """Begin a run in an empty folder, or continue the run that is there.

    Another run is replaced as long as it is only planned. A run that only adds to the one that is
    there extends it: finished cells are made again, and stay until then. A process that others may
    disturb must hold the folder (`pipeline.product.ownership`).

    Args:
        store: The run's folder.
        parts: Everything that the results depend on, as JSON values.
        settings: What the user wrote.
        files: The planned files by key; they are written before `run.json`, which has their hashes.

    Raises:
        OutputError: Cells of another run are begun (it says which parts differ), or the folder
            holds something else than a run, or is a file.
        OutputUnwritable: The folder takes no file.
    """
    files = files or {}
    run, held = new_manifest(parts, settings, files), held_run(store)
    if held is not None and held.fingerprint == run.fingerprint:
        run = replace(held, files={**held.files, **run.files})
    elif held is not None and _is_begun(store) and only_adds(held.parts, run.parts):
        run = replace(run, extends=[*held.extends, held.fingerprint])
    elif held is not None:
        require_replaceable(store, differences(held.parts, parts))
        store.remove(RUN)  # first: whoever maps that run stops, and none of its files is used
    if held != run:
        for key in (*store.keys(FAILURES), EXAMPLES_REPORT, EXAMPLES_FILE):
            store.remove(key)
    for key, content in files.items():
        store.write(key, content)
    store.write(RUN, run.to_json())
    return run


def require_held(store: Store, run: RunManifest) -> None:
    """Raise OwnershipLost unless the folder still holds this run; read before what is written."""
    folder = public_url(store.root)
    try:
        found = RunManifest.from_json(store.read(RUN)).fingerprint
    except (FileNotFoundError, NotADirectoryError):
        raise OwnershipLost(
            folder,
            f"its {RUN} has gone: somebody removed or emptied the folder while the run went on",
            "Nothing more was written. Start again to map it anew",
        ) from None
    except ValueError:
        found = ""
    if found != run.fingerprint:
        raise OwnershipLost(
            folder,
            "another run began in this folder meanwhile",
            "Nothing more was written. Give every run a folder of its own",
        )


def read_run(store: Store) -> RunManifest:
    """The run that a folder holds; raises OutputError where there is none."""
    key = public_url(store.path(RUN))
    try:
        return RunManifest.from_json(store.read(RUN))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise OutputError(
            public_url(store.root), "there is no run here (no run.json)", "Name a run's folder"
        ) from error
    except ValueError as error:
        raise OutputError(
            key, f"this is no run of timesen ({error})", "Name another folder"
        ) from error


def record_failure(store: Store, cell: Cell, error: BaseException) -> None:
    """Record that a cell failed and why; a later start of the run tries it again."""
    failure = FailedCell(
        cell=cell.id,
        tile=cell.tile.name,
        kind=type(error).__name__,
        error=visible_text(public_text(str(error))),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    store.write(failure_key(cell.id), _json(asdict(failure)))


def failed_cells(store: Store, run: RunManifest) -> dict[str, FailedCell]:
    """The cells of a run that failed and have not been finished since, by id.

    Damaged records are left out: such a cell is not finished, and is mapped again like one that
    failed.
    """
    found = (FailedCell.from_json(content) for _, content in store.read_many(store.keys(FAILURES)))
    return {
        failure.cell: failure for failure in found if failure and not _has_item(store, run, failure)
    }


def _has_item(store: Store, run: RunManifest, cell: FailedCell) -> bool:
    try:
        item = parse_json(store.read(cell_key(cell.tile, cell.cell, ITEM)))
        return bool(item["properties"][f"{PREFIX}fingerprint"] == run.fingerprint)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False


def write_collection(
    store: Store, run: RunManifest, items: Sequence[Mapping[str, Any]], vocabulary: Vocabulary
) -> None:
    """Write the STAC collection of the finished cells, `collection.json`."""
    examples = read_example_report(store, run.fingerprint)
    store.write(COLLECTION_FILE, _json(collection(run, items, vocabulary, examples)))


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
