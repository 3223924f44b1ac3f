"""What the paper's augmentations leave, how often, and that months keep their positions."""

import pytest
import torch

from models.encoder.preprocessing import AUTHORS
from models.encoder.timesenclip import TimeSenClipEncoder
from models.pretraining.augmentation import VISIBLE_BANDS, Augmentation, AugmentedSeries, augment
from models.pretraining.row_random import RowDraws
from tests.models.made_points import SIZES

MANY = 20_000
BANDS = AUTHORS.bands


def series_of(count: int) -> torch.Tensor:
    return torch.rand(count, 12, 10, generator=torch.Generator().manual_seed(0)) + 0.01


def seen_of(
    augmentation: Augmentation, probability: float = 0.5, count: int = MANY
) -> AugmentedSeries:
    draws = RowDraws(3, 1, 0, count)
    return augment(series_of(count), augmentation, probability, BANDS, draws)


@pytest.mark.parametrize("augmentation", ["none", "TSMixAug", "RandomTS", "TSMS"])
def test_with_no_probability_all_is_seen(augmentation: Augmentation) -> None:
    seen = seen_of(augmentation, 0.0, 50)
    assert torch.equal(seen.series, series_of(50))
    assert seen.kept.all()


def test_tsmixaug_gives_the_year_or_drops_a_quarter() -> None:
    seen, series = seen_of("TSMixAug"), series_of(MANY)
    left = seen.kept.sum(dim=1)
    shares = [float((left == months).float().mean()) for months in (12, 9, 1)]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.012)
    year = left == 1
    assert seen.kept[year, 0].all()  # where a series of T = 1 has it
    ordered = series[year].sort(dim=1).values
    assert torch.equal(seen.series[year, 0], (ordered[:, 5] + ordered[:, 6]) / 2)
    quarter = left == 9
    assert torch.equal(seen.series[~year], series[~year])
    dropped = ~seen.kept[quarter]
    first = dropped.int().argmax(dim=1)
    assert all(dropped[torch.arange(len(first)), first + later].all() for later in (0, 1, 2))
    firsts = torch.bincount(first, minlength=12) / len(first)
    assert firsts[:10].tolist() == pytest.approx([0.1] * 10, abs=0.02)
    assert firsts[10:].sum() == 0


def test_randomts_keeps_each_number_of_months_as_often() -> None:
    seen = seen_of("RandomTS", 1.0)
    assert torch.equal(seen.series, series_of(MANY))
    left = torch.bincount(seen.kept.sum(dim=1), minlength=13) / MANY
    assert left[0] == 0
    assert left[1:].tolist() == pytest.approx([1 / 12] * 12, abs=0.01)
    by_month = seen.kept.float().mean(dim=0)
    assert by_month.tolist() == pytest.approx([6.5 / 12] * 12, abs=0.015)
    pairs = torch.corrcoef(seen.kept[seen.kept.sum(dim=1) == 6].T.float())
    assert (pairs - torch.eye(12) * (1 + 1 / 11) + 1 / 11).abs().max() < 0.1


def test_tsms_drops_bands_but_the_visible() -> None:
    seen = seen_of("TSMS", 1.0)
    there = (seen.series != 0).all(dim=1)
    assert torch.equal(there, (seen.series != 0).any(dim=1))  # a band is whole or gone
    assert torch.equal(seen.series, torch.where(there[:, None], series_of(MANY), 0.0))
    visible = torch.tensor([band in VISIBLE_BANDS for band in BANDS])
    assert there[:, visible].all()
    left = torch.bincount(there[:, ~visible].sum(dim=1), minlength=8) / MANY
    assert left.tolist() == pytest.approx([1 / 8] * 8, abs=0.012)
    assert there[:, ~visible].float().mean(dim=0).tolist() == pytest.approx([0.5] * 7, abs=0.015)
    assert abs(float((seen.kept.sum(dim=1) == 12).float().mean()) - 1 / 12) < 0.01


def test_the_visible_are_found_in_any_order_of_bands() -> None:
    order = tuple(reversed(BANDS))
    seen = augment(series_of(500), "TSMS", 1.0, order, RowDraws(0, 0, 0, 500))
    assert (seen.series[:, :, -3:] != 0).all()
    assert (seen.series[:, :, 0] == 0).any()


@pytest.fixture(scope="module")
def encoder() -> TimeSenClipEncoder:
    torch.manual_seed(4)
    made = TimeSenClipEncoder(SIZES)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.mark.parametrize("train", [False, True])
def test_dropped_months_are_as_if_not_there(encoder: TimeSenClipEncoder, train: bool) -> None:
    encoder.train(train)  # torch computes the two on other paths; there is no dropout
    seen = seen_of("RandomTS", 1.0, 64)
    others = seen.series.masked_fill(~seen.kept[:, :, None], 7.0)
    with torch.set_grad_enabled(train):
        found = encoder(seen.series, seen.kept)
        assert (encoder(others, seen.kept) - found).abs().max() < 1e-6
        wanted = []
        for series, kept in zip(seen.series, seen.kept, strict=True):
            tokens = encoder.spectral_embedding(series[None]) + encoder.positions(12)
            tokens = torch.cat((encoder.class_token, tokens[:, kept]), dim=1)
            head = encoder.mlp_head(encoder.transformer(tokens)[:, 0])
            wanted.append(torch.nn.functional.normalize(head, dim=-1))
    assert (found - torch.cat(wanted)).abs().max() < 2e-6


def test_the_years_token_is_a_series_of_one(encoder: TimeSenClipEncoder) -> None:
    encoder.eval()
    seen = seen_of("TSMixAug", 1.0, 100)
    year = seen.kept.sum(dim=1) == 1
    with torch.inference_mode():
        masked = encoder(seen.series[year], seen.kept[year])
        assert (masked - encoder(seen.series[year, :1])).abs().max() < 2e-6
