import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.pretraining.collectives import Processes
from models.pretraining.losses import InfoNCE, SymmetricInfoNCE
from models.pretraining.memory_bank import MemoryBank


def _loss_plainly(
    pixels: np.ndarray,
    positives: np.ndarray,
    negatives: np.ndarray,
    same: np.ndarray,
    scale: float,
) -> float:
    losses = []
    for row, pixel in enumerate(pixels):
        a = pixel / np.linalg.norm(pixel)
        logits = [scale * (a @ positives[row]) / np.linalg.norm(positives[row])]
        for column, negative in enumerate(negatives):
            if not same[row, column]:
                logits.append(scale * (a @ negative) / np.linalg.norm(negative))
        losses.append(math.log(sum(math.exp(logit - logits[0]) for logit in logits)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("masked", [False, True])
def test_loss_agrees_with_the_plain_reference(masked: bool) -> None:
    rng = np.random.default_rng(5)
    pixels, positives = rng.normal(size=(2, 6, 8)).astype(np.float32)
    negatives = rng.normal(size=(11, 8)).astype(np.float32)
    same = rng.random((6, 11)) < (0.4 if masked else 0.0)
    got = InfoNCE()(
        *map(torch.from_numpy, (pixels, positives, negatives)),
        torch.from_numpy(same) if masked else None,
    )
    sides = (side.astype(np.float64) for side in (pixels, positives, negatives))
    assert abs(float(got) - _loss_plainly(*sides, same, 1 / 0.07)) < 1e-6


def test_rows_whose_negatives_are_all_the_same_lose_nothing() -> None:
    sides = torch.randn(2, 4, 8)
    pixels = sides[0].requires_grad_()
    loss = InfoNCE()(pixels, sides[1], torch.randn(3, 8), torch.ones(4, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert pixels.grad is not None
    assert torch.isfinite(pixels.grad).all()


@pytest.mark.parametrize("in_batch", [False, True])
def test_what_is_left_out_leaves_a_learned_scale_its_gradient(in_batch: bool) -> None:
    sides = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    keys = torch.tensor([1, 1, 2, 3])
    loss = (SymmetricInfoNCE if in_batch else InfoNCE)(learned=True)
    same = keys[:, None] == keys[None]
    found = (
        loss(sides[0], sides[1], keys, keys[:, None], Processes())
        if isinstance(loss, SymmetricInfoNCE)
        else loss(*sides, same)
    )
    found.backward()
    assert loss.log_scale.grad is not None
    assert torch.isfinite(loss.log_scale.grad)


def test_the_symmetric_loss_agrees_with_the_plain_reference() -> None:
    rng = np.random.default_rng(6)
    pixels, ground = rng.normal(size=(2, 7, 8)).astype(np.float32)
    keys = np.array([-1, 4, 4, -1, 5, 6, 4])
    got = SymmetricInfoNCE(0.1)(
        *map(torch.from_numpy, (pixels, ground, keys, keys[:, None])), processes=Processes()
    )
    # Those without a key are the same as nothing; of each row, all others are the negatives.
    same = (keys[:, None] == keys) & (keys != -1) | np.eye(7, dtype=bool)
    sides = [side.astype(np.float64) for side in (pixels, ground)]
    ways = [_loss_plainly(a, b, b, same, 10.0) for a, b in (sides, sides[::-1])]
    assert abs(float(got) - sum(ways) / 2) < 1e-6


def test_what_is_true_of_a_pixel_is_no_negative_in_either_direction() -> None:
    rng = np.random.default_rng(7)
    pixels, ground = rng.normal(size=(2, 4, 8)).astype(np.float32)
    keys = np.array([1, 2, 3, -5])
    subjects = np.array([[1, 2], [2, -1], [3, 1], [-1, -5]])  # a maize row is also cropland
    got = SymmetricInfoNCE(0.1)(
        *map(torch.from_numpy, (pixels, ground, keys, subjects)), processes=Processes()
    )
    true = (subjects[:, :, None] == keys).any(axis=1)  # (pixel, ground)
    assert true.sum() == 4 + 2
    sides = [side.astype(np.float64) for side in (pixels, ground)]
    ways = [
        _loss_plainly(sides[0], sides[1], sides[1], true, 10.0),
        _loss_plainly(sides[1], sides[0], sides[0], true.T, 10.0),
    ]
    assert abs(float(got) - sum(ways) / 2) < 1e-6


def test_an_empty_bank_gives_no_loss() -> None:
    bank = MemoryBank(4, 8)
    sides = (torch.randn(2, 8), torch.randn(2, 8), bank.negatives)
    assert float(InfoNCE()(*sides)) == 0
    assert float(InfoNCE()(*sides, counts=bank.counts())) == 0


def test_false_negatives_push_no_more() -> None:
    own = torch.eye(4)[:2]
    bank = MemoryBank(8, 4)
    bank.enqueue(own, torch.tensor([0, 1]))
    keys = torch.tensor([0, 1])
    loss = InfoNCE()
    with_mask = loss(own, own, bank.negatives, bank.same(keys))
    assert float(with_mask) < float(loss(own, own, bank.negatives))


def test_learned_scale_starts_at_the_temperature_and_stays_within_limits() -> None:
    loss = InfoNCE(learned=True)
    assert loss.logit_scale == pytest.approx(1 / 0.07, rel=1e-6)
    sides = (torch.randn(2, 8), torch.randn(2, 8), torch.randn(3, 8))
    for wild, held in ((9.0, 4.6052), (-3.0, 0.0)):
        loss.log_scale.data.fill_(wild)
        loss(*sides).backward()
        assert loss.log_scale.item() == pytest.approx(held)
        assert loss.log_scale.grad is not None
        assert float(loss.log_scale.grad) != 0  # not stuck at the limit
        loss.log_scale.grad = None


def test_fixed_temperature_is_not_trained() -> None:
    assert not list(InfoNCE().parameters())
    assert InfoNCE(0.05).logit_scale == pytest.approx(20, rel=1e-6)


@given(st.integers(1, 7), st.lists(st.integers(0, 10), max_size=6))
def test_the_bank_keeps_the_latest(size: int, batches: list[int]) -> None:
    bank = MemoryBank(size, 3)
    every: list[tuple[float, ...]] = []
    for number, count in enumerate(batches):
        angles = torch.rand(count, generator=torch.Generator().manual_seed(number)) * 6
        batch = torch.stack((angles.cos(), angles.sin(), torch.zeros(count)), dim=1)
        bank.enqueue(batch * 5, torch.arange(count))
        every += [tuple(np.round(row, 4)) for row in batch.numpy().tolist()]
    kept = [tuple(np.round(row, 4)) for row in bank.negatives.numpy().tolist()]
    assert sorted(kept) == sorted(every[-size:])


def test_keys_tell_what_is_the_same() -> None:
    bank = MemoryBank(3, 2)
    bank.enqueue(torch.randn(2, 2), torch.tensor([7, 8]))
    bank.enqueue(torch.randn(2, 2))  # wraps round and overwrites the first
    got = bank.same(torch.tensor([7, 8]))
    assert got.tolist() == [[False, False, False], [False, True, False]]
    assert not bank.same(torch.tensor([-1])).any()  # without a key: the same as nothing
    assert bank.same(torch.tensor([[7, 8], [-1, 7]])).tolist() == [
        [False, True, False], [False, False, False],
    ]  # fmt: skip


def test_negatives_that_depict_the_same_weigh_as_one_where_counts_are_given() -> None:
    bank, single = MemoryBank(8, 4), MemoryBank(8, 4)
    common, rare, keyless = torch.eye(4)[1:]
    bank.enqueue(torch.stack((common, rare, common, common)), torch.tensor([5, 6, 5, 5]))
    bank.enqueue(keyless.repeat(2, 1))
    assert bank.counts().tolist() == [3, 1, 3, 3, 1, 1]
    single.enqueue(torch.stack((common, rare)), torch.tensor([5, 6]))
    single.enqueue(keyless.repeat(2, 1))
    sides = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).unbind()
    got = InfoNCE()(*sides, bank.negatives, counts=bank.counts())
    assert float(got) == pytest.approx(float(InfoNCE()(*sides, single.negatives)), rel=1e-5)


def test_the_bank_is_saved_and_gives_no_gradient() -> None:
    bank, again = MemoryBank(4, 2), MemoryBank(4, 2)
    bank.enqueue(torch.randn(3, 2, requires_grad=True))
    again.load_state_dict(bank.state_dict())
    assert torch.equal(bank.negatives, again.negatives)
    assert not bank.negatives.requires_grad
