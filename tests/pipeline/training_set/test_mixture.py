"""Several training sets as one: shares, epochs, resuming, processes, and what does not fit."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.encoder.preprocessing import BANDS
from models.pretraining.batch import NO_KEY, Batch
from pipeline.errors import DatasetError
from pipeline.training_set.class_balance import ClassBalance
from pipeline.training_set.mixture import SetMixture
from tests.training_sets import made_set


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A large set of three views a row, and a small one of two, with another label."""
    folder = tmp_path_factory.mktemp("sets")
    made_set(str(folder / "large"), rare=4)
    made_set(str(folder / "small"), train=17, held_out=9, views=2, seed=1, label="crop", prefix="s")
    return [str(folder / "large"), str(folder / "small")]


def taken(mixture: SetMixture, steps: int, step: int = 0, **more: int) -> list[Batch]:
    batches = mixture.batches("train", batch=20, seed=5, step=step, **more)
    found = list(islice(batches, steps))
    batches.close()
    return found


def test_batches_have_their_share_of_each_set_epoch_after_epoch(sets: list[str]) -> None:
    mixture = SetMixture.open(sets, [0.63, 0.37])
    batches = taken(mixture, 100)
    of_small = [[name for name in batch.ids if name.startswith("s")] for batch in batches]
    assert {len(batch) for batch in batches} == {20}
    assert {len(names) for names in of_small} == {7, 8}  # of 7.4
    assert sum(map(len, of_small)) == 740
    in_order = [name for names in of_small for name in names]
    for start in range(0, 740 - 17, 17):  # each epoch of the small set has all its rows
        assert len(set(in_order[start : start + 17])) == 17
    assert in_order[:17] != in_order[17:34]
    large = [name for batch in batches for name in batch.ids if name.startswith("p")]
    assert len(set(large[:200])) == 200


def test_a_training_resumes_at_any_step_and_on_any_number_of_processes(sets: list[str]) -> None:
    mixture = SetMixture.open(sets, exponent=0.3, balance=None)
    ids = [list(batch.ids) for batch in taken(mixture, 30)]
    for step in (1, 13, 29):
        assert [list(b.ids) for b in taken(mixture, 30 - step, step)] == ids[step:]
    for world in (2, 4):
        parts = [taken(mixture, 30, rank=rank, world=world) for rank in range(world)]
        for step in range(30):
            assert [name for part in parts for name in part[step].ids] == ids[step]
            assert {len(part[step]) for part in parts} == {20 // world}


def test_what_a_set_lacks_is_padded(sets: list[str]) -> None:
    batch = taken(SetMixture.open(sets), 1)[0]
    assert batch.ground.shape == (20, 3, 16)
    assert batch.keys.shape == batch.present.shape == (20, 3)
    small = np.array([name.startswith("s") for name in batch.ids])
    assert small.sum() == 2  # by rows
    assert not batch.present[small, 2].any()
    assert not batch.ground[small, 2].any()
    assert (batch.keys[small, 2] == NO_KEY).all()
    assert batch.present[~small, 2].any()
    assert {batch.labels["cover"][row] for row in np.flatnonzero(small)} == {None}
    assert any(batch.labels["crop"])


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6), st.integers(0, 10**6), st.data())
def test_shares_are_exact_over_the_steps(
    weights: list[int], step: int, data: st.DataObject
) -> None:
    shares = np.array(weights) / sum(weights)
    batch = int(np.ceil(1 / shares.min())) + data.draw(st.integers(0, 500))
    mixture = SetMixture((), tuple(shares.tolist()))
    before, after = (mixture.rows_before(number, batch) for number in (step, step + 1))
    assert before.sum() == step * batch
    assert np.abs(before - step * batch * shares).max() < 1
    assert (after >= before).all()
    assert (after - before).sum() == batch


def test_shares_follow_the_rows_or_the_exponent(sets: list[str]) -> None:
    assert SetMixture.open(sets).shares == pytest.approx((200 / 217, 17 / 217))
    assert SetMixture.open(sets, exponent=0).shares == (0.5, 0.5)
    one = SetMixture.open(sets[:1])
    assert one.shares == (1.0,)
    assert one.fingerprint == one.card.fingerprint
    assert SetMixture.open(sets).fingerprint != SetMixture.open(sets, exponent=0).fingerprint


def test_validation_is_of_each_set(sets: list[str]) -> None:
    mixture = SetMixture.open([*sets, sets[1]])
    assert mixture.names == ("large", "small (1)", "small (2)")
    found = {name: list(of) for name, of in mixture.validation("validation", batch=16).items()}
    rows = {name: sum(map(len, of)) for name, of in found.items()}
    assert rows == {"large": 40, "small (1)": 9, "small (2)": 9}
    assert {batch.keys.shape[1] for of in found.values() for batch in of} == {3}


def test_sets_that_do_not_fit_are_refused_and_why(sets: list[str], tmp_path: Path) -> None:
    made_set(str(tmp_path / "turned"), train=30, held_out=5, bands=BANDS[::-1])
    made_set(str(tmp_path / "tower"), train=30, held_out=5, dim=8, tower="clip:other")
    for other, problem in (
        ("turned", r"its bands are B12, .* not B02, .*, as in .*large"),
        ("tower", r"tower is clip:other, not clip:made; its length of embeddings is 8, not 16"),
    ):
        with pytest.raises(DatasetError, match=problem):
            SetMixture.open([*sets, str(tmp_path / other)])
    for shares in ([0.5, 0.6], [1.0], [1.0, 0.0]):
        with pytest.raises(DatasetError, match="each set needs a share above 0"):
            SetMixture.open(sets, shares)
    with pytest.raises(DatasetError, match="less than a row of each batch"):
        taken(SetMixture.open(sets, [0.99, 0.01]), 1)
    with pytest.raises(DatasetError, match="small has none of this name"):
        SetMixture.open(sets, balance=ClassBalance("cover", 0.5))
