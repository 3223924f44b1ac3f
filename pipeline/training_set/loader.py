"""The loader of a training set: batches in a random order per epoch, from any batch on."""

import contextlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count, zip_longest

import numpy as np
import pyarrow as pa

from models.pretraining.batch import Batch
from pipeline.errors import DatasetError
from pipeline.io.store import Store, public_url
from pipeline.io.table_folder import open_card
from pipeline.point_series.point_columns import LABEL
from pipeline.training_set.card import SET_CARD, DatasetCard, Shard
from pipeline.training_set.class_balance import ClassBalance, times_of_rows
from pipeline.training_set.prefetch import prefetched
from pipeline.training_set.random_order import Window, inner_order, windows_of
from pipeline.training_set.shards import ShardRows, join_batches, read_rows, shard_problem, to_rows

_READERS = 4  # shards read at once, since each request to object storage waits
_AHEAD = 4  # batches made before they are needed
_REMEDY = "Make one by `timesen dataset pack SERIES --ground GROUND --out SET`"


@dataclass(frozen=True)
class TrainingSet:
    """A training set in a folder or an `s3://` prefix. It is pickled as its address."""

    store: Store
    card: DatasetCard
    _counted: dict[tuple[str, str], np.ndarray] = field(
        default_factory=dict, repr=False, compare=False
    )

    @classmethod
    def open(cls, address: str) -> "TrainingSet":
        """The training set at an address; raises DatasetError where there is none."""
        store = Store(address)
        return cls(store, open_card(store, SET_CARD, DatasetCard, "training set", _REMEDY))

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return TrainingSet.open, (self.store.root,)

    def rows(self, split: str) -> int:
        """The number of rows of a split: "train", "validation" or "test"."""
        return self.card.rows(split)

    def steps(self, split: str, batch: int, drop_last: bool = True) -> int:
        """The batches of an epoch."""
        rows = self.rows(split)
        return rows // batch if drop_last else -(-rows // batch)

    def batches(
        self,
        split: str,
        *,
        batch: int,
        seed: int,
        epoch: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = True,
        balance: ClassBalance | None = None,
    ) -> Generator[Batch]:
        """The batches of an epoch from number `start` on; of each, the share of a process.

        The order of an epoch's rows is a function of the set, the seed and the epoch
        (`pipeline.training_set.random_order`). A batch is `batch` consecutive rows of it, cut into
        `world` equal parts, of which process `rank` takes its own: so all processes together see
        the same batches, however many they are, and wherever one begins.

        With `drop_last`, the last, smaller batch is left out; otherwise the last processes may get
        less of it, or nothing. With `balance`, rows come more or less than once in an epoch of as
        many rows (`ClassBalance`). Rows are read ahead by threads. In memory are the rows of at
        most twelve shards, and a few batches.

        Raises:
            DatasetError: The batch cannot be cut, the split has less than one batch, the label to
                balance is not there, or a shard is missing or damaged.
        """
        self._require(split, batch, rank, world, drop_last)
        rows, steps = self.rows(split), range(start, self.steps(split, batch, drop_last))

        def spans() -> Iterator[tuple[int, int]]:
            for step in steps:  # one by one: a card may promise more rows than fit in memory
                first, last = step * batch, min((step + 1) * batch, rows)
                share = -(-(last - first) // world)
                low = first + rank * share
                if low < last:
                    yield low, min(low + share, last)

        first, _ = next(spans(), (rows, rows))
        windows = self._epochs(split, seed, balance).windows(epoch, first)
        return prefetched(_batches(RowStream(windows, self.card), spans()), _AHEAD)

    def stream(
        self, split: str, seed: int, first: int, balance: ClassBalance | None = None
    ) -> "RowStream":
        """The rows of a split from row `first` on, in each epoch's order, epoch after epoch.

        Row numbers go on over the epochs. Raises DatasetError as `batches`.
        """
        return RowStream(self._epochs(split, seed, balance).endless(first), self.card)

    def class_counts(self, split: str, label: str) -> np.ndarray:
        """Rows of each shard and class of a label, the last class being none: int64 (shard, class).

        Where the card has no counts by shard, all shards are read.

        Raises:
            DatasetError: There is no such label, or a shard is missing or damaged.
        """
        if (split, label) in self._counted:
            return self._counted[split, label]
        self.card.require_label(label, public_url(self.store.root))
        classes = (*self.card.labels[label], "")

        def counts(shard: Shard) -> Mapping[str, int]:
            if shard.counts is not None:
                return shard.counts[label]
            texts = self.read_shard(shard)[LABEL + label].to_pylist()
            return Counter(text or "" for text in texts)

        found = [counts(shard) for shard in self.card.shards(split)]
        rows = [[of.get(name, 0) for name in classes] for of in found]
        self._counted[split, label] = np.array(rows, np.int64).reshape(-1, len(classes))
        return self._counted[split, label]

    def _epochs(self, split: str, seed: int, balance: ClassBalance | None) -> "_Epochs":
        counts = None if balance is None else self.class_counts(split, balance.label)
        return _Epochs(self, split, seed, balance, counts)

    def _require(self, split: str, batch: int, rank: int, world: int, drop_last: bool) -> None:
        rows = self.rows(split)
        if batch < 1 or batch % world:
            raise DatasetError(
                f"batches of {batch} for {world} processes",
                "they cannot be cut into equal parts, of one or more",
                f"Give a multiple of {world}",
            )
        if not 0 <= rank < world:
            raise DatasetError(f"process {rank} of {world}", "no such process", "Count from 0")
        if drop_last and rows < batch:
            raise DatasetError(
                f"batches of {batch}",
                f"split {split!r} has {rows} rows, which is less than one",
                "Give smaller batches",
            )

    def read_shard(self, shard: Shard, more_columns: Sequence[str] = ()) -> pa.Table:
        """Read the columns of a shard that batches need, and these more.

        Raises:
            DatasetError: The shard is missing or damaged.
        """
        key, store = shard.key, self.store
        try:
            source = pa.BufferReader(store.read(key)) if store.is_remote else store.path(key)
            table = read_rows(source, self.card, more_columns)
        except FileNotFoundError:
            problem = "it is missing"
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            problem = f"it is damaged ({str(error).splitlines()[0]})"
        else:
            if not (problem := shard_problem(table, self.card, shard, more_columns)):
                return table
        raise DatasetError(
            public_url(self.store.path(shard.key)),
            problem,
            "Make the set again by `timesen dataset pack`, or copy it again",
        )


class RowStream:
    """Rows in the order of their windows, taken from the front; close it at the end."""

    def __init__(self, windows: Generator["_WindowRows"], card: DatasetCard) -> None:
        self._windows, self._side = windows, card.ground
        self._classes = {name: np.array([*of, None], object) for name, of in card.labels.items()}
        self._held: _WindowRows | None = None

    def take(self, low: int, high: int) -> Batch:
        """The rows `low` … `high - 1` of the order; `low` is not below what was taken before."""
        parts = []
        while low < high:
            if self._held is None or self._held.end <= low:
                self._held = None  # free its rows before the next one is read
                self._held = next(self._windows)
                continue
            held, end = self._held, min(high, self._held.end)
            which = held.order[low - held.start : end - held.start]
            parts.append(held.rows.batch(which, self._side, self._classes))
            low = end
        return join_batches(parts)

    def close(self) -> None:
        """End the threads that read ahead."""
        self._windows.close()


def _batches(stream: RowStream, spans: Iterable[tuple[int, int]]) -> Iterator[Batch]:
    """The batches of spans of an epoch's order, which follow each other."""
    with contextlib.closing(stream):
        for low, high in spans:
            yield stream.take(low, high)


@dataclass(frozen=True, eq=False)
class _WindowRows:
    """The rows of a window, and their order, which begins at place `start`."""

    start: int
    rows: ShardRows
    order: np.ndarray

    @property
    def end(self) -> int:
        return self.start + len(self.order)


@dataclass(frozen=True, eq=False)
class _Epochs:
    """The epochs of a split; `counts` are those of the label that is balanced."""

    dataset: TrainingSet
    split: str
    seed: int
    balance: ClassBalance | None
    counts: np.ndarray | None

    def endless(self, first: int) -> Generator[_WindowRows]:
        """The windows from row `first` on, counted over all epochs."""
        rows = self.dataset.rows(self.split)
        begun, within = divmod(first, rows)
        for epoch in count(begun):
            with contextlib.closing(self.windows(epoch, within)) as windows:
                for held in windows:
                    yield replace(held, start=epoch * rows + held.start)
                    del held
            within = 0

    def windows(self, epoch: int, first: int) -> Generator[_WindowRows]:
        """The windows of an epoch from row `first` of its order on; the next is read meanwhile."""
        shards, card = self.dataset.card.shards(self.split), self.dataset.card
        rows_of_classes = None
        if self.balance is not None and self.counts is not None:
            rows_of_classes = self.balance.rows_per_shard(self.counts, self.seed, epoch)
        rows_of = [shard.rows for shard in shards]
        if rows_of_classes is not None:
            rows_of = rows_of_classes.sum(axis=1).tolist()
        windows = windows_of(rows_of, self.seed, epoch)
        windows = [window for window in windows if window.end > first]
        threads = ThreadPoolExecutor(_READERS, thread_name_prefix="reading-shards")

        def begin(window: Window) -> list[Future[pa.Table]]:
            return [
                threads.submit(self.dataset.read_shard, shards[number]) for number in window.shards
            ]

        try:
            following = begin(windows[0]) if windows else []
            for window, after in zip_longest(windows, windows[1:]):
                current, following = following, begin(after) if after else []
                rows = to_rows([table.result() for table in current], card)
                del current
                order = inner_order(window, self.seed, epoch)
                if rows_of_classes is not None:
                    order = self._repeated(rows, window, rows_of_classes, epoch)[order]
                yield _WindowRows(window.start, rows, order)
                del rows
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _repeated(
        self, rows: ShardRows, window: Window, wanted: np.ndarray, epoch: int
    ) -> np.ndarray:
        """The numbers of a window's rows, each as often as it comes in the epoch: int64 (n,)."""
        assert self.balance is not None
        shards = self.dataset.card.shards(self.split)
        cuts = np.cumsum([shards[number].rows for number in window.shards])[:-1]
        classes = np.split(rows.labels[self.balance.label], cuts)
        times = [
            times_of_rows(of, wanted[number], self.seed, epoch, number)
            for number, of in zip(window.shards, classes, strict=True)
        ]
        return np.repeat(np.arange(len(rows)), np.concatenate(times))
