"""Pairs of series and ground views, joined by the point's id or its photos' key."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import DatasetError

_LISTED = 3


@dataclass(frozen=True, eq=False)
class Pairing:
    """Which rows belong together.

    Attributes:
        series: int64 (n,), rows of the series, sorted by id.
        views: int64, rows of the ground table; those of the i-th series are
            `views[starts[i] : starts[i] + counts[i]]`, in the order of their names.
        starts: int64 (n,).
        counts: int64 (n,).
        without_view: the ids of series without a view.
        without_series: the ids of views without a series.
    """

    series: np.ndarray
    views: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    without_view: tuple[str, ...]
    without_series: tuple[str, ...]


def pair_series_with_views(series: pa.Table, ground: pa.Table) -> Pairing:
    """Join a table of series (columns `id`, `photo_key`) with one of views (`id`, `view`).

    A view's id is that of the point, or else the `photo_key` of one or several series.

    Raises:
        DatasetError: Two series have the same id, or no view belongs to a series.
    """
    ids, keys = _texts(series, "id"), _texts(series, "photo_key")
    _require_distinct(ids)
    views = pc.sort_indices(
        ground.select(["id", "view"]), [("id", "ascending"), ("view", "ascending")]
    ).to_numpy()
    seen = pc.value_counts(_texts(ground, "id").take(pa.array(views)))  # in order of appearance
    names, counts = seen.field("values"), seen.field("counts").to_numpy()
    by_id = pc.index_in(ids, value_set=names, skip_nulls=True)
    by_key = pc.index_in(keys, value_set=names, skip_nulls=True)
    group = pc.fill_null(pc.coalesce(by_id, by_key), -1).to_numpy(zero_copy_only=False)
    order = pc.sort_indices(ids).to_numpy()
    kept = order[group[order] >= 0].astype(np.int64)
    if not len(kept):
        raise DatasetError(
            f"views of {_listed(names)}, and series of {_listed(ids)}",
            "not one view belongs to a series: no id of a view is a series' id or photo key",
            "Give tables of the same points; LUCAS's photos belong to the key <nuts0>_<point id>",
        )
    used = np.zeros(len(names), bool)
    used[group[kept]] = True
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return Pairing(
        series=kept,
        views=views.astype(np.int64),
        starts=starts[group[kept]],
        counts=counts[group[kept]],
        without_view=tuple(ids.take(pa.array(order[group[order] < 0])).to_pylist()),
        without_series=tuple(names.filter(pa.array(~used)).to_pylist()),
    )


def _texts(table: pa.Table, name: str) -> pa.Array:
    return pa.concat_arrays(table[name].chunks) if table[name].num_chunks else pa.array([], "str")


def _require_distinct(ids: pa.Array) -> None:
    counted = pc.value_counts(ids)
    repeated = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if len(repeated):
        raise DatasetError(
            f"series of {_listed(repeated)}",
            f"{len(repeated)} ids are there more than once",
            "Give every point, and every year of one place, an id of its own",
        )


def _listed(names: pa.Array | Sequence[str]) -> str:
    first = ", ".join(str(name) for name in names[:_LISTED])
    return first if len(names) <= _LISTED else f"{first}, … ({len(names)})"
