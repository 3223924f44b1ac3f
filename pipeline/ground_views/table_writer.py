"""The writer of a ground table: a folder of parts, which can be continued after an interruption.

What embeds a part gives its rows and what could not be read; both are kept in the part's file, so a
part is done when its file is there. `ground.json` comes last.
"""

import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DatasetError
from pipeline.ground_views.table import GROUND_CARD, UNREADABLE, GroundCard, counts_of
from pipeline.io.fingerprint import fingerprint, now, software_versions
from pipeline.io.store import Store, public_url
from pipeline.io.table_folder import (
    begin_or_resume,
    parquet,
    part_key,
    part_names,
    parts_of,
    reasons_csv,
)

_UNREADABLE = b"unreadable"


@dataclass(frozen=True)
class GroundFolder:
    """The folder `store`, in which a table is made; `parts` is all that it depends on."""

    store: Store
    parts: Mapping[str, Any]

    def open(self) -> None:
        """Begin in an empty folder, or go on with what is there.

        Raises OutputError where it holds what was made of other input, or something else.
        """
        begin_or_resume(self.store, self.parts, "embeddings")

    def is_finished(self) -> bool:
        """Whether the table is there already."""
        return self.store.exists(GROUND_CARD)

    def finished(self) -> set[str]:
        """The names of the parts that are done."""
        return part_names(self.store)

    def write(self, part: str, rows: pa.Table, unreadable: Mapping[str, str]) -> None:
        """Keep a part's rows, and what could not be read, by name, with the reason."""
        noted = rows.replace_schema_metadata({_UNREADABLE: json.dumps(dict(unreadable)).encode()})
        self.store.write(part_key(part), parquet(noted))

    def finish(
        self,
        kind: Literal["photos", "texts"],
        tower: tuple[str, str, int],
        made: Mapping[str, Any],
        left_out: Mapping[str, int],
        attribution: str,
    ) -> GroundCard:
        """Write `unreadable.csv` and then the card, from the parts that are there.

        `tower` is its spec, revision and dimension. Raises DatasetError where no row is left.
        """
        unreadable: dict[str, str] = {}
        tables = []
        for key in parts_of(self.store):
            table = pq.read_table(io.BytesIO(self.store.read(key)), columns=["id"])
            unreadable |= json.loads((table.schema.metadata or {})[_UNREADABLE])
            tables.append(table)
        counts = counts_of(iter(tables))
        if unreadable:
            self.store.write(UNREADABLE, reasons_csv("photo", unreadable))
        if not counts["rows"]:
            name, reason = next(iter(unreadable.items()))
            raise DatasetError(
                public_url(self.store.root),
                f"none of {len(unreadable)} photos can be read, such as {name} ({reason})",
                "Check that the photos are whole, and that the names lead to them",
            )
        reasons = Counter(reason.partition(":")[0] for reason in unreadable.values())
        spec, revision, dim = tower
        card = GroundCard(
            kind=kind, tower=spec, revision=revision, dim=dim, **counts,
            left_out={**left_out, **dict(reasons.most_common())},
            made=dict(made),
            attribution=attribution,
            fingerprint=fingerprint(self.parts),
            versions=software_versions(),
            created=now(),
        )  # fmt: skip
        self.store.write(GROUND_CARD, card.model_dump_json(indent=1).encode() + b"\n")
        return card
