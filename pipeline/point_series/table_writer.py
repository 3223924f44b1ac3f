"""The writer of a series table, which can be resumed after an interruption.

Series come in *units* (the points of a cell, or some groups of a file), several of which make a
*part*. A finished unit lies in `units/`; once all units of a part are there, they are put together
as `part-<name>.parquet` and removed. `series.json` comes last and makes the folder a table.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from models.encoder.preprocessing import MONTHS
from pipeline.errors import OutputError
from pipeline.io.store import public_url
from pipeline.io.table_folder import TableFolder, from_parquet, reasons_csv, to_parquet
from pipeline.point_series.table import CARD, SeriesCard, SeriesRows, schema
from pipeline.raster.read_stats import NO_STATS, ReadStats

LEFT_OUT = "left-out.csv"
SEASON_ITEMS = "items/"
_UNITS = "units/"
_FAULTS = 20  # rasters that a card names; it counts all of them


@dataclass(frozen=True)
class Notes:
    """The facts of some rows.

    Attributes:
        left_out: The reasons why points have no row, by id.
        stats: The facts of reading.
        attributions: The attributions of the items that were read.
    """

    left_out: Mapping[str, str] = field(default_factory=dict)
    stats: ReadStats = NO_STATS
    attributions: tuple[str, ...] = ()

    def __add__(self, other: "Notes") -> "Notes":
        return Notes(
            {**self.left_out, **other.left_out},
            self.stats + other.stats,
            tuple(sorted({*self.attributions, *other.attributions})),
        )

    def to_json(self) -> list[Any]:
        """JSON values, for `of_json`."""
        return [dict(self.left_out), self.stats.to_dict(), list(self.attributions)]

    @classmethod
    def of_json(cls, values: list[Any]) -> "Notes":
        """The notes of `to_json`'s values."""
        left_out, stats, attributions = values
        return cls(left_out, ReadStats.from_dict(stats), tuple(attributions))


@dataclass(frozen=True)
class SeriesFolder(TableFolder):
    """The folder of a series table while it is written."""

    bands: tuple[str, ...]
    labels: tuple[str, ...]
    card_key = CARD
    rows_name = "series"

    def finished_units(self, part: str) -> set[str]:
        """The names of a part's finished units."""
        prefix = f"{_UNITS}{part}/"
        return {
            key.removeprefix(prefix).removesuffix(".parquet") for key in self.store.keys(prefix)
        }

    def write_unit(self, part: str, unit: str, rows: SeriesRows | None, notes: Notes) -> None:
        """Keep a unit's rows, None for no row. Raises OutputUnwritable."""
        table = self._empty() if rows is None else rows.table()
        self.store.write(f"{_UNITS}{part}/{unit}.parquet", to_parquet(table, notes.to_json()))

    def finish_part(self, part: str) -> None:
        """Put the units of a part together, in the order of their names, and remove them."""
        keys = list(self.store.keys(f"{_UNITS}{part}/"))
        tables, notes = [self._empty()], Notes()
        for _, content in self.store.read_many(keys):
            table, values = from_parquet(content)
            tables.append(table)
            notes += Notes.of_json(values)
        self.write_part(part, pa.concat_tables(tables), notes.to_json())
        self._remove(keys)

    def finish(
        self,
        made: Mapping[str, Any],
        *,
        points: int,
        first_month: int,
        licence: str,
        attribution: str,
        left_out: Mapping[str, str],
    ) -> SeriesCard:
        """Write `left-out.csv` and then the card, from the parts that are there.

        Args:
            made: The sources of the table, for the card.
            points: How many points the input had.
            first_month: The month with which a point's year begins.
            licence: The table's licence.
            attribution: The attribution of the series; those of the items that were read are added.
            left_out: The reasons why some points never came into a unit, by id.

        Raises:
            OutputError: No point has a series.
        """
        rows, years, notes = 0, Counter[int](), Notes(left_out)
        absent = np.zeros(len(self.bands), np.int64)
        for table, values in self.read_parts(["year", "series"]):
            rows += table.num_rows
            years.update(table["year"].to_pylist())
            numbers = table["series"].combine_chunks().flatten().to_numpy()
            absent += (~numbers.reshape(-1, MONTHS, len(self.bands)).any(axis=1)).sum(axis=0)
            notes += Notes.of_json(values)
        if not rows:
            reasons = Counter(notes.left_out.values()).most_common(1)
            raise OutputError(
                public_url(self.store.root),
                f"none of {points} points has a series; most often: {reasons[0][0]}",
                "Check the points' places and years, or use another catalogue",
            )
        self.store.write(LEFT_OUT, reasons_csv("id", notes.left_out))
        faults = notes.stats.faults
        card = SeriesCard(
            bands=self.bands,
            first_month=first_month,
            labels=self.labels,
            years=dict(sorted(years.items())),
            rows=rows,
            points=points,
            left_out=dict(Counter(r.partition(":")[0] for r in notes.left_out.values())),
            absent={
                band: int(count) for band, count in zip(self.bands, absent, strict=True) if count
            },
            made={
                **made,
                "input": dict(self.depends_on),
                "rasters left out": len(faults),
                "for one": [f"{f.asset} {f.band}: {f.reason}" for f in faults[:_FAULTS]],
                "requests sent again": notes.stats.retries,
            },
            attribution="; ".join([attribution, *(text for text in notes.attributions if text)]),
            licence=licence,
            **self.origin(),
        )
        self.write_card(card)
        self._remove(list(self.store.keys(_UNITS)))
        return card

    def _empty(self) -> pa.Table:
        return schema(len(self.bands), self.labels).empty_table()

    def _remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.store.remove(key)
