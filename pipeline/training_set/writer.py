"""The writer of a training set: shards first, the card last, with exact statistics of the bands.

A training set exists once its card does.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import DatasetError, OutputError
from pipeline.io.fingerprint import fingerprint, now, software_versions
from pipeline.io.store import Store, public_url
from pipeline.point_series.point_columns import LABEL
from pipeline.training_set.card import SET_CARD, DatasetCard, GroundSide, Shard, Statistics
from pipeline.training_set.shards import shard_file, shard_schema
from pipeline.training_set.spatial_split import SPLITS, SplitRule

_FOLDER = "shards"
_SHARD_BYTES = 16_000_000  # of a shard's arrays; twelve are held while it is read
_MOST_ROWS = 65_536
_VALUES = 65_536  # of uint16
_PERCENTS = (1, 50, 99)


class SetWriter:
    """Writes a training set's shards, counts their contents, and writes the set's card at the end.

    Shards of a set that was never finished are removed.

    Args:
        store: The set's folder.
        bands: Of the series, in order.
        ground: The ground views.
        classes: Of each label, in order.

    Raises:
        OutputError: There is a set already.
    """

    def __init__(
        self,
        store: Store,
        bands: Sequence[str],
        ground: GroundSide,
        classes: Mapping[str, Sequence[str]],
    ) -> None:
        if store.exists(SET_CARD):
            raise OutputError(
                public_url(store.root),
                "there is a training set already",
                "Give another folder, or remove this one",
            )
        for key in list(store.keys(_FOLDER)):
            store.remove(key)
        self._store, self._bands, self._ground = store, tuple(bands), ground
        self._classes = {name: tuple(values) for name, values in classes.items()}
        self.schema = shard_schema(len(bands), ground.dim, tuple(classes), ground.possible > 0)
        self._statistics = BandStatistics(len(bands))
        self._shards: dict[str, list[Shard]] = {split: [] for split in SPLITS}
        self._counts: dict[str, dict[str, Counter[str]]] = {
            name: {split: Counter() for split in SPLITS} for name in classes
        }
        self._contents: list[str] = []

    def write(self, split: str, table: pa.Table) -> None:
        """Write the next shard of a split; `table` is of `schema`, its rows shuffled already."""
        number = len(self._shards[split])
        content = shard_file(table.cast(self.schema))
        key = f"{_FOLDER}/{split}-{number:05d}.parquet"
        self._store.write(key, content)
        counts = {
            name: Counter(text or "" for text in table[LABEL + name].to_pylist())
            for name in self._counts
        }
        self._shards[split].append(
            Shard(
                key=key,
                rows=table.num_rows,
                sha256=hashlib.sha256(content).hexdigest(),
                counts={name: dict(sorted(of.items())) for name, of in counts.items()},
            )
        )
        self._contents.append(f"{split} {content_hash(table)}")
        for name, of in counts.items():
            self._counts[name][split].update(of)
        if split == "train":
            series = table["series"].combine_chunks().flatten().to_numpy()
            self._statistics.add(series.reshape(table.num_rows, -1, len(self._bands)))

    def finish(
        self,
        rule: SplitRule,
        left_out: Mapping[str, int],
        attribution: Sequence[str],
        sources: Mapping[str, Any],
    ) -> DatasetCard:
        """Write the card, which makes the folder a training set.

        Args:
            rule: Divided the points into splits.
            left_out: Counts of the tables' rows that are not in the set, by reason.
            attribution: The texts that the sources' licences ask for; each is kept once.
            sources: The tables that the set is made of, as JSON values.

        Raises:
            DatasetError: The training split has no clear observation.
        """
        card = DatasetCard(
            bands=self._bands,
            ground=self._ground,
            splits={split: tuple(shards) for split, shards in self._shards.items()},
            labels=self._classes,
            counts={
                name: {split: dict(sorted(found.items())) for split, found in counts.items()}
                for name, counts in self._counts.items()
            },
            statistics=self._statistics.result(),
            split_rule=rule,
            left_out=dict(left_out),
            attribution=tuple(dict.fromkeys(filter(None, attribution))),
            sources=dict(sources),
            versions=software_versions(),
            created=now(),
            fingerprint="",
        )
        described = {"format", "bands", "months", "ground", "labels", "split_rule"}
        parts = {**card.model_dump(mode="json", include=described), "contents": self._contents}
        if not card.ground.possible:  # the fingerprints of such sets stay what they were
            del parts["ground"]["possible"]
        card = card.model_copy(update={"fingerprint": fingerprint(parts)})
        self._store.write(SET_CARD, card.model_dump_json(indent=1).encode() + b"\n")
        return card


def rows_per_shard(bands: int, ground: GroundSide) -> int:
    """The number of rows of a shard of about 16 MB in memory."""
    row = 24 * bands + ground.views * (2 * ground.dim + 16) + 8 * ground.possible + 64
    return int(np.clip(_SHARD_BYTES // row, 1, _MOST_ROWS))


def content_hash(table: pa.Table) -> str:
    """SHA-256 (hex) over a table's columns and values, whatever its file format."""
    digest = hashlib.sha256()
    for name in table.column_names:
        digest.update(f"{name} {table.num_rows}\n".encode())
        column = table[name].combine_chunks()
        while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
            if pa.types.is_list(column.type):
                lengths = column.value_lengths().to_numpy(zero_copy_only=False)
                digest.update(lengths.astype("<i8").tobytes())
            column = column.flatten()
        if pa.types.is_string(column.type):
            for text in column.to_pylist():
                digest.update(b"-" if text is None else f"+{len(text)} {text}".encode())
        elif pa.types.is_fixed_size_binary(column.type):
            digest.update(b"".join(column.to_pylist()))
        else:
            numbers = column.to_numpy(zero_copy_only=False)
            digest.update(numbers.astype(numbers.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


class BandStatistics:
    """Counts each band's values as series come; 0 is a month without a clear observation.

    A band that is 0 in all months of a row is absent, and counts as such only.
    """

    def __init__(self, bands: int) -> None:
        self._counts = np.zeros((bands, _VALUES), np.int64)
        self._absent = np.zeros(bands, np.int64)  # rows
        self._rows = 0

    def add(self, series: np.ndarray) -> None:
        """Count series, uint16 (n, month, band)."""
        rows, months, _ = series.shape
        absent = (~series.any(axis=1)).sum(axis=0)
        self._rows += rows
        self._absent += absent
        self._counts[:, 0] -= months * absent
        for counts, band in zip(self._counts, np.moveaxis(series, -1, 0), strict=True):
            counts += np.bincount(band.ravel(), minlength=_VALUES)

    def result(self) -> Statistics:
        """The statistics of all series that were added.

        A quantile is the lowest value that has at least that share of the values up to it (NumPy's
        "inverted_cdf").
        """
        seen = self._counts[:, 1:]
        total = seen.sum(axis=1)
        if not total.any():
            raise DatasetError(
                "the series of the training split",
                "no band has a clear observation",
                "Give series of other points too",
            )
        values = np.arange(1, _VALUES, dtype=np.float64)
        mean = seen @ values / np.maximum(total, 1)
        variance = seen @ values**2 / np.maximum(total, 1) - mean**2
        below = seen.cumsum(axis=1)
        return Statistics(
            quantiles={
                str(percent): tuple(
                    1.0 + int(np.searchsorted(band, percent / 100 * count)) if count else 0.0
                    for band, count in zip(below, total, strict=True)
                )
                for percent in _PERCENTS
            },
            mean=tuple(mean.tolist()),
            std=tuple(np.sqrt(np.maximum(variance, 0)).tolist()),
            missing=float(self._counts[:, 0].sum() / self._counts.sum()),
            absent=tuple((self._absent / self._rows).tolist()),
        )
