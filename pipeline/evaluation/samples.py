"""The rows that a checkpoint is evaluated on, from a training set or a table of series."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from models.encoder.series_months import fill_gaps
from models.errors import UserError
from models.vocabulary.labels import text_of
from pipeline.errors import DatasetError
from pipeline.grid.blocks import blocks_of
from pipeline.io.store import Store, public_url
from pipeline.point_series.table import CARD as TABLE_CARD
from pipeline.point_series.table import SeriesTable
from pipeline.training_set.card import SET_CARD
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.random_order import shuffled
from pipeline.training_set.shards import to_rows
from pipeline.training_set.spatial_split import SPLITS, SplitRule, split

ALL = "all"
_AT_ONCE = 4096  # rows whose gaps are filled together


@dataclass(frozen=True, eq=False)
class Samples:
    """n rows that an encoder can take.

    Attributes:
        series: uint16 (n, 12, band), in the encoder's order of bands, gaps filled; 0 is an optional
            band that a row lacks.
        labels: By column, object arrays (n,) of texts or None.
        blocks: (n,), equal for rows in the same block of land.
        ground: float32 (n, dim), unit length: the mean of a row's ground embeddings. None in a
            table of series.
        keys: int64 (n, k), the subjects of the ground views; `NO_KEY` is equal to nothing.
        left_out: How many other rows have no clear observation of a band that the encoder needs.
    """

    series: np.ndarray
    labels: Mapping[str, np.ndarray]
    blocks: np.ndarray
    ground: np.ndarray | None = None
    keys: np.ndarray | None = None
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.series)

    @property
    def absent(self) -> np.ndarray:
        """How many rows lack each band: int (band,)."""
        return np.asarray((~self.series.any(axis=1)).sum(axis=0))

    def take(self, rows: np.ndarray) -> "Samples":
        """Some of the rows, by a mask or by their numbers."""
        return replace(
            self,
            series=self.series[rows],
            labels={name: texts[rows] for name, texts in self.labels.items()},
            blocks=self.blocks[rows],
            ground=None if self.ground is None else self.ground[rows],
            keys=None if self.keys is None else self.keys[rows],
        )


class SampleSource(Protocol):
    """Labelled rows, divided by blocks of land into train, validation and test."""

    about: Mapping[str, Any]
    labels: tuple[str, ...]
    has_ground: bool
    default_split: str

    def read(self, part: str, most: int | None = None, seed: int = 0) -> Samples:
        """Read the rows of a split, or of "all", or `most` of them at random."""


def open_samples(
    address: str, bands: Sequence[str], rule: SplitRule, optional: Sequence[str] = ()
) -> SampleSource:
    """Open the training set or the table of series at an address.

    Args:
        address: A folder or an `s3://` prefix.
        bands: The bands that the encoder takes, in its order.
        rule: Divides a table into splits; a training set is divided already.
        optional: Those of the bands that series may lack.

    Raises:
        DatasetError: There is neither a set nor a table, or a band is missing.
    """
    store = Store(address)
    if store.exists(SET_CARD):
        dataset = TrainingSet.open(address)
        return _SetSamples(dataset, _Bands.of(dataset.card.bands, bands, optional, address))
    if store.exists(TABLE_CARD):
        table = SeriesTable.open(address)
        return _TableSamples(table, _Bands.of(table.card.bands, bands, optional, address), rule)
    raise DatasetError(
        public_url(store.root),
        f"there is neither a training set ({SET_CARD}) nor a table of series ({TABLE_CARD})",
        "Make one with `timesen dataset series` or `timesen dataset pack`; to compare a map with "
        "points, give the run and --points",
    )


def numbers_of(labels: Iterable[str | None], name: str) -> np.ndarray:
    """Convert the label `name` to float64 (n,), NaN where there is none.

    Raises:
        UserError: A label is not a number.
    """
    values = []
    for label in labels:
        try:
            values.append(float(text_of(label) or "nan"))
        except ValueError:
            raise UserError(
                f"label {name!r}", f"{label!r} is no number", "Name a column of numbers"
            ) from None
    return np.array(values)


class _SetSamples:
    """The rows of a training set."""

    def __init__(self, dataset: TrainingSet, bands: "_Bands") -> None:
        card = dataset.card
        self._dataset, self._bands = dataset, bands
        self.labels: tuple[str, ...] = tuple(card.labels)
        self.has_ground, self.default_split = True, "test"
        self.about: Mapping[str, Any] = {
            "kind": "training set",
            "address": public_url(dataset.store.root),
            "fingerprint": card.fingerprint,
            "ground": card.ground.model_dump(exclude_defaults=True),
            "blocks of land, km": card.split_rule.block_km,
            "attribution": list(card.attribution),
        }

    def read(self, part: str, most: int | None = None, seed: int = 0) -> Samples:
        card = self._dataset.card
        classes = {name: np.array([*texts, None], object) for name, texts in card.labels.items()}
        batches, ground, blocks, count = [], [], [], 0
        for name in SPLITS if part == ALL else (part,):
            shards = card.shards(name)
            # A split's rows were shuffled when the set was packed: any shard is a random sample.
            for number in shuffled(len(shards), seed):
                if most is not None and count >= most:
                    break
                table = self._dataset.read_shard(shards[number], more_columns=("block",))
                rows = to_rows([table], card)
                batch = rows.batch(np.arange(len(rows)), card.ground, classes)
                batches.append(batch)
                ground.append(_mean_view(batch.ground, batch.present))
                blocks.append(table["block"].to_numpy())
                count += len(batch)
        if not count:
            raise DatasetError(self.about["address"], f"part {part!r} is empty", "Take another")
        return _encodable(
            Samples(
                series=np.concatenate([batch.series for batch in batches]),
                labels={
                    name: np.concatenate([np.array(b.labels[name], object) for b in batches])
                    for name in self.labels
                },
                blocks=np.concatenate(blocks),
                ground=np.concatenate(ground),
                # Those of the views: of what only may be true, retrieval counts nothing as found.
                keys=np.concatenate([batch.keys[:, : card.ground.views] for batch in batches]),
            ).take(np.arange(count)[:most]),
            self._bands,
        )


class _TableSamples:
    """The rows of a table of series, divided into splits by a rule."""

    def __init__(self, table: SeriesTable, bands: "_Bands", rule: SplitRule) -> None:
        card = table.card
        self._table, self._bands, self._rule = table, bands, rule
        self.labels = card.labels
        self.has_ground, self.default_split = False, ALL
        self.about: Mapping[str, Any] = {
            "kind": "table of series",
            "address": public_url(table.store.root),
            "fingerprint": card.fingerprint,
            "blocks of land, km": rule.block_km,
            "attribution": [card.attribution],
        }

    def read(self, part: str, most: int | None = None, seed: int = 0) -> Samples:
        places = [(rows.lon, rows.lat) for rows in self._table.batches()]
        lon, lat = (np.concatenate(axis) for axis in zip(*places, strict=True))
        wanted = np.arange(len(lon))
        if part != ALL:
            wanted = np.flatnonzero(split(lon, lat, self._rule) == SPLITS.index(part))
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
        blocks = blocks_of(lon[wanted], lat[wanted], self._rule.block_km)
        columns = {name: np.array(of, object) for name, of in labels.items()}
        return _encodable(Samples(np.concatenate(series), columns, blocks), self._bands)


@dataclass(frozen=True, eq=False)
class _Bands:
    """The encoder's bands: their places among those held, -1 for none, and which are optional."""

    names: Sequence[str]
    places: np.ndarray
    optional: np.ndarray
    address: str

    @classmethod
    def of(
        cls, held: Sequence[str], wanted: Sequence[str], optional: Sequence[str], address: str
    ) -> "_Bands":
        missing = [band for band in wanted if band not in (*held, *optional)]
        if missing:
            raise DatasetError(
                public_url(address),
                f"it has no {', '.join(missing)}, which the checkpoint takes; it has "
                f"{', '.join(held)}",
                "Give series of the checkpoint's bands, or another checkpoint",
            )
        places = [list(held).index(band) if band in held else -1 for band in wanted]
        return cls(wanted, np.array(places), np.isin(wanted, optional), address)

    def ordered(self, series: np.ndarray) -> np.ndarray:
        """Series (n, 12, band) as the encoder takes them; a band that is not held is 0."""
        ordered = series[:, :, self.places]
        ordered[:, :, self.places < 0] = 0
        return ordered


