"""Several training sets as one: each batch has a share of its rows from every set."""

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from models.pretraining.batch import NO_KEY, Batch
from pipeline.errors import DatasetError
from pipeline.io.fingerprint import fingerprint
from pipeline.io.store import public_url
from pipeline.training_set.card import DatasetCard
from pipeline.training_set.class_balance import ClassBalance, largest_remainders
from pipeline.training_set.loader import TrainingSet
from pipeline.training_set.shards import join_batches

_WHOLE = 1e-6  # by which the sum of shares may differ from 1


@dataclass(frozen=True)
class SetMixture:
    """Training sets, the share of each in a batch, and how rows are drawn within each.

    Attributes:
        sets: One or more, of the same bands and ground embeddings.
        shares: Their sum is 1.
        balance: The drawing of classes within each set; None takes every row once in an epoch.
    """

    sets: tuple[TrainingSet, ...]
    shares: tuple[float, ...] = (1.0,)
    balance: ClassBalance | None = None

    @classmethod
    def open(
        cls,
        addresses: Sequence[str],
        shares: Sequence[float] | None = None,
        exponent: float = 1.0,
        balance: ClassBalance | None = None,
    ) -> "SetMixture":
        """Open training sets that go together.

        Args:
            addresses: Their folders or `s3://` prefixes.
            shares: The share of each; None for shares in proportion to the number of training rows
                to the power `exponent`.
            exponent: 1 for shares by rows, 0 for equal shares.
            balance: The drawing of classes within each set.

        Raises:
            DatasetError: A set is missing or has no training rows, the sets do not fit each other,
                the shares are not theirs, or a set lacks the label that is balanced.
        """
        sets = tuple(TrainingSet.open(address) for address in addresses)
        for other in sets[1:]:
            _require_alike(sets[0], other)
        for one in sets:
            if balance is not None:
                one.card.require_label(balance.label, public_url(one.store.root))
            if not one.rows("train"):
                raise DatasetError(
                    public_url(one.store.root), "it has no rows to train with", "Leave it out"
                )
        if shares is None:
            weights = [float(one.rows("train")) ** exponent for one in sets]
        elif len(shares) == len(sets) and abs(sum(shares) - 1) <= _WHOLE and min(shares) > 0:
            weights = list(shares)
        else:
            raise DatasetError(
                f"shares {', '.join(f'{share:g}' for share in shares)} of {len(sets)} sets",
                "each set needs a share above 0, and their sum must be 1",
                "Give one for each set, in their order, or none",
            )
        total = sum(weights)
        return cls(sets, tuple(weight / total for weight in weights), balance)

    @property
    def card(self) -> DatasetCard:
        """The first set's card: bands and tower are those of all."""
        return self.sets[0].card

    @property
    def fingerprint(self) -> str:
        """That of a single set, else a hash over those of all and their shares."""
        if len(self.sets) == 1:
            return self.card.fingerprint
        parts = [one.card.fingerprint for one in self.sets]
        return fingerprint({"sets": parts, "shares": list(self.shares)})

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each set: its folder's, with a number where several have the same."""
        folders = [one.store.root.rstrip("/").rpartition("/")[2] for one in self.sets]
        several, seen = Counter(folders), Counter[str]()
        names = []
        for folder in folders:
            seen[folder] += 1
            names.append(f"{folder} ({seen[folder]})" if several[folder] > 1 else folder)
        return tuple(names)

    def rows(self, split: str) -> int:
        """The number of rows of a split in all sets."""
        return sum(one.rows(split) for one in self.sets)

    def rows_before(self, step: int, batch: int) -> np.ndarray:
        """How many rows of each set come before a step: int64 (set,); in sum step · batch."""
        return largest_remainders(step * batch * np.array(self.shares))

    def require_batch(self, batch: int) -> None:
        """Raise DatasetError where a batch has less than a row of a set."""
        for name, share in zip(self.names, self.shares, strict=True):
            if batch * share < 1:
                raise DatasetError(
                    f"{name}, a share of {share:.2g} of batches of {batch}",
                    "that is less than a row of each batch",
                    f"Give larger batches, or a share of {1 / batch:.2g} or more",
                )

    def batches(
        self, split: str, *, batch: int, seed: int, step: int = 0, rank: int = 0, world: int = 1
    ) -> Generator[Batch]:
        """The batches from a step on, without end; of each, the part of a process.

        A batch has the rows of the first set, then those of the second, and so on; over the steps
        their numbers add up to the shares. Of each set they follow each other in its random order,
        epoch after epoch, so that a small set begins anew while a large one goes on. A batch is a
        function of the sets, the shares, the seed and the step; it is cut into `world` equal parts.
        Missing views and keys are padded, and labels that a set lacks are None.

        Raises:
            DatasetError: As `TrainingSet.read_shard`, or as `require_batch`.
        """
        self.require_batch(batch)
        part = np.array([rank, rank + 1]) * (batch // world)
        begun = self.rows_before(step, batch)
        with ExitStack() as stack:
            streams = [
                stack.enter_context(closing(one.stream(split, seed, int(first), self.balance)))
                for one, first in zip(self.sets, begun, strict=True)
            ]
            for number in count(step):
                before, after = begun, self.rows_before(number + 1, batch)
                place = np.cumsum([0, *(after - before)])
                parts = []
                for stream, one, first, low, high in zip(
                    streams, self.sets, before, place, place[1:], strict=False
                ):
                    start, end = first - low + np.clip(part, low, high)
                    if start < end:
                        parts.append(self._padded(stream.take(int(start), int(end)), one))
                yield join_batches(parts)
                begun = after

    def validation(
        self, split: str, *, batch: int, rank: int = 0, world: int = 1
    ) -> dict[str, Iterator[Batch]]:
        """A process's parts of all rows of a split, by the name of each set that has some."""

        def of_set(one: TrainingSet) -> Iterator[Batch]:
            for found in one.batches(
                split, batch=batch, seed=0, epoch=0, rank=rank, world=world, drop_last=False
            ):
                yield self._padded(found, one)

        return {
            name: of_set(one)
            for name, one in zip(self.names, self.sets, strict=True)
            if split in one.card.splits and one.rows(split)
        }

    def _padded(self, batch: Batch, source: TrainingSet) -> Batch:
        """The batch of a set with as many views and keys as the set with most, and all labels."""
        if len(self.sets) == 1:
            return batch
        sides, own = [one.card.ground for one in self.sets], source.card.ground
        lacking = max(side.views for side in sides) - own.views
        fewer = max(side.possible for side in sides) - own.possible

        def wider(array: np.ndarray, columns: int, value: int) -> np.ndarray:
            widths = [(0, 0), (0, columns), *[(0, 0)] * (array.ndim - 2)]
            return np.pad(array, widths, constant_values=value)

        keys = (
            wider(batch.keys[:, : own.views], lacking, NO_KEY),
            wider(batch.keys[:, own.views :], fewer, NO_KEY),
        )
        names = dict.fromkeys(name for one in self.sets for name in one.card.labels)
        return replace(
            batch,
            ground=wider(batch.ground, lacking, 0),
            present=wider(batch.present, lacking, False),
            keys=np.concatenate(keys, axis=1),
            labels={name: batch.labels.get(name) or [None] * len(batch) for name in names},
        )


def _require_alike(first: TrainingSet, other: TrainingSet) -> None:
    """Raise DatasetError where two sets cannot be trained on together."""
    one, two = first.card, other.card
    differing = [
        f"its {name} {'are' if name == 'bands' else 'is'} {theirs}, not {own}"
        for name, own, theirs in (
            ("bands", ", ".join(one.bands), ", ".join(two.bands)),
            ("number of months", one.months, two.months),
            ("tower", one.ground.tower, two.ground.tower),
            ("tower's revision", one.ground.revision, two.ground.revision),
            ("length of embeddings", one.ground.dim, two.ground.dim),
        )
        if own != theirs
    ]
    if differing:
        raise DatasetError(
            public_url(other.store.root),
            f"{'; '.join(differing)}, as in {public_url(first.store.root)}",
            "Give sets of the same bands in the same order, whose ground one tower has embedded",
        )
