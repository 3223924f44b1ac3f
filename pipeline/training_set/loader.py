"""The loader of a training set: batches in a random order per epoch, from any batch on."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from models.pretraining.batch import Batch
from pipeline.errors import DatasetError
from pipeline.io.store import Store, public_url
from pipeline.training_set.card import DatasetCard, Shard, read_card
from pipeline.training_set.prefetch import prefetched
from pipeline.training_set.random_order import epoch_order, inner_order, windows_of
from pipeline.training_set.shards import ShardRows, read_rows, to_rows

_READERS = 4  # shards read at once: object storage makes one wait
_AHEAD = 4  # batches made before they are asked for


@dataclass(frozen=True)
class TrainingSet:
    """A training set in a folder or an `s3://` prefix; sent to another process as its address."""

    store: Store
    card: DatasetCard

    @classmethod
    def open(cls, address: str) -> "TrainingSet":
        """The training set at an address; raises DatasetError where there is none."""
        store = Store(address)
        return cls(store, read_card(store))

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return TrainingSet.open, (self.store.root,)

    def rows(self, split: str) -> int:
        """The rows of a part: "train", "validation" or "test"."""
        return self.card.rows(split)

    def steps(self, split: str, batch: int, drop_last: bool = True) -> int:
        """The batches of an epoch."""
        rows = self.rows(split)
        return rows // batch if drop_last else -(-rows // batch)

    def order(self, split: str, seed: int, epoch: int) -> np.ndarray:
        """The rows of a part in an epoch's order: int64 (n,), counted over the shards in theirs.

        A function of the set, seed and epoch alone. Shards come in an order drawn by chance; of
        some at a time, the rows are shuffled. (When the set was made, all of a part's rows were.)
        """
        return epoch_order([shard.rows for shard in self.card.shards(split)], seed, epoch)

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
    ) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on; of each, the share of a process.

        A batch is `batch` consecutive rows of `order` over all processes, cut into `world` equal
        parts, of which process `rank` takes its own: what all processes together see does not
        depend on how many they are, nor on where one begins. The last, smaller batch is left out
        with `drop_last`; without, the last processes may get less of it, or nothing. Rows are read
        ahead by threads; held are the rows of twelve shards at most, and a few batches. Raises
        DatasetError for a batch that cannot be cut, for a part with less than one batch, and for
        shards that are missing or damaged.
        """
        self._require(split, batch, rank, world, drop_last)
        rows, spans = self.rows(split), []
        for step in range(start, self.steps(split, batch, drop_last)):
            first, last = step * batch, min((step + 1) * batch, rows)
            share = -(-(last - first) // world)
            low = first + rank * share
            spans.append((low, min(low + share, last)))
        made = _made(self, split, seed, epoch, [span for span in spans if span[0] < span[1]])
        return prefetched(made, _AHEAD)

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
                f"part {split!r} has {rows} rows, which is less than one",
                "Give smaller batches",
            )

    def read_shard(self, shard: Shard, more_columns: Sequence[str] = ()) -> pa.Table:
        """Read the columns of a shard that a batch is made of, and these more.

        Raises:
            DatasetError: the shard is missing or damaged.
        """
        key, store = shard.key, self.store
        try:
            source = pa.BufferReader(store.read(key)) if store.is_remote else store.path(key)
            table = read_rows(source, self.card, more_columns)
        except FileNotFoundError:
            problem = "it is missing"
        except (pa.ArrowException, OSError) as error:
            problem = f"it is damaged ({str(error).splitlines()[0]})"
        else:
            if table.num_rows == shard.rows:
                return table
            problem = f"it has {table.num_rows} rows, and {shard.rows} are wanted"
        raise DatasetError(
            public_url(self.store.path(shard.key)),
            problem,
            "Make the set again by `timesen dataset pack`, or copy it again",
        )


@dataclass(frozen=True, eq=False)
class _Held:
    """The rows of a window, and their order."""

    rows: ShardRows
    order: np.ndarray


class _Loader:
    """The windows of an epoch one after the other, the next one read while one is in use."""

    def __init__(self, dataset: TrainingSet, split: str, seed: int, epoch: int) -> None:
        self._dataset, self._seed, self._epoch = dataset, seed, epoch
        self._shards = dataset.card.shards(split)
        self.windows = windows_of([shard.rows for shard in self._shards], seed, epoch)
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="reading-shards")
        self._begun: dict[int, list[Future[pa.Table]]] = {}
        self._at = -1

    def take(self, number: int) -> "_Held":
        """A window's rows and their order."""
        self._begin(number)
        self._begin(number + 1)
        tables = [table.result() for table in self._begun.pop(number)]
        window = self.windows[number]
        rows = to_rows(tables, self._dataset.card)
        return _Held(rows, inner_order(window, self._seed, self._epoch))

    def _begin(self, number: int) -> None:
        if number > self._at and number < len(self.windows):
            shards = [self._shards[shard] for shard in self.windows[number].shards]
            self._begun[number] = [
                self._threads.submit(self._dataset.read_shard, s) for s in shards
            ]
            self._at = number

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _made(
    dataset: TrainingSet, split: str, seed: int, epoch: int, spans: Sequence[tuple[int, int]]
) -> Iterator[Batch]:
    """The batches of spans of the order, which follow each other."""
    loader = _Loader(dataset, split, seed, epoch)
    views = dataset.card.ground.views
    classes = {
        name: np.array([*texts, None], object) for name, texts in dataset.card.labels.items()
    }
    try:
        number, held = 0, None
        for low, high in spans:
            parts = []
            while low < high:
                window = loader.windows[number]
                if window.end <= low:
                    number, held = number + 1, None  # let go of before the next one is taken
                    continue
                held = held or loader.take(number)
                end = min(high, window.end)
                which = held.order[low - window.start : end - window.start]
                parts.append(held.rows.batch(which, views, classes))
                low = end
            yield parts[0] if len(parts) == 1 else _joined(parts)
    finally:
        loader.close()


def _joined(parts: Sequence[Batch]) -> Batch:
    return Batch(
        series=np.concatenate([part.series for part in parts]),
        ground=np.concatenate([part.ground for part in parts]),
        present=np.concatenate([part.present for part in parts]),
        keys=np.concatenate([part.keys for part in parts]),
        ids=[name for part in parts for name in part.ids],
        labels={
            name: [text for part in parts for text in part.labels[name]] for name in parts[0].labels
        },
    )
