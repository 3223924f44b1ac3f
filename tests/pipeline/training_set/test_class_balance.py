"""Balanced drawing: how often rows of each class come, in any division of the work."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DatasetError
from pipeline.training_set.class_balance import ClassBalance, largest_remainders, times_of_rows
from pipeline.training_set.loader import TrainingSet
from tests.training_sets import made_set

COUNTS = st.lists(st.lists(st.integers(0, 40), min_size=4, max_size=4), min_size=1, max_size=7).map(
    lambda rows: np.array(rows, np.int64)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sets") / "set"
    made_set(str(made), rare=4)
    return made


def epoch_ids(dataset: TrainingSet, balance: ClassBalance | None, **more: Any) -> list[list[str]]:
    fields: dict[str, Any] = {"batch": 24, "seed": 5, "epoch": 2} | more
    return [list(b.ids) for b in dataset.batches("train", balance=balance, **fields)]


@given(COUNTS, st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 5))
def test_an_epoch_has_as_many_rows_of_each_class_as_it_should(
    counts: np.ndarray, exponent: float, epoch: int
) -> None:
    balance = ClassBalance("cover", exponent)
    held = counts.sum(axis=0)
    wanted = balance.rows_per_class(held)
    assert wanted.sum() == held.sum()
    assert wanted[-1] == held[-1]  # rows without a class come once
    assert ((wanted > 0) == (held > 0)).all()
    named = held[:-1].astype(float)
    if named.any():
        weights = np.where(named > 0, named**exponent, 0)
        assert np.abs(wanted[:-1] - weights / weights.sum() * named.sum()).max() < 1
    taken = balance.rows_per_shard(counts, 3, epoch)
    assert (taken.sum(axis=0) == wanted).all()
    # Evenly over the shards: each within one row of its part.
    assert np.abs(taken - counts * (wanted / np.maximum(held, 1))).max() <= 1 + 1e-9
    assert (taken[counts == 0] == 0).all()
    if exponent == 1:
        assert (taken == counts).all()


def test_rows_of_a_class_come_equally_often_but_for_one() -> None:
    classes = np.array([0, 1, 0, -1, 0, 1, -1])
    times = times_of_rows(classes, np.array([7, 1, 0, 2]), 5, 0, 3)
    assert sorted(times[classes == 0]) == [2, 2, 3]
    assert sorted(times[classes == 1]) == [0, 1]
    assert times[classes == -1].tolist() == [1, 1]
    others = [times_of_rows(classes, np.array([7, 1, 0, 2]), 5, n, 3).tolist() for n in range(20)]
    assert len(set(map(tuple, others))) > 3  # which one, each epoch draws anew


def test_numbers_are_rounded_to_the_same_sum() -> None:
    assert largest_remainders(np.array([1.5, 2.25, 0.25])).tolist() == [2, 2, 0]
    assert largest_remainders(np.array([0.0, 3.0])).tolist() == [0, 3]


def test_rare_classes_come_more_often(folder: Path) -> None:
    dataset = TrainingSet.open(str(folder))
    names = {0.0: 60, 1.0: 4}
    for exponent, rare in names.items():
        batches = list(
            dataset.batches(
                "train", batch=20, seed=5, epoch=0, balance=ClassBalance("cover", exponent)
            )
        )
        found = Counter(label for batch in batches for label in batch.labels["cover"])
        assert sum(found.values()) == 200
        assert found["rare"] == pytest.approx(rare, abs=16 if exponent == 0 else 0)
    # In an epoch rows of a rare class come equally often, but for one more or less.
    ids = Counter(
        name
        for batch in dataset.batches(
            "train", batch=20, seed=5, epoch=0, balance=ClassBalance("cover", 0.0)
        )
        for name, label in zip(batch.ids, batch.labels["cover"], strict=True)
        if label == "rare"
    )
    assert len(ids) == 4


def test_without_balance_or_with_exponent_1_all_is_as_it_was(folder: Path) -> None:
    dataset = TrainingSet.open(str(folder))
    assert epoch_ids(dataset, ClassBalance("cover", 1.0)) == epoch_ids(dataset, None)


def test_processes_and_resumed_epochs_see_the_same(folder: Path) -> None:
    dataset, balance = TrainingSet.open(str(folder)), ClassBalance("cover", 0.2)
    alone = epoch_ids(dataset, balance)
    assert len(alone) == 200 // 24
    assert epoch_ids(dataset, balance, start=3) == alone[3:]
    shares = [epoch_ids(dataset, balance, rank=rank, world=2) for rank in range(2)]
    assert [one + other for one, other in zip(*shares, strict=True)] == alone
    assert epoch_ids(dataset, balance, epoch=3) != alone


def test_a_set_whose_card_has_no_counts_by_shard_is_balanced_alike(
    folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "old"
    shutil.copytree(folder, copy)
    card = json.loads((copy / "dataset.json").read_text())
    for shards in card["splits"].values():
        for shard in shards:
            del shard["counts"]
    (copy / "dataset.json").write_text(json.dumps(card))
    old, new = TrainingSet.open(str(copy)), TrainingSet.open(str(folder))
    assert (old.class_counts("train", "cover") == new.class_counts("train", "cover")).all()
    balance = ClassBalance("cover", 0.5)
    assert epoch_ids(old, balance) == epoch_ids(new, balance)


def test_a_label_that_is_not_there_is_refused(folder: Path) -> None:
    dataset = TrainingSet.open(str(folder))
    with pytest.raises(DatasetError, match=r"has none of this name.*cover"):
        dataset.batches("train", batch=8, seed=0, epoch=0, balance=ClassBalance("crop", 0.5))
