"""Area-adjusted accuracy against the published example, and where points are too few."""

import numpy as np
import pytest

from pipeline.evaluation.area_accuracy import AreaAccuracy, area_accuracy

# Olofsson et al. 2014, Table 8: rows are the map's classes, columns the references'.
CLASSES = ("deforestation", "forest gain", "stable forest", "stable non-forest")
TABLE_8 = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])
HECTARES = PIXELS * 0.09  # of Landsat


def of_counts(
    counts: np.ndarray, hectares: np.ndarray, classes: tuple[str, ...] = CLASSES
) -> AreaAccuracy:
    mapped, reference = np.nonzero(counts)
    times = counts[mapped, reference]
    mapped, reference = np.repeat(mapped, times), np.repeat(reference, times)
    own = np.arange(len(classes))
    return area_accuracy(mapped, mapped, reference, hectares, classes, classes, own)


def test_the_published_example_to_its_printed_digits() -> None:
    found = of_counts(TABLE_8, HECTARES)
    assert found.points == 640
    np.testing.assert_array_equal(found.counts, TABLE_8)
    table_9 = [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    np.testing.assert_allclose(found.proportions, table_9, atol=5.1e-5)
    users = [(c.users.value, c.users.half_width) for c in found.by_class if c.users]
    assert np.round(users, 2).tolist() == [[0.88, 0.07], [0.73, 0.10], [0.93, 0.04], [0.96, 0.02]]
    producers = [(c.producers.value, c.producers.half_width) for c in found.by_class if c.producers]
    assert np.round(producers, 2).tolist() == [
        [0.75, 0.21],
        [0.85, 0.25],
        [0.93, 0.03],
        [0.96, 0.02],
    ]
    assert round(found.overall.value, 3) == 0.947
    assert round(found.overall.half_width, 3) == 0.018
    first = found.by_class[0]
    assert round(first.share.value, 4) == 0.0235
    assert round(first.share.standard_error, 4) == 0.0035
    pixels = first.area.scaled(1 / 0.09)
    assert (round(pixels.value), round(pixels.half_width)) == (235_086, 68_418)
    areas = [(round(c.area.value), round(c.area.half_width)) for c in found.by_class]
    assert areas == [(21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282)]


def test_equations_of_the_paper_written_plainly() -> None:
    """Where strata are the map's classes, ratios of totals are equations 1 to 11."""
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 30, (5, 5)) + np.diag([40, 20, 60, 30, 50])
    hectares = rng.uniform(10, 5000, 5)
    names = tuple("abcde")
    found = of_counts(counts, hectares, names)
    n, w = counts.sum(axis=1), hectares / hectares.sum()
    p = w[:, None] * counts / n[:, None]
    u = np.diag(counts) / n
    assert found.overall.value == pytest.approx(np.trace(p))
    assert found.overall.standard_error**2 == pytest.approx((w**2 * u * (1 - u) / (n - 1)).sum())
    inside = counts / n[:, None]
    totals = (hectares[:, None] * inside).sum(axis=0)  # N.j
    for j, entry in enumerate(found.by_class):
        assert entry.users is not None
        assert entry.producers is not None
        assert entry.users.value == pytest.approx(u[j])
        assert entry.users.standard_error**2 == pytest.approx(u[j] * (1 - u[j]) / (n[j] - 1))
        share = p[j, j] / p[:, j].sum()
        others = np.arange(5) != j
        spread = hectares**2 * inside[:, j] * (1 - inside[:, j]) / (n - 1)
        own = hectares[j] ** 2 * (1 - share) ** 2 * u[j] * (1 - u[j]) / (n[j] - 1)
        variance = (own + share**2 * spread[others].sum()) / totals[j] ** 2
        assert entry.producers.value == pytest.approx(share)
        assert entry.producers.standard_error**2 == pytest.approx(variance)
        variance = (w**2 * inside[:, j] * (1 - inside[:, j]) / (n - 1)).sum()
        assert entry.share.standard_error**2 == pytest.approx(variance)
        assert entry.mapped == pytest.approx(hectares[j])


