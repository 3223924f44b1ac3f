"""What variations do to series, how often, and to which rows."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from models.pretraining.batch import NO_KEY
from models.pretraining.row_random import RowDraws
from models.pretraining.variations import (
    AnotherYear,
    LostMonths,
    Others,
    Reflectance,
    ShiftedCalendar,
    Variation,
    vary_series,
)

MANY = 20_000


def series_of(count: int, seed: int = 0) -> torch.Tensor:
    return 200 + 3000 * torch.rand(count, 12, 10, generator=torch.Generator().manual_seed(seed))


def others_of(keys: torch.Tensor) -> Others:
    return Others(keys, 0, lambda part: part)


def done(series: torch.Tensor, *variations: Variation, seed: int = 0) -> torch.Tensor:
    draws = RowDraws(seed, 0, 0, len(series))
    return vary_series(series, variations, draws, others_of(torch.full((len(series),), NO_KEY)))


@pytest.mark.parametrize(
    "kind", [Reflectance, LostMonths, ShiftedCalendar, AnotherYear], ids=lambda kind: kind.__name__
)
def test_the_probability_is_kept(kind: type[Reflectance]) -> None:
    series = series_of(4000)
    draws = RowDraws(1, 0, 0, len(series))
    made = vary_series(
        series, [kind(probability=0.3)], draws, others_of(torch.zeros(4000, dtype=torch.long))
    )
    share = (made != series).any(dim=2).any(dim=1).float().mean()
    # Of lost months, some series lose none.
    assert 0.2 < float(share) < 0.32
    assert torch.equal(done(series, kind(probability=0.0)), series)


def test_reflectance_has_the_spread_that_it_names() -> None:
    flat = torch.full((5000, 12, 10), 4000.0)
    plain = {"gain": 0.0, "band_gain": 0.0, "month_gain": 0.0, "shift": 0.0, "noise": 0.0}
    for name, spread, axes in (
        ("gain", 200.0, ()),
        ("band_gain", 200.0, (2,)),
        ("month_gain", 200.0, (1,)),
        ("shift", 500.0, (2,)),
        ("noise", 500.0, (1, 2)),
    ):
        added = done(flat, Reflectance(**(plain | {name: 0.05}))) - 4000
        # Within the other axes all values of a series are alike.
        alike = tuple(axis for axis in (1, 2) if axis not in axes)
        assert not alike or float(added.std(dim=alike).max()) < 1e-2
        assert float(added.std()) == pytest.approx(spread, rel=0.04)
    assert done(flat, Reflectance(shift=1.0)).min() == 0  # no reflectance below 0


def test_lost_months_take_the_median_of_the_rest() -> None:
    series = series_of(MANY)
    made = done(series, LostMonths(probability=1.0, share=0.6))
    kept = (made == series).all(dim=2)
    share = 1 - kept.float().mean()
    assert float(share) == pytest.approx(0.3, abs=0.01)
    assert kept.any(dim=1).all()
    row = int((~kept).sum(dim=1).argmax())
    left = series[row][kept[row]].numpy()
    wanted = torch.from_numpy(np.median(left, axis=0)).expand(int((~kept[row]).sum()), 10)
    assert torch.allclose(made[row][~kept[row]], wanted)
    all_lost = done(series[:50], LostMonths(probability=1.0, share=1.0))
    assert (all_lost == series[:50]).all(dim=2).any(dim=1).all()


def test_the_calendar_moves_by_parts_of_months_and_wraps() -> None:
    phase = 2 * torch.pi * torch.arange(12) / 12
    series = (1000 + 500 * torch.cos(phase))[None, :, None].expand(MANY, 12, 1)
    made = done(series, ShiftedCalendar(probability=1.0, months=1.0))[:, :, 0]
    turned = torch.atan2((made * torch.sin(phase)).sum(dim=1), (made * torch.cos(phase)).sum(dim=1))
    moved = -turned * 12 / (2 * torch.pi)
    assert float(moved.abs().max()) <= 1.001
    assert torch.histc(moved, 8, -1, 1).div(MANY).tolist() == pytest.approx([1 / 8] * 8, abs=0.02)
    whole = torch.arange(12.0)[None, :, None].expand(1, 12, 1)

    by = (2 * RowDraws(0, 0, 0, 1).uniform(1) - 1).item()  # what it will draw
    found = ShiftedCalendar().vary(whole, RowDraws(0, 0, 0, 1), others_of(torch.zeros(1)))
    assert found[0, 1:11, 0].tolist() == pytest.approx([month + by for month in range(1, 11)])


def test_another_year_is_of_the_same_key() -> None:
    keys = torch.arange(600) % 3
    keys[::10] = NO_KEY
    keys[1] = 77  # no other's
    series = (1000.0 * (keys + 2))[:, None, None] + series_of(600) / 100
    draws = RowDraws(0, 0, 0, 600)
    made = vary_series(series, [AnotherYear(probability=1.0, share=1.0)], draws, others_of(keys))
    same = (made == series).all(dim=2).all(dim=1)
    assert same[keys == NO_KEY].all()
    assert same[1]
    assert (~same[(keys != NO_KEY) & (keys != 77)]).float().mean() > 0.99
    for key in range(3):  # between two of the key
        rows = keys == key
        assert made[rows].min() >= series[rows].min() - 1e-2
        assert made[rows].max() <= series[rows].max() + 1e-2


def test_every_other_of_the_key_is_as_likely() -> None:
    keys = torch.tensor([5, 5, 5, 5, 6])
    series = torch.arange(5.0)[:, None, None].expand(5, 12, 1) * 100
    counts = {0.0: 0, 2.0: 0, 3.0: 0}
    for step in range(600):
        draws = RowDraws(0, step, 0, 5)
        made = AnotherYear(share=1.0).vary(series, draws, others_of(keys))
        again = RowDraws(0, step, 0, 5)
        again.uniform()
        share = again.uniform()
        counts[round(float(((made - series)[1, 0, 0] / share[1]) / 100 + 1), 1)] += 1
    assert min(counts.values()) > 160


def test_two_processes_mix_with_the_same_rows_as_one() -> None:
    series, keys = series_of(24), torch.arange(24) % 4
    variations = (Reflectance(), AnotherYear(), LostMonths(), ShiftedCalendar())
    whole = vary_series(series, variations, RowDraws(9, 4, 0, 24), others_of(keys))
    first = vary_series(series, variations[:1], RowDraws(9, 4, 0, 24), others_of(keys))
    parts = []
    for rank in (0, 1):
        rows = slice(12 * rank, 12 * rank + 12)

        def gathered(part: torch.Tensor) -> torch.Tensor:
            return keys if part.dtype == torch.long else first

        others = Others(keys[rows], 12 * rank, gathered)
        parts.append(vary_series(series[rows], variations, RowDraws(9, 4, 12 * rank, 12), others))
    assert torch.equal(whole, torch.cat(parts))


def test_variations_are_named() -> None:
    kind = TypeAdapter(Variation)
    assert kind.validate_python({"name": "lost-months", "share": 0.4}) == LostMonths(share=0.4)
    with pytest.raises(ValidationError, match="lost-month"):
        kind.validate_python({"name": "lost-month"})
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        kind.validate_python({"name": "lost-months", "share": 1.4})
