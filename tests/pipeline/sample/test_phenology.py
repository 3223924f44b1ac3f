"""Parcels keep the calendar of their crops and reflect as vegetation, soil and water do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.encoder.preprocessing import BANDS
from pipeline.sample.classes import (
    BARE,
    BROADLEAVED,
    BUILT_UP,
    CLASS_COUNT,
    CONIFEROUS,
    MAIZE,
    POTATO,
    RAPESEED,
    WATER,
    WHEAT,
)
from pipeline.sample.phenology import Season, cover, draw_parcels, draw_season, reflectance

MEAN = Season(0.0, 0.0, 0.5)


def _mean(land: int, day: int) -> dict[str, float]:
    parcels = draw_parcels(np.full(400, land), np.random.default_rng(1), MEAN)
    return dict(zip(BANDS, reflectance(parcels, day).mean(axis=0), strict=True))


def _ndvi(land: int, day: int) -> float:
    bands = _mean(land, day)
    return (bands["B08"] - bands["B04"]) / (bands["B08"] + bands["B04"])


@given(st.integers(0, 2**31), st.floats(1, 366), st.floats(0, 1))
def test_cover_and_reflectance_stay_physical(seed: int, day: float, wetness: float) -> None:
    rng = np.random.default_rng(seed)
    parcels = draw_parcels(np.repeat(np.arange(CLASS_COUNT), 20), rng, draw_season(rng))
    green, dry, flower = cover(parcels, day)
    assert (green >= 0).all()
    assert (dry >= 0).all()
    assert (green + dry <= 1 + 1e-9).all()
    assert ((flower >= 0) & (flower <= 1)).all()
    measured = reflectance(parcels, day, wetness)
    assert measured.dtype == np.float32
    assert (measured > 0).all()
    assert (measured < 10_000).all()


@pytest.mark.parametrize(
    ("land", "greenest", "barest"),
    [(WHEAT, 135, 215), (RAPESEED, 145, 200), (MAIZE, 220, 120), (POTATO, 205, 120),
     (BROADLEAVED, 200, 30)],
)  # fmt: skip
def test_each_is_green_in_its_season(land: int, greenest: int, barest: int) -> None:
    assert _ndvi(land, greenest) > 0.7
    assert _ndvi(land, barest) < 0.5


def test_rapeseed_flowers_yellow_in_spring() -> None:
    before, flowering, after = (_mean(RAPESEED, day) for day in (95, 121, 150))
    for band in ("B03", "B04"):
        assert flowering[band] > 1.3 * max(before[band], after[band])
    assert flowering["B03"] > 1.8 * flowering["B02"]


def test_conifers_stay_green_and_dark() -> None:
    assert min(_ndvi(CONIFEROUS, day) for day in (15, 105, 200, 290, 350)) > 0.6
    assert _mean(CONIFEROUS, 200)["B08"] < 0.7 * _mean(BROADLEAVED, 200)["B08"]


def test_water_is_dark_and_soil_rises() -> None:
    water, soil = _mean(WATER, 180), _mean(BARE, 20)
    assert water["B11"] < 100
    assert water["B03"] > water["B08"]
    assert soil["B02"] < soil["B04"] < soil["B08"] < soil["B11"]
    assert abs(_ndvi(BUILT_UP, 20)) < 0.25


def test_wet_soil_is_darker_and_water_is_not() -> None:
    for land, is_darker in ((BARE, True), (WATER, False)):
        parcels = draw_parcels(np.full(50, land), np.random.default_rng(2), MEAN)
        dry, wet = reflectance(parcels, 20, 0.0), reflectance(parcels, 20, 1.0)
        assert (wet < dry).all() == is_darker


def test_parcels_and_years_differ() -> None:
    rng = np.random.default_rng(3)
    springs = [draw_season(rng).spring for _ in range(200)]
    assert 3 < np.std(springs) < 7
    parcels = draw_parcels(np.full(300, WHEAT), rng, MEAN)
    nir = reflectance(parcels, 135)[:, BANDS.index("B08")]
    assert 0.04 < nir.std() / nir.mean() < 0.25
