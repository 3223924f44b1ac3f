"""Retrieval against a plain loop, with entries that depict the same, and without any sense."""

import numpy as np
import pytest

from pipeline.evaluation.retrieval import retrieval


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def plain(queries: np.ndarray, gallery: np.ndarray, keys: np.ndarray, k: int) -> float:
    hits = 0
    for i, query in enumerate(queries):
        order = np.argsort(-(gallery @ query))[:k]
        hits += any(j == i or (set(keys[i]) & set(keys[j])) - {-1} for j in order)
    return hits / len(queries)


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_against_a_plain_loop(kind: str) -> None:
    rng = np.random.default_rng(4)
    series = unit(rng.normal(size=(700, 8)))
    ground = unit(series + 0.6 * rng.normal(size=(700, 8)))
    keys = np.full((700, 2), -1)
    if kind == "shared":
        keys = rng.integers(-1, 60, (700, 2))
    found = retrieval(series, ground, keys)
    for k in (1, 5, 10):
        assert found.to_ground.recall[k] == pytest.approx(plain(series, ground, keys, k))
        assert found.to_series.recall[k] == pytest.approx(plain(ground, series, keys, k))
    assert found.to_ground.recall[10] > found.to_ground.chance[10]
    assert found.to_ground.gallery == 700


def test_chance_is_that_of_arbitrary_orders() -> None:
    rng = np.random.default_rng(5)
    keys = np.where(rng.uniform(size=400) < 0.5, 0, rng.integers(1, 40, 400))[:, None]
    series, ground = (unit(rng.normal(size=(400, 32))) for _ in range(2))
    found = retrieval(series, ground, keys).to_ground
    for k in (1, 5, 10):
        assert found.recall[k] == pytest.approx(found.chance[k], abs=0.08)
    alone = retrieval(series, ground, np.full((400, 1), -1)).to_ground
    assert alone.chance == pytest.approx({1: 1 / 400, 5: 5 / 400, 10: 10 / 400})


def test_embeddings_that_are_all_the_same_find_nothing() -> None:
    same = np.tile(np.eye(1, 8, dtype=np.float32), (50, 1))
    found = retrieval(same, same, np.full((50, 1), -1))
    assert found.to_ground.recall == {1: 0, 5: 0, 10: 0}
    assert found.to_ground.median_rank == 50


def test_a_description_of_many_points_is_one_entry() -> None:
    rng = np.random.default_rng(6)
    texts = unit(rng.normal(size=(6, 16)))
    key = rng.integers(0, 6, 200)
    wrong = (key + 1) % 6
    series = unit(texts[wrong] + 0.5 * texts[key])  # another text is first, the own one second
    found = retrieval(series, texts[key], key[:, None])
    assert found.to_ground.gallery == 6
    assert found.to_ground.recall == {1: 0, 5: 1, 10: 1}
    assert found.to_ground.chance[1] == pytest.approx(1 / 6)
