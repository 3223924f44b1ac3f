"""The synthetic landscape is one function of the ground, seen alike by every grid."""

import numpy as np
import pytest

from pipeline.sample.classes import CLASS_COUNT, CROPS
from pipeline.sample.ground import EXTENT, FINE
from pipeline.sample.landscape import Landscape, make_landscape, plane_of


@pytest.fixture(scope="module")
def landscape() -> Landscape:
    return make_landscape(7)


def test_same_seed_same_landscape(landscape: Landscape) -> None:
    make_landscape.cache_clear()
    again, other = make_landscape(7), make_landscape(8)
    assert np.array_equal(landscape.parcel, again.parcel)
    assert np.array_equal(landscape.texture, again.texture)
    assert not np.array_equal(landscape.land[landscape.parcel], other.land[other.parcel])


def test_every_class_has_its_share(landscape: Landscape) -> None:
    inner = slice(len(landscape.parcel) // 4, -len(landscape.parcel) // 4)
    land = landscape.land[landscape.parcel[inner, inner]]
    shares = np.bincount(land.ravel(), minlength=CLASS_COUNT) / land.size
    assert shares.min() > 0.002
    assert shares.max() < 0.5


def test_fields_are_of_one_to_ten_hectares(landscape: Landscape) -> None:
    area = np.bincount(landscape.parcel.ravel()) * FINE**2 / 1e4
    fields = area[np.isin(landscape.land, CROPS)]
    whole = np.sort(fields)[len(fields) // 4 :]  # the smallest are cut off by woods and water
    assert 1 < np.median(whole) < 6
    assert whole.max() < 12


def test_it_is_mirrored_beyond_its_extent(landscape: Landscape) -> None:
    rng = np.random.default_rng(0)
    inside = rng.uniform(-EXTENT / 2, EXTENT / 2, 500)
    y = rng.uniform(-EXTENT / 2, EXTENT / 2, 500)
    for x, mirrored in ((inside, EXTENT - inside), (inside, inside + 2 * EXTENT)):
        assert np.array_equal(landscape.at(x, y), landscape.at(mirrored, y))
        assert np.array_equal(landscape.at(y, x), landscape.at(y, mirrored))


def test_pixels_mix_the_parcels_about_them(landscape: Landscape) -> None:
    xs, ys = np.arange(716_505, 716_905, 10), np.arange(5_500_195, 5_499_795, -10)
    pixels = landscape.pixels(32631, xs, ys)
    assert pixels.parts.shape == (40, 40, 4)
    assert np.allclose(pixels.weights.sum(axis=2), 1, atol=1e-5)
    assert (np.diff(pixels.weights, axis=2) <= 1e-6).all()
    assert (pixels.weights[:, :, 0] < 0.999).mean() > 0.05
    x, y = plane_of(32631, xs, ys)
    offsets = (np.arange(6) - 2.5) / 3
    for i, j in ((0, 0), (7, 31), (20, 20), (39, 5), (25, 11)):  # the plain, slow way
        shares: dict[int, float] = {}
        for a in offsets:
            for b in offsets:
                here = int(landscape.at(x[i, j] + 7.5 * b, y[i, j] + 7.5 * a))
                shares[here] = shares.get(here, 0) + (1 - abs(a)) * (1 - abs(b))
        kept = sorted(shares.values(), reverse=True)[:4]
        assert np.allclose(pixels.weights[i, j, : len(kept)], np.array(kept) / sum(kept), atol=1e-5)
        for part, weight in zip(pixels.parts[i, j], pixels.weights[i, j], strict=True):
            assert weight == 0 or abs(shares[int(part)] / sum(kept) - weight) < 1e-5


def test_the_truth_is_the_largest_part(landscape: Landscape) -> None:
    xs, ys = np.arange(716_505, 717_505, 10), np.arange(5_500_195, 5_499_195, -10)
    pixels = landscape.pixels(32631, xs, ys)
    at_centre = landscape.land[landscape.at(pixels.x, pixels.y)] + 1
    assert (pixels.truth == at_centre).mean() > 0.95
    pure = pixels.weights[:, :, 0] > 0.99
    assert (pixels.truth == at_centre)[pure].all()