def _encodable(samples: Samples, bands: _Bands) -> Samples:
    """Put the bands in order, leave out rows that lack one, and fill the gaps of others."""
    series = bands.ordered(samples.series)
    seen = np.asarray((series > 0).any(axis=1))
    observed = np.asarray(seen.any(axis=1) & (seen | bands.optional).all(axis=1))
    if seen.any() and not observed.any():
        lacking = (~seen & ~bands.optional).sum(axis=0).tolist()
        named = ", ".join(f"{n} lack {b}" for b, n in zip(bands.names, lacking, strict=True) if n)
        raise DatasetError(
            public_url(bands.address),
            f"none of its {len(series)} series has all bands that the checkpoint takes: {named}",
            "Give series with them, or a checkpoint whose card names them in optional_bands",
        )
    kept = replace(samples, series=series, left_out=int((~observed).sum())).take(observed)
    for start in range(0, len(kept), _AT_ONCE):
        part = kept.series[start : start + _AT_ONCE]
        filled = fill_gaps(torch.from_numpy(part.astype(np.float32)))
        part[:] = np.round(filled.numpy())
    return kept


def _mean_view(ground: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The mean of the views that are present, of unit length: float32 (n, dim)."""
    total = (ground * present[:, :, None]).sum(axis=1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.maximum(length, 1e-12), np.float32)
