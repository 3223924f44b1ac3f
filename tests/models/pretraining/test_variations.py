"""What variations do to series, how often, and to which rows."""

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from models.pretraining.batch import NO_KEY
from models.pretraining.row_random import RowDraws
from models.pretraining.variations import (
    AnotherYear,
    CoarserCalendar,
    LostBands,
    LostMonths,
    OtherHemisphere,
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
    "kind",
    [Reflectance, LostMonths, ShiftedCalendar, OtherHemisphere, CoarserCalendar, AnotherYear],
    ids=lambda kind: kind.__name__,
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
    assert done(flat, Reflectance(shift=1.0)).min() == 1  # the lowest; 0 is an absent band


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
    series = torch.arange(1.0, 6.0)[:, None, None].expand(5, 12, 1) * 100
    counts = {0.0: 0, 2.0: 0, 3.0: 0}
    for step in range(600):
        draws = RowDraws(0, step, 0, 5)
        made = AnotherYear(share=1.0).vary(series, draws, others_of(keys))
        again = RowDraws(0, step, 0, 5)
        again.uniform()
        share = again.uniform()
        counts[round(float(((made - series)[1, 0, 0] / share[1]) / 100 + 1), 1)] += 1
    assert min(counts.values()) > 160


@pytest.mark.parametrize(
    "variations",
    [
        (Reflectance(shift=0.5, noise=0.1),),
        (LostMonths(probability=1.0),),
        (ShiftedCalendar(probability=1.0),),
        (LostBands(probability=1.0),),
        (AnotherYear(probability=1.0),),
        (AnotherYear(), ShiftedCalendar(), Reflectance(shift=0.5), LostBands(), LostMonths()),
    ],
    ids=lambda variations: "-".join(one.name for one in variations),
)
def test_an_absent_band_stays_absent_and_no_other_becomes_so(
    variations: tuple[Variation, ...],
) -> None:
    series, keys = series_of(400), torch.arange(400) % 5
    series[::2, :, 7] = 0
    series[::3, :, 3:6] = 0
    absent = (series == 0).all(dim=1)
    made = vary_series(series, variations, RowDraws(2, 0, 0, 400), others_of(keys))
    assert (made[absent[:, None].expand_as(made)] == 0).all()
    if not {"lost-bands", "another-year"} & {one.name for one in variations}:
        assert (made[~absent[:, None].expand_as(made)] >= 1).all()
    zero = made == 0
    assert torch.equal(zero.all(dim=1), zero.any(dim=1))  # a band is there or it is not
    assert not torch.equal(made, series)


def test_a_mixture_lacks_what_one_of_the_two_lacks() -> None:
    series, keys = series_of(40), torch.arange(40) // 2
    series[::2, :, 7] = 0
    keys[-2:] = NO_KEY
    for share in (1.0, 0.2):
        one = AnotherYear(probability=1.0, share=share)
        made = vary_series(series, [one], RowDraws(0, 0, 0, 40), others_of(keys))
        assert (made[:38, :, 7] == 0).all()
        assert torch.equal(made[38:], series[38:])  # mixed with none
        others = [*range(7), 8, 9]
        assert (made[..., others] > 0).all()


def test_groups_of_bands_are_lost_together() -> None:
    series = series_of(MANY)
    made = done(series, LostBands(probability=0.5, groups=(("B8A",), ("B05", "B06", "B07"))))
    lost = (made == 0).all(dim=1)
    assert torch.equal(made[~lost[:, None].expand_as(made)], series[~lost[:, None].expand_as(made)])
    assert not lost[:, [0, 1, 2, 6, 8, 9]].any()
    assert torch.equal(lost[:, 3], lost[:, 4])
    assert torch.equal(lost[:, 3], lost[:, 5])
    one, other = lost[:, 7], lost[:, 3]
    # One or both groups, as likely; of one, either.
    assert float((one & other).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float((one & ~other).float().mean()) == pytest.approx(0.125, abs=0.01)
    assert float((other & ~one).float().mean()) == pytest.approx(0.125, abs=0.01)


def test_lost_bands_are_those_of_the_rows_order_and_some_band_stays() -> None:
    series = series_of(50)[..., :3]
    others = Others(torch.zeros(50), 0, lambda part: part, ("B8A", "B04", "B02"))
    losing = LostBands(probability=1.0, groups=(("B04", "B05"),))
    made = vary_series(series, [losing], RowDraws(0, 0, 0, 50), others)
    assert (made == 0).all(dim=1).any(dim=0).tolist() == [False, True, False]
    series[:, :, [0, 2]] = 0
    assert torch.equal(vary_series(series, [losing], RowDraws(0, 0, 0, 50), others), series)


def test_two_processes_mix_with_the_same_rows_as_one() -> None:
    series, keys = series_of(24), torch.arange(24) % 4
    variations = (Reflectance(), AnotherYear(), LostBands(), LostMonths(), ShiftedCalendar())
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
    groups = (("B8A", "B05", "B06", "B07"), ("B11",))
    for given in (
        "B8A+red-edge/B11",
        ["B8A+B05+B06+B07", "B11"],
        [["B8A", "red-edge"], ["B11"]],
    ):
        made = kind.validate_python({"name": "lost-bands", "groups": given})
        assert made == LostBands(groups=groups)
        assert kind.validate_json(made.model_dump_json()) == made
    assert LostBands(groups=groups).bands == ("B05", "B06", "B07", "B8A", "B11")
    assert LostBands().groups == (("B8A",), ("B05", "B06", "B07"))
    for wrong, problem in (
        ("B8A/B1", "'B1' is no band; bands are B02"),
        ("", "'' is no band"),
        ([[]], "a group is empty"),
        ([], "at least 1 item"),
        (5, "tuple"),
        ([[["B8A"]]], "string"),
    ):
        with pytest.raises(ValidationError, match=problem):
            kind.validate_python({"name": "lost-bands", "groups": wrong})
    with pytest.raises(ValidationError, match="lost-month"):
        kind.validate_python({"name": "lost-month"})
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        kind.validate_python({"name": "lost-months", "share": 1.4})


def test_the_other_hemisphere_is_half_a_year_away() -> None:
    series = series_of(50)
    moved = done(series, OtherHemisphere(probability=1.0))
    assert torch.equal(moved, torch.cat((series[:, 6:], series[:, :6]), dim=1))


@pytest.mark.parametrize("sparse", [0.0, 1.0])
def test_a_coarser_calendar_has_the_medians_of_its_months(sparse: float) -> None:
    series = series_of(600)
    series[:100, :, 7] = 0  # an absent band
    made = done(series, CoarserCalendar(probability=1.0, sparse=sparse))
    counts = {2: 0, 3: 0, 6: 0}
    for before, after in zip(series.numpy(), made.numpy(), strict=True):
        for period in counts:
            medians = np.median(before.reshape(-1, period, 10), axis=1)
            expected = medians.repeat(period, axis=0)
            if sparse:
                expected = np.tile(np.median(medians, axis=0), (12, 1))
                expected[::period] = medians
            if np.allclose(after, expected, atol=0.01):
                counts[period] += 1
    assert sum(counts.values()) == 600
    assert min(counts.values()) > 150
