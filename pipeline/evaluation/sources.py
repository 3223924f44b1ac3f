"""What a checkpoint is evaluated on: a training set or a table of series, part by part."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from models.errors import UserError
from models.pretraining.batch import NO_KEY
from models.pretraining.series_months import gaps_filled
from pipeline.errors import DatasetError
from pipeline.evaluation.labels import text_of
from pipeline.io.store import Store, public_url
from pipeline.point_series.table import CARD as TABLE_CARD
from pipeline.point_series.table import SeriesTable
from pipeline.training_set.card import CARD as SET_CARD
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.spatial_split import SPLITS, SplitRule, split

ALL = "all"
PARTS = (*SPLITS, ALL)
_BATCH = 4096


@dataclass(frozen=True, eq=False)
class Samples:
    """n rows that an encoder can take.

    `series` uint16 (n, 12, band), in the encoder's order of bands, gaps filled; `labels` by name,
    arrays (n,) of texts or None. `ground` float32 (n, dim): the mean of a row's ground embeddings,
    of unit length, and `keys` int64 (n, k): what they depict (NO_KEY: the same as nothing); None in
    a table of series. `left_out` counts rows that have no clear observation in some band.
    """

    series: np.ndarray
    labels: Mapping[str, np.ndarray]
    ground: np.ndarray | None
    keys: np.ndarray | None
    left_out: int

    def __len__(self) -> int:
        return len(self.series)


class Source(Protocol):
    """Rows with labels, parted by blocks of land into train, validation and test."""

    about: Mapping[str, Any]
    labels: tuple[str, ...]
    has_ground: bool
    default_part: str

    def read(self, part: str, most: int | None = None, seed: int = 0) -> Samples:
        """The rows of a part (`PARTS`), or `most` of them drawn at random."""


def open_source(address: str, bands: Sequence[str], rule: SplitRule) -> Source:
    """The training set or the table of series at an address, for an encoder of these bands.

    `rule` parts a table; a set is parted already. Raises DatasetError where there is neither or a
    band is missing.
    """
    store = Store(address)
    if store.exists(SET_CARD):
        dataset = TrainingSet.open(address)
        return _Set(dataset, _order(dataset.card.bands, bands, address))
    if store.exists(TABLE_CARD):
        table = SeriesTable.open(address)
        return _Table(table, _order(table.card.bands, bands, address), rule)
    raise DatasetError(
        public_url(store.root),
        f"there is neither a training set ({SET_CARD}) nor a table of series ({TABLE_CARD})",
        "Make one with `timesen dataset series` or `timesen dataset pack`; to compare a map with "
        "points, give the run and --points",
    )


class _Set:
    """A training set."""

    def __init__(self, dataset: TrainingSet, order: np.ndarray) -> None:
        card = dataset.card
        self._dataset, self._order = dataset, order
        self.labels: tuple[str, ...] = tuple(card.labels)
        self.has_ground, self.default_part = True, "test"
        self.about: Mapping[str, Any] = {
            "kind": "training set",
            "address": public_url(dataset.store.root),
            "fingerprint": card.fingerprint,
            "ground": card.ground.model_dump(),
            "blocks of land, km": card.split_rule.block_km,
            "attribution": list(card.attribution),
        }

    def read(self, part: str, most: int | None = None, seed: int = 0) -> Samples:
        parts = SPLITS if part == ALL else (part,)
        series, ground, keys = [], [], []
        labels: dict[str, list[str | None]] = {name: [] for name in self.labels}
        count = 0
        for one in parts:
            # Every epoch has its own order, so the first of it are drawn at random.
            for batch in self._dataset.batches(
                one, batch=_BATCH, seed=seed, epoch=0, drop_last=False
            ):
                series.append(batch.series)
                ground.append(_pooled(batch.ground, batch.present))
                keys.append(batch.keys)
                for name, texts in batch.labels.items():
                    labels[name] += texts
                count += len(batch)
                if most is not None and count >= most:
                    break
        if not count:
            raise DatasetError(self.about["address"], f"part {part!r} is empty", "Take another")
        kept = slice(most)
        return _ready(
            np.concatenate(series)[kept],
            {name: texts[kept] for name, texts in labels.items()},
            self._order,
            np.concatenate(ground)[kept],
            _joined_keys(keys)[kept],
        )


class _Table:
    """A table of series, parted by the rule."""

    def __init__(self, table: SeriesTable, order: np.ndarray, rule: SplitRule) -> None:
        card = table.card
        self._table, self._order, self._rule = table, order, rule
        self.labels = card.labels
        self.has_ground, self.default_part = False, ALL
        self.about: Mapping[str, Any] = {
            "kind": "table of series",
            "address": public_url(table.store.root),
            "fingerprint": card.fingerprint,
            "blocks of land, km": rule.block_km,
            "attribution": [card.attribution],
        }

    def read(self, part: str, most: int | None = None, seed: int = 0) -> Samples:
        wanted = self._rows(part)
        if most is not None and len(wanted) > most:
            wanted = np.sort(np.random.default_rng([seed, 5]).choice(wanted, most, replace=False))
        series = []
        labels: dict[str, list[str | None]] = {name: [] for name in self.labels}
        start = 0
        for rows in self._table.batches():
            low, high = np.searchsorted(wanted, [start, start + len(rows)])
            chosen = wanted[low:high] - start
            series.append(rows.series[chosen])
            for name, texts in rows.labels.items():
                labels[name] += [texts[row] for row in chosen.tolist()]
            start += len(rows)
        return _ready(np.concatenate(series), labels, self._order, None, None)

    def _rows(self, part: str) -> np.ndarray:
        lon, lat = (np.concatenate(axis) for axis in zip(*self._places(), strict=True))
        if part == ALL:
            return np.arange(len(lon))
        return np.flatnonzero(split(lon, lat, self._rule) == SPLITS.index(part))

    def _places(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows in self._table.batches():
            yield rows.lon, rows.lat


def numbers_of(labels: Iterable[str | None], name: str) -> np.ndarray:
    """A label as numbers: float64 (n,), NaN where there is none. Raises UserError for words."""
    values = []
    for label in labels:
        try:
            values.append(float(text_of(label) or "nan"))
        except ValueError:
            raise UserError(
                f"label {name!r}", f"{label!r} is no number", "Name a column of numbers"
            ) from None
    return np.array(values)


def _order(held: Sequence[str], wanted: Sequence[str], address: str) -> np.ndarray:
    """Where the wanted bands lie among those held."""
    missing = [band for band in wanted if band not in held]
    if missing:
        raise DatasetError(
            public_url(address),
            f"it has no {', '.join(missing)}, which the checkpoint takes; it has {', '.join(held)}",
            "Give series of the checkpoint's bands, or another checkpoint",
        )
    return np.array([list(held).index(band) for band in wanted])


def _ready(
    series: np.ndarray,
    labels: Mapping[str, Sequence[str | None]],
    order: np.ndarray,
    ground: np.ndarray | None,
    keys: np.ndarray | None,
) -> Samples:
    series = series[:, :, order]
    seen: np.ndarray = np.all((series > 0).any(axis=1), axis=1)
    filled = np.empty((int(seen.sum()), *series.shape[1:]), np.uint16)
    rows = np.flatnonzero(seen)
    for start in range(0, len(rows), _BATCH):
        part = torch.from_numpy(series[rows[start : start + _BATCH]].astype(np.float32))
        filled[start : start + _BATCH] = np.round(gaps_filled(part).numpy())
    return Samples(
        series=filled,
        labels={name: np.array(texts, object)[rows] for name, texts in labels.items()},
        ground=None if ground is None else ground[rows],
        keys=None if keys is None else keys[rows],
        left_out=int((~seen).sum()),
    )


def _pooled(ground: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The mean of the views that are there, of unit length: float32 (n, dim)."""
    total = (ground * present[:, :, None]).sum(axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.maximum(length, 1e-12), np.float32)


def _joined_keys(parts: Sequence[np.ndarray]) -> np.ndarray:
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [
            np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=NO_KEY)
            for part in parts
        ]
    )
