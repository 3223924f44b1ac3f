"""The loader of a training set: batches in a random order per epoch, from any batch on."""

import contextlib
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import pyarrow as pa

from models.pretraining.batch import Batch
from pipeline.errors import DatasetError
from pipeline.io.store import Store, public_url
from pipeline.io.table_folder import open_card
from pipeline.training_set.card import SET_CARD, DatasetCard, Shard
from pipeline.training_set.prefetch import prefetched
from pipeline.training_set.random_order import Window, inner_order, windows_of
from pipeline.training_set.shards import ShardRows, read_rows, to_rows

_READERS = 4  # shards read at once, since each request to object storage waits
_AHEAD = 4  # batches made before they are needed
_REMEDY = "Make one by `timesen dataset pack SERIES --ground GROUND --out SET`"


@dataclass(frozen=True)
class TrainingSet:
    """A training set in a folder or an `s3://` prefix. It is pickled as its address."""

    store: Store
    card: DatasetCard

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
    ) -> Generator[Batch]:
        """The batches of an epoch from number `start` on; of each, the share of a process.

        The order of an epoch's rows is a function of the set, the seed and the epoch
        (`pipeline.training_set.random_order`). A batch is `batch` consecutive rows of it, cut into
        `world` equal parts, of which process `rank` takes its own: so all processes together see
        the same batches, however many they are, and wherever one begins.

        With `drop_last`, the last, smaller batch is left out; otherwise the last processes may get
        less of it, or nothing. Rows are read ahead by threads. In memory are the rows of at most
        twelve shards, and a few batches.

        Raises:
            DatasetError: The batch cannot be cut, the split has less than one batch, or a shard is
                missing or damaged.
        """
        self._require(split, batch, rank, world, drop_last)
        rows, spans = self.rows(split), []
        for step in range(start, self.steps(split, batch, drop_last)):
            first, last = step * batch, min((step + 1) * batch, rows)
            share = -(-(last - first) // world)
            low = first + rank * share
            if low < last:
                spans.append((low, min(low + share, last)))
        return prefetched(_batches(self, split, seed, epoch, spans), _AHEAD)

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


def _batches(
    dataset: TrainingSet, split: str, seed: int, epoch: int, spans: Sequence[tuple[int, int]]
) -> Iterator[Batch]:
    """The batches of spans of an epoch's order, which follow each other."""
    card = dataset.card
    classes = {name: np.array([*texts, None], object) for name, texts in card.labels.items()}
    first = spans[0][0] if spans else dataset.rows(split)
    with contextlib.closing(_windows(dataset, split, seed, epoch, first)) as windows:
        held = None
        for low, high in spans:
            parts = []
            while low < high:
                if held is None or held.window.end <= low:
                    held = None  # free its rows before the next one is read
                    held = next(windows)
                    continue
                window, end = held.window, min(high, held.window.end)
                which = held.order[low - window.start : end - window.start]
                parts.append(held.rows.batch(which, card.ground.views, classes))
                low = end
            yield parts[0] if len(parts) == 1 else _join(parts)


@dataclass(frozen=True, eq=False)
class _WindowRows:
    """The rows of a window, and their order."""

    window: Window
    rows: ShardRows
    order: np.ndarray


def _windows(
    dataset: TrainingSet, split: str, seed: int, epoch: int, first: int
) -> Generator[_WindowRows]:
    """The windows of an epoch from row `first` of its order on; the next is read meanwhile."""
    shards = dataset.card.shards(split)
    windows = windows_of([shard.rows for shard in shards], seed, epoch)
    windows = [window for window in windows if window.end > first]
    threads = ThreadPoolExecutor(_READERS, thread_name_prefix="reading-shards")

    def begin(window: Window) -> list[Future[pa.Table]]:
        return [threads.submit(dataset.read_shard, shards[number]) for number in window.shards]

    try:
        following = begin(windows[0]) if windows else []
        for window, after in zip_longest(windows, windows[1:]):
            current, following = following, begin(after) if after else []
            rows = to_rows([table.result() for table in current], dataset.card)
            del current
            yield _WindowRows(window, rows, inner_order(window, seed, epoch))
            del rows
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _join(parts: Sequence[Batch]) -> Batch:
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("series", "ground", "present", "keys")
    }
    labels = {name: [t for part in parts for t in part.labels[name]] for name in parts[0].labels}
    return Batch(**arrays, ids=[name for part in parts for name in part.ids], labels=labels)
