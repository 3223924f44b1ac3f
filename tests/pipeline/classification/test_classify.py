import numpy as np
import pytest
import torch

from pipeline.classification.classify import as_percent, nearest_classes


def unit_vectors(rng: np.random.Generator, count: int, dim: int) -> torch.Tensor:
    vectors = rng.normal(size=(count, dim))
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize("classes", [2, 5, 128, 129, 700])
@pytest.mark.parametrize("biased", [False, True])
def test_agrees_with_a_softmax_written_out(classes: int, biased: bool) -> None:
    rng = np.random.default_rng(classes)
    embeddings, text = unit_vectors(rng, 60, 16), unit_vectors(rng, classes, 16)
    bias = rng.normal(size=classes) if biased else np.zeros(classes)
    given = torch.from_numpy(bias) if biased else None
    found = nearest_classes(embeddings, text, 10.0, given, most=3)
    k = min(3, classes)
    assert found.index.shape == found.cosine.shape == found.confidence.shape == (60, k)
    for pixel in range(60):
        cosine = [float(embeddings[pixel] @ text[c]) for c in range(classes)]
        logits = [10.0 * value + bias[c] for c, value in enumerate(cosine)]
        weights = np.exp(np.array(logits) - max(logits))
        order = sorted(range(classes), key=lambda c: -logits[c])[:k]
        assert found.index[pixel].tolist() == order
        np.testing.assert_allclose(found.cosine[pixel], [cosine[c] for c in order], atol=1e-12)
        np.testing.assert_allclose(
            found.confidence[pixel], [weights[c] / weights.sum() for c in order], atol=1e-12
        )


def test_percent_rounds() -> None:
    found = as_percent(torch.tensor([0.0, 0.004, 0.006, 0.555, 1.0]))
    assert found.dtype == torch.uint8
    assert found.tolist() == [0, 0, 1, 56, 100]


def test_a_large_logit_scale_does_not_overflow() -> None:
    found = nearest_classes(torch.eye(3), torch.eye(3), 1e6)
    assert found.index[:, 0].tolist() == [0, 1, 2]
    assert found.confidence[:, 0].tolist() == [1, 1, 1]


def test_no_pixels_give_no_classes() -> None:
    found = nearest_classes(torch.empty(0, 3), torch.eye(3), 10.0)
    assert found.index.shape == found.confidence.shape == (0, 1)
