"""A run that several processes map together: which cells are this one's, and who publishes."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Literal
from zlib import crc32

from models.files.process_mark import process_mark
from pipeline.grid.cells import Cell
from pipeline.io.store import Store
from pipeline.layout import FAILURES, ITEM, cell_key, failure_key
from pipeline.mapping.run import PreparedRun
from pipeline.product.cell_claims import CellClaims, cell_claims
from pipeline.product.committed_cells import is_finished
from pipeline.product.ledger import FailedCell, record_failure, require_held
from pipeline.product.manifest import RunManifest
from pipeline.product.publication_record import PublicationRecord, read_publication
from pipeline.settings.map import MapSettings

CellState = Literal["ours", "others'", "free", "done", "failed"]
"""A cell that this process maps, that another maps, that nobody maps, or that needs no more."""

_POLL_SECONDS = 0.5
_SHARE = 5  # times as long a pause as a look took


@contextlib.contextmanager
def shared_run(prepared: PreparedRun) -> Iterator["SharedRun"]:
    """Share a run with other processes for the length of the block."""
    run = prepared.run
    with cell_claims(run.store, run.manifest, run.settings.lease_seconds) as claims:
        yield SharedRun(run.store, run.manifest, claims, _items_of(prepared))


@contextlib.contextmanager
def alone_in_run(store: Store, run: RunManifest, work: str) -> Iterator[None]:
    """Do a piece of work of the run in a folder while no other process of the run does it.

    Raises OwnershipLost where the folder is not the run's, OutputUnwritable.
    """
    with cell_claims(store, run, MapSettings.model_fields["lease_seconds"].default) as claims:
        shared = SharedRun(store, run, claims)
        with shared.alone(work):
            yield
        shared.remove_run_out()


def _items_of(prepared: PreparedRun) -> dict[str, bytes]:
    cells = [cell for cell in prepared.cells if cell.id in prepared.again]
    return dict(prepared.run.store.read_many([cell_key(c.tile.name, c.id, ITEM) for c in cells]))


class SharedRun:
    """This process's part of a run that others may map, too; threads may share it.

    A cell that another process failed to map since this one began is not tried again.

    Args:
        store: The run's folder.
        manifest: The run.
        claims: This process's claims.
        again: The items of finished cells that are to be mapped once more, by key.
    """

    def __init__(
        self,
        store: Store,
        manifest: RunManifest,
        claims: CellClaims,
        again: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        self._store, self._manifest, self._claims = store, manifest, claims
        self._again = again
        self._failed_before = dict(store.read_many(store.keys(FAILURES)))
        self._failed_here: set[str] = set()
        self._published_before = read_publication(store, manifest)

    def failed_before(self) -> list[FailedCell]:
        """The records of cells that had failed when this process began; some may be finished."""
        found = map(FailedCell.from_json, self._failed_before.values())
        return [failure for failure in found if failure is not None]

    def begin(self, cell: Cell) -> CellState:
        """Claim a cell; it is "ours", unless the answer says why it is not.

        Raises OwnershipLost where the folder is no longer the run's, OutputUnwritable.
        """
        require_held(self._store, self._manifest)
        if not self._claims.take(cell.id):
            return "others'"
        # Another process may have had it until now.
        if state := self._outcome(cell):
            self._claims.release(cell.id)
            return state
        return "ours"

    def finished(self, cell: Cell) -> None:
        """Give up the claim on a cell that is finished."""
        self._claims.release(cell.id)

    def failed(self, cell: Cell, error: BaseException) -> None:
        """Record that a cell failed here; it is kept from others, for this process to try again."""
        require_held(self._store, self._manifest)
        self._failed_here.add(cell.id)
        record_failure(self._store, cell, error)

    def leave_failed(self) -> None:
        """Give up the claims on cells that failed here."""
        for name in self._failed_here:
            self._claims.release(name)

    def own_order(self, names: Sequence[str]) -> list[str]:
        """The order in which this process goes through them; beside others, one of its own."""
        start = crc32(process_mark().encode()) % len(names) if self._claims.has_company() else 0
        return [*names[start:], *names[:start]]

    def until_others_end(self, cells: Sequence[Cell]) -> Iterator[tuple[Cell, CellState]]:
        """Wait for some of the cells that other processes map.

        Yields each that is "done", "failed" or "free" now; ends once that is any. Raises as
        `begin`.
        """
        some, left = False, list(cells)
        while left and not some:
            began = time.monotonic()
            require_held(self._store, self._manifest)
            held = self._claims.held_by_others({cell.id for cell in left})
            for cell in [cell for cell in left if cell.id not in held]:
                some = True
                yield cell, self._outcome(cell) or "free"
            if not some:
                time.sleep(max(_POLL_SECONDS, _SHARE * (time.monotonic() - began)))

    @contextlib.contextmanager
    def alone(self, work: str) -> Iterator[None]:
        """Do a piece of work while no other process of the run does it; wait for those that do."""
        while True:
            require_held(self._store, self._manifest)
            if self._claims.take(work):
                break
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            self._claims.release(work)

    def published_since(self) -> PublicationRecord | None:
        """The record of a publication that ended after this process began; None without one."""
        record = read_publication(self._store, self._manifest)
        return None if record == self._published_before else record

    def remove_run_out(self) -> None:
        """Remove what dead processes of this run left of their claims."""
        self._claims.remove_run_out()

    def _outcome(self, cell: Cell) -> Literal["done", "failed"] | None:
        if is_finished(self._store, self._manifest.fingerprint, cell):
            item = cell_key(cell.tile.name, cell.id, ITEM)
            if item not in self._again or self._store.read(item) != self._again[item]:
                return "done"
        if cell.id in self._failed_here:
            return None
        key = failure_key(cell.id)
        record = dict(self._store.read_many([key])).get(key)
        return None if record in (None, self._failed_before.get(key)) else "failed"
