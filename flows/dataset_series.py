"""The flow that reads the series of points: a part per tile and year, a unit per cell.

A tile's year is searched once, and a snapshot of its items is kept in the folder: a run that is
started again reads the same items.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.execution.prefect_api import create_markdown_artifact, flow
from flows.execution.progress import RunProgress, report_progress
from flows.execution.table_parts import UnitRows, make_parts
from flows.execution.work_queue import Submit, call
from flows.settings.dataset import SeriesSettings
from models.encoder.preprocessing import AUTHORS
from pipeline.catalog.description import CatalogDescription, describe_catalog
from pipeline.catalog.item import Item
from pipeline.catalog.origin import access_of
from pipeline.catalog.search import open_catalog
from pipeline.io.store import Store, public_url
from pipeline.observations.reading import Reading, kept_scenes
from pipeline.point_series.item_search import season_items
from pipeline.point_series.point_groups import CELL_SIZE, PointGroup, group_by_season, group_points
from pipeline.point_series.points import Points, read_points
from pipeline.point_series.read_points import PointSeries, read_point_series
from pipeline.point_series.table import SeriesCard, SeriesRows, SeriesTable
from pipeline.point_series.table_writer import Notes, SeriesFolder

_LICENCE = "of labels: the points' own; of series: Copernicus Sentinel data, free and open"
UNSEEN = "no clear observation in the year"


@flow(
    name="dataset-series",
    flow_run_name="{settings.points} → {settings.out}",
    persist_result=False,
)
def dataset_series(settings: SeriesSettings) -> SeriesCard:
    """Read the series of the points and write their table; started again, it goes on.

    Raises SeriesFailed once all that can be read is; UserError for what the user must mend;
    WorldError where catalogue, storage or cluster fail as a whole.
    """
    report_progress(RunProgress("planning"))
    points = read_points(Path(settings.points), settings.columns, settings.classes)
    catalog = describe_catalog(settings.catalog.url, settings.catalog.collection)
    access = access_of(catalog, settings.network)
    open_catalog(catalog, rules=access.rules)  # so that mistakes show now
    reading = settings.point_reading(access)
    store = Store(settings.out)
    folder = SeriesFolder(store, _input(settings, points), reading.bands, tuple(points.labels))
    folder.open()
    if folder.is_finished():
        return SeriesTable.open(settings.out).card
    parts = [
        _Season(settings, catalog, store, points, {group.place: group for group in groups}, reading)
        for groups in group_by_season(group_points(points)).values()
    ]
    make_parts(parts, folder, settings.cluster, "cells")
    report_progress(RunProgress("finishing"))
    card = folder.finish(
        {
            "kind": "archive",
            "points": Path(settings.points).name,
            "catalog": public_url(settings.catalog.url),
        },
        points=len(points) + len(points.left_out),
        first_month=settings.first_month,
        licence=_LICENCE,
        attribution=f"Contains modified Copernicus Sentinel data {_period(settings, points)}",
        left_out=points.left_out,
    )
    create_markdown_artifact(series_summary(card), key="series-table")
    return card


def series_summary(card: SeriesCard) -> str:
    """A series table in a few lines of Markdown."""
    lines = [f"{card.rows} series of {card.points} points", ""]
    lines += [f"- {year}: {count}" for year, count in card.years.items()]
    lines += [f"- without band {band}: {count}" for band, count in card.absent.items()]
    lines += [f"- left out, {reason}: {count}" for reason, count in card.left_out.items()]
    return "\n".join(lines)


def _input(settings: SeriesSettings, points: Points) -> Mapping[str, object]:
    """All that the series depend on."""
    return {
        "points": points.fingerprint,
        "first_month": settings.first_month,
        "catalog": settings.catalog.model_dump(mode="json", exclude={"accept_incomplete"})
        | {"url": public_url(settings.catalog.url)},
        "reading": settings.reading.model_dump(mode="json")
        | {"keep_scl": list(kept_scenes(settings.reading, AUTHORS.scl_keep))},
        "cell_size": CELL_SIZE,
        **({"optional_bands": list(settings.optional_bands)} if settings.optional_bands else {}),
    }


def _period(settings: SeriesSettings, points: Points) -> str:
    first, last = int(points.year.min()), int(points.year.max()) + (settings.first_month > 1)
    return str(first) if first == last else f"{first}–{last}"


def read_group(group: PointGroup, items: Sequence[Item], reading: Reading) -> PointSeries:
    """Read the points of a cell, on a worker."""
    cell = group.cell()
    return read_point_series(cell, *group.within(cell), items, reading)


@dataclass
class _Season:
    """The points of a tile and a year, in groups by cell."""

    settings: SeriesSettings
    catalog: CatalogDescription
    store: Store
    points: Points
    groups: Mapping[str, PointGroup]
    reading: Reading
    attributions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return next(iter(self.groups.values())).season

    @property
    def units(self) -> Mapping[str, int]:
        return {place: len(group) for place, group in self.groups.items()}

    def calls(self, left: Collection[str]) -> Mapping[str, Submit] | str:
        items = season_items(
            self.store,
            self.settings.catalog,
            self.catalog,
            self.settings.first_month,
            list(self.groups.values()),
            self.reading.bands,
            dict(self.reading.substitute),
            self.reading.optional_bands,
            self.settings.network,
        )
        if isinstance(items, str):
            return items
        self.attributions = tuple(sorted({item.attribution for item in items}))
        return {p: call(read_group, self.groups[p], tuple(items), self.reading) for p in left}

    def rows(self, unit: str, result: PointSeries) -> UnitRows:
        members = self.groups[unit].members
        seen = result.series.any(axis=(1, 2))
        reason = UNSEEN if result.acquisitions else "no acquisitions: none shows the place"
        notes = Notes(
            left_out={self.points.ids[i]: reason for i in members[~seen].tolist()},
            stats=result.stats,
            attributions=self.attributions,
        )
        if not seen.any():
            return None, notes
        kept = self.points.take(members[seen])
        rows = SeriesRows(
            ids=kept.ids,
            lon=kept.lon,
            lat=kept.lat,
            year=kept.year,
            series=result.series[seen],
            clear=result.clear[seen],
            labels=kept.labels,
            photo_keys=kept.photo_keys,
        )
        return rows, notes

    def no_rows(self, unit: str, reason: str) -> UnitRows:
        ids = [self.points.ids[i] for i in self.groups[unit].members.tolist()]
        return None, Notes(dict.fromkeys(ids, reason))
