"""The flow that makes a series table of Sen4Map's files: a part per file, units of its groups."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flows.dataset_series import series_summary
from flows.execution.prefect_api import create_markdown_artifact, flow
from flows.execution.progress import RunProgress, report_progress
from flows.execution.table_parts import UnitRows, make_parts
from flows.execution.work_queue import Submit, call
from flows.settings.dataset import Sen4MapSettings
from models.encoder.preprocessing import AUTHORS, BANDS
from pipeline.errors import SettingsError
from pipeline.io.store import Store
from pipeline.observations.reading import kept_scenes
from pipeline.point_series.sen4map import (
    LABELS,
    LICENCE,
    SEN4MAP_ATTRIBUTION,
    group_names,
    read_groups,
)
from pipeline.point_series.table import SeriesCard, SeriesTable
from pipeline.point_series.table_writer import Notes, SeriesFolder

_GROUPS = 500
"""Groups per unit; of a group's patch, only the centre pixel is read."""


@flow(name="dataset-sen4map", flow_run_name="Sen4Map → {settings.out}", persist_result=False)
def dataset_sen4map(settings: Sen4MapSettings) -> SeriesCard:
    """Make the table of the points of the files; started again, it goes on.

    Raises SeriesFailed once all that can be read is; UserError for what the user must mend,
    such as points that lie in two files.
    """
    report_progress(RunProgress("planning"))
    keep = kept_scenes(settings.reading, AUTHORS.scl_keep)
    parts = [_File(Path(f), f"{n:04d}", keep) for n, f in enumerate(settings.files)]
    _require_distinct(parts)
    made_of = [
        [Path(part.path).name, part.path.stat().st_size, part.names_digest] for part in parts
    ]
    folder = SeriesFolder(
        Store(settings.out), {"files": made_of, "keep_scl": list(keep)}, BANDS, LABELS
    )
    folder.open()
    if folder.is_finished():
        return SeriesTable.open(settings.out).card
    make_parts(parts, folder, settings.cluster, f"lots of {_GROUPS} points")
    report_progress(RunProgress("finishing"))
    card = folder.finish(
        {"kind": "sen4map", "files": [part.path.name for part in parts]},
        points=sum(len(part.names) for part in parts),
        first_month=1,
        licence=LICENCE,
        attribution=SEN4MAP_ATTRIBUTION,
        left_out={},
    )
    create_markdown_artifact(series_summary(card), key="series-table")
    return card


@dataclass(frozen=True)
class _File:
    """A file's groups, in lots."""

    path: Path
    name: str
    keep: tuple[int, ...]

    @cached_property
    def names(self) -> list[str]:
        return group_names(self.path)

    @property
    def names_digest(self) -> str:
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:12]

    @cached_property
    def _lots(self) -> dict[str, Sequence[str]]:
        names = self.names
        return {f"{i:06d}": names[i : i + _GROUPS] for i in range(0, len(names), _GROUPS)}

    @property
    def units(self) -> Mapping[str, int]:
        return {name: len(lot) for name, lot in self._lots.items()}

    def calls(self, left: Collection[str]) -> Mapping[str, Submit]:
        path = self.path.absolute()
        return {name: call(read_groups, path, self._lots[name], self.keep) for name in left}

    def rows(self, unit: str, result: Any) -> UnitRows:
        rows, left_out = result
        return rows, Notes(left_out)

    def no_rows(self, unit: str, reason: str) -> UnitRows:
        return None, Notes(dict.fromkeys(self._lots[unit], reason))


def _require_distinct(parts: Sequence[_File]) -> None:
    seen: dict[str, Path] = {}
    for part in parts:
        for name in part.names:
            if (other := seen.setdefault(name, part.path)) is not part.path:
                raise SettingsError(
                    f"{other} and {part.path}",
                    f"both hold {name}, and every point has one row",
                    "Give each point's file once",
                )
