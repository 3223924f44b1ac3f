"""Overpasses keep Sentinel-2's plan, and skies hold what their cloud cover says."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import shapely

from pipeline.sample.weather import (
    FOG,
    FOG_MONTH,
    ORBITS,
    Overpass,
    make_sky,
    overpasses,
    sun_elevation,
)


@pytest.fixture(scope="module")
def passes() -> list[Overpass]:
    return overpasses(2021, 3, seed=5)


def test_each_orbit_passes_every_five_days_in_turn() -> None:
    everything = overpasses(2021, 7, seed=5)
    for orbit in ORBITS:
        own = [overpass for overpass in everything if overpass.orbit == orbit]
        for earlier, later in pairwise(own):
            assert round((later.moment - earlier.moment).total_seconds() / 86400) == 5
            assert later.platform != earlier.platform


def test_three_a_month_of_each_orbit(passes: list[Overpass]) -> None:
    counts = Counter((overpass.orbit.number, overpass.moment.month) for overpass in passes)
    assert set(counts.values()) == {3}
    assert len(counts) == 24
    assert [p.moment for p in passes] == sorted(p.moment for p in passes)
    assert len({p.moment.date() for p in passes}) == len(passes)
    platforms = Counter(overpass.platform for overpass in passes)
    assert min(platforms.values()) > len(passes) / 4


def test_overpasses_repeat_by_seed(passes: list[Overpass]) -> None:
    assert overpasses(2021, 3, seed=5) == passes
    assert overpasses(2021, 3, seed=6) != passes
    assert {p.moment.year for p in overpasses(2023, 1, seed=5)} == {2023}


def test_winter_is_cloudier_and_some_skies_are_clear_or_closed() -> None:
    covers: dict[str, list[float]] = {"winter": [], "summer": []}
    for seed in range(8):
        for overpass in overpasses(2021, 3, seed):
            season = {1: "winter", 12: "winter", 7: "summer", 8: "summer"}
            if name := season.get(overpass.moment.month):
                covers[name].append(overpass.cloud_cover)
    assert np.mean(covers["winter"]) > np.mean(covers["summer"]) + 0.1
    every = [*covers["winter"], *covers["summer"]]
    assert 0.0 in every
    assert 1.0 in every


def test_the_sky_holds_its_cloud_cover(passes: list[Overpass]) -> None:
    for overpass in passes:
        sky = make_sky(overpass, 2500)
        assert sky.opacity.shape == sky.cirrus.shape == sky.light.shape
        for field in (sky.opacity, sky.cirrus, sky.light):
            assert field.dtype == np.float32
            assert field.min() >= 0
            assert field.max() <= 1
        if overpass.cloud_cover == 0 and overpass.moment.month != FOG_MONTH:
            assert not sky.opacity.any()
            assert (sky.light == 1).all()
        if overpass.cloud_cover == 1:
            assert (sky.opacity == 1).all()


def test_shadows_fall_away_from_the_sun(passes: list[Overpass]) -> None:
    overpass = next(p for p in passes if 0.2 < p.cloud_cover < 0.6 and 4 <= p.moment.month <= 9)
    sky = make_sky(overpass, 6000)
    shadow, cloud = 1 - sky.light, sky.opacity
    best, found = -1.0, (0, 0)
    for rows in range(-80, 81, 2):
        for columns in range(-40, 41, 2):
            moved = np.roll(cloud, (rows, columns), (0, 1))[80:-80, 40:-40]
            match = np.corrcoef(moved.ravel(), shadow[80:-80, 40:-40].ravel())[0, 1]
            if match > best:
                best, found = match, (rows, columns)
    assert best > 0.85
    assert found[0] < 0  # to the north: the sun stands in the south
    assert found[1] < 0  # and a little to the west: it is morning


def test_fog_lies_over_the_valley_all_month(passes: list[Overpass]) -> None:
    for overpass in passes:
        if overpass.moment.month == FOG_MONTH:
            sky = make_sky(overpass, 2500)
            n = len(sky.opacity)
            row, column = int(n / 2 - FOG[1] / sky.step), int(n / 2 + FOG[0] / sky.step)
            assert sky.opacity[row, column] == 1


def test_the_swath_s_outline_is_what_is_seen(passes: list[Overpass]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-2500, 2500, (2, 2000))
    for overpass in passes[::9]:
        outline = shapely.Polygon(overpass.swath(5000))
        assert np.array_equal(shapely.contains_xy(outline, x, y), overpass.is_seen(x, y))


def test_the_sun_stands_highest_in_june() -> None:
    heights = [sun_elevation(day) for day in range(1, 366)]
    assert 165 < int(np.argmax(heights)) < 180
    assert 55 < max(heights) < 64
    assert 13 < min(heights) < 18
