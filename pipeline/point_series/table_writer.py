"""The folder of a series table while it is made: what of it is done, and that it is of one making.

Series come in *units* (the points of a cell; some groups of a file), several of which make a
*part*. A unit that is done lies in `units/`; once all units of a part are there, they are put
together as `part-<name>.parquet`, and removed. `series.json` comes last: it makes it a table.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputError
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
from pipeline.point_series.table import CARD, SeriesCard, SeriesRows, schema
from pipeline.raster.read_stats import NO_STATS, ReadStats

LEFT_OUT = "left-out.csv"
SEASON_ITEMS = "items/"
_UNITS = "units/"
_NOTES = b"timesen"
_FAULTS = 20  # that a card names; it counts all


@dataclass(frozen=True)
class Notes:
    """What is known of rows beside the rows: why points are `left_out` (by id), and more."""

    left_out: Mapping[str, str] = field(default_factory=dict)
    stats: ReadStats = NO_STATS
    attributions: tuple[str, ...] = ()

    def joined(self, other: "Notes") -> "Notes":
        """Those of both."""
        return Notes(
            {**self.left_out, **other.left_out},
            self.stats + other.stats,
            tuple(sorted({*self.attributions, *other.attributions})),
        )


@dataclass(frozen=True)
class SeriesFolder:
    """The folder `store` in which the table of `parts` is made: everything that it depends on."""

    store: Store
    parts: Mapping[str, Any]
    bands: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """A hash over all that the series depend on."""
        return fingerprint(self.parts)

    def open(self) -> None:
        """Begin in an empty folder, or go on with what is there.

        Raises OutputError where the folder holds what was made of other input, or something else;
        OutputUnwritable where it takes no file.
        """
        begin_or_resume(self.store, self.parts, "series")

    def is_finished(self) -> bool:
        """Whether the table is there already."""
        return self.store.exists(CARD)

    def finished_parts(self) -> set[str]:
        """The names of the parts that are done."""
        return part_names(self.store)

    def finished_units(self, part: str) -> set[str]:
        """The names of the units of a part that are done."""
        prefix = f"{_UNITS}{part}/"
        return {
            key.removeprefix(prefix).removesuffix(".parquet") for key in self.store.keys(prefix)
        }

    def write_unit(self, part: str, unit: str, rows: SeriesRows | None, notes: Notes) -> None:
        """Keep what was made of a unit; None: no row. Raises OutputUnwritable."""
        table = self._empty() if rows is None else rows.table()
        self.store.write(f"{_UNITS}{part}/{unit}.parquet", parquet(_noted(table, notes)))

    def finish_part(self, part: str) -> None:
        """Put the units of a part together, in the order of their names, and remove them."""
        keys = list(self.store.keys(f"{_UNITS}{part}/"))
        tables, notes = [self._empty()], Notes()
        for _, content in self.store.read_many(keys):
            table = pq.read_table(io.BytesIO(content))
            tables.append(table.replace_schema_metadata(None))
            notes = notes.joined(_notes_of(table.schema))
        whole = pa.concat_tables(tables)
        self.store.write(part_key(part), parquet(_noted(whole, notes)))
        self._remove(keys)

    def finish(self, made: Mapping[str, Any], *, points: int, first_month: int, licence: str,
               attribution: str, left_out: Mapping[str, str]) -> SeriesCard:  # fmt: skip
        """Write `left-out.csv`, then `series.json`, from the parts that are there.

        `points` are those that were given, `left_out` those that never came into a unit. Raises
        OutputError where no series is left.
        """
        rows, years, notes = 0, Counter[int](), Notes(left_out)
        for key in parts_of(self.store):
            table = pq.read_table(io.BytesIO(self.store.read(key)), columns=["year"])
            rows += table.num_rows
            years.update(table.column("year").to_pylist())
            notes = notes.joined(_notes_of(table.schema))
        if not rows:
            reasons = Counter(notes.left_out.values()).most_common(1)
            raise OutputError(
                public_url(self.store.root),
                f"none of {points} points has a series; most often: {reasons[0][0]}",
                "Check the points' places and years, or use another catalogue",
            )
        self.store.write(LEFT_OUT, reasons_csv("id", notes.left_out))
        card = SeriesCard(
            bands=self.bands,
            first_month=first_month,
            labels=self.labels,
            years=dict(sorted(years.items())),
            rows=rows,
            points=points,
            left_out=dict(Counter(r.partition(":")[0] for r in notes.left_out.values())),
            made={
                **made,
                "input": dict(self.parts),
                "rasters left out": len(faults := notes.stats.faults),
                "for one": [f"{f.asset} {f.band}: {f.reason}" for f in faults[:_FAULTS]],
                "requests sent again": notes.stats.retries,
            },
            attribution="; ".join([attribution, *(text for text in notes.attributions if text)]),
            licence=licence,
            fingerprint=self.fingerprint,
            versions=software_versions(),
            created=now(),
        )
        self.store.write(CARD, card.model_dump_json(indent=2).encode() + b"\n")
        self._remove(self.store.keys(_UNITS))
        return card

    def _empty(self) -> pa.Table:
        return schema(len(self.bands), self.labels).empty_table()

    def _remove(self, keys: Iterator[str] | Sequence[str]) -> None:
        for key in list(keys):
            self.store.remove(key)


def _noted(table: pa.Table, notes: Notes) -> pa.Table:
    text = json.dumps([dict(notes.left_out), notes.stats.to_dict(), list(notes.attributions)])
    return table.replace_schema_metadata({_NOTES: text.encode()})


def _notes_of(found: pa.Schema) -> Notes:
    left_out, stats, attributions = json.loads((found.metadata or {})[_NOTES])
    return Notes(left_out, ReadStats.from_dict(stats), tuple(attributions))
