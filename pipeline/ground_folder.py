"""The folder of a ground table while it is made: which parts are done, and of what.

What embeds a part gives its rows and what could not be read; both are kept in the part's file, so a
part is done when its file is there. `ground.json` comes last.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import DatasetError, OutputError
from pipeline.ground_table import CARD, PART, UNREADABLE, GroundCard, counts_of
from pipeline.manifest import differences, fingerprint, software_versions
from pipeline.storage import Store, public_text, public_url

_MAKING = "making.json"
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
        given = public_url(self.store.root)
        if self.store.is_file():
            raise OutputError(given, "this is a file, not a folder", "Name a new or empty folder")
        if self.store.exists(_MAKING):
            held = json.loads(self.store.read(_MAKING))
            if fingerprint(held) != fingerprint(self.parts):
                what = public_text("; ".join(differences(held, self.parts)))
                raise OutputError(
                    given,
                    f"it holds embeddings of other input ({what})",
                    "Name another folder, or set these back to go on with what is there",
                )
        elif (strange := next(self.store.keys(), None)) is not None:
            raise OutputError(
                given,
                f"the folder is not empty and holds no embeddings (for one, {strange})",
                "Name a new or an empty folder",
            )
        self.store.write(_MAKING, (json.dumps(self.parts, indent=1) + "\n").encode())

    def is_finished(self) -> bool:
        """Whether the table is there already."""
        return self.store.exists(CARD)

    def finished(self) -> set[str]:
        """The names of the parts that are done."""
        keys = (key for key in self.store.keys("") if key.startswith(PART))
        return {key.removeprefix(PART).removesuffix(".parquet") for key in keys}

    def write(self, part: str, rows: pa.Table, unreadable: Mapping[str, str]) -> None:
        """Keep a part's rows, and what could not be read, by name, with the reason."""
        noted = rows.replace_schema_metadata({_UNREADABLE: json.dumps(dict(unreadable)).encode()})
        file = io.BytesIO()
        pq.write_table(noted, file, compression="zstd")
        self.store.write(f"{PART}{part}.parquet", file.getvalue())

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
        for key in self.store.keys(""):
            if key.startswith(PART):
                table = pq.read_table(io.BytesIO(self.store.read(key)), columns=["id"])
                unreadable |= json.loads((table.schema.metadata or {})[_UNREADABLE])
                tables.append(table)
        counts = counts_of(iter(tables))
        if unreadable:
            self.store.write(UNREADABLE, _csv(unreadable))
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
            created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        )  # fmt: skip
        self.store.write(CARD, card.model_dump_json(indent=1).encode() + b"\n")
        return card


def _csv(unreadable: Mapping[str, str]) -> bytes:
    sink = io.StringIO()
    rows = sorted(unreadable.items())
    csv.writer(sink, lineterminator="\n").writerows([("photo", "reason"), *rows])
    return sink.getvalue().encode()