def test_coarser_references_keep_the_maps_classes_as_strata() -> None:
    """Two strata of one class, sampled unequally: their areas weigh, not their points."""
    stratum = np.array([0] * 100 + [1] * 10 + [2] * 20)
    lifted = np.array([0, 0, 1])
    reference = np.array([0] * 100 + [0] * 5 + [1] * 5 + [1] * 20)
    found = area_accuracy(
        stratum, lifted[stratum], reference, np.array([10.0, 80.0, 10.0]),
        ("wheat", "maize", "water"), ("crops", "water"), lifted,
    )  # fmt: skip
    crops = found.by_class[0]
    assert crops.users is not None
    assert crops.users.value == pytest.approx((10 * 1 + 80 * 0.5) / 90)
    assert crops.mapped == pytest.approx(90)
    assert crops.area.value == pytest.approx(50)
    assert found.overall.value == pytest.approx(0.6)


def test_classes_with_too_few_points_are_left_out_and_named() -> None:
    stratum = np.array([0] * 10 + [1] * 10 + [2])
    found = area_accuracy(
        stratum, stratum, stratum.copy(), np.array([60.0, 30.0, 8.0, 2.0]),
        ("a", "b", "c", "d"), ("a", "b", "c", "d"), np.arange(4),
    )  # fmt: skip
    assert found.left_out == {"c": 8.0, "d": 2.0}
    assert found.hectares == 90
    assert found.points == 20
    assert found.proportions.sum() == pytest.approx(1)
    assert found.by_class[2].users is None
    assert found.by_class[2].producers is None
    with pytest.raises(ValueError, match="no class of the map has 2 points"):
        area_accuracy(
            np.array([0]), np.array([0]), np.array([0]), np.ones(1), ("a",), ("a",), np.arange(1)
        )


def test_counts_of_points_have_exact_intervals() -> None:
    found = of_counts(TABLE_8, HECTARES)
    first = found.by_class[0]
    assert first.one_stratum
    assert (first.mapped_right.right, first.mapped_right.total) == (66, 75)
    assert (first.reference_right.right, first.reference_right.total) == (66, 69)
    assert first.users is not None
    assert first.mapped_right.share == pytest.approx(first.users.value)
    low, high = first.mapped_right.interval
    assert low < first.users.value - first.users.half_width  # few points: wider to the middle
    assert high < first.users.value + first.users.half_width
    assert (found.right.right, found.right.total) == (587, 640)


def test_strata_of_another_map_that_covers_more_land() -> None:
    """Two strata of 100 ha; of the second, this map covers the half, and shows two classes."""
    stratum = np.array([0] * 40 + [1] * 40)
    mapped = np.array([0] * 40 + [-1] * 20 + [0] * 5 + [1] * 15)
    reference = np.array([0] * 40 + [0] * 20 + [1] * 5 + [1] * 15)
    found = area_accuracy(
        stratum, mapped, reference, np.array([100.0, 100.0]),
        ("land", "water"), ("a", "b"), np.array([-1, -1]), np.array([112.0, 38.0]),
    )  # fmt: skip
    assert found.hectares == pytest.approx(150)
    assert found.points == 60
    assert found.overall.value == pytest.approx((100 + 37.5) / 150)
    assert found.proportions.sum() == pytest.approx(1)
    assert found.by_class[1].area.value == pytest.approx(50)
    assert found.by_class[0].mapped == 112
    assert found.by_class[0].users is not None
    assert found.by_class[0].users.value == pytest.approx(100 / 112.5)
    assert not found.by_class[0].one_stratum
    with pytest.raises(ValueError, match="no class of the map has 2 points"):
        area_accuracy(
            stratum, np.full(80, -1), reference, np.array([100.0, 100.0]),
            ("land", "water"), ("a", "b"), np.array([-1, -1]), np.zeros(2),
        )  # fmt: skip
