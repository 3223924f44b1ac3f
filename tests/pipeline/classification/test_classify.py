"""The scores of classes agree with cosines, maxima and a softmax written out."""

import numpy as np
import pytest
import torch

from pipeline.classification.class_scores import ClassTexts, nearest_classes
from pipeline.classification.classify import as_percent


def unit_vectors(rng: np.random.Generator, count: int, dim: int) -> torch.Tensor:
    vectors = rng.normal(size=(count, dim))
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def texts(rng: np.random.Generator, members: list[int], dim: int) -> ClassTexts:
    """Texts of so many members of each class."""
    vectors = unit_vectors(rng, sum(members), dim)
    index = np.repeat(np.arange(len(members)), members)
    return ClassTexts.on_device(vectors.numpy(), index, torch.device("cpu"))


MEMBERS = {
    "one each": lambda rng, classes: [1] * classes,
    "few": lambda rng, classes: rng.integers(1, 6, classes).tolist(),
    "many of one": lambda rng, classes: [300, *[1] * (classes - 1)],
}


@pytest.mark.parametrize("classes", [2, 5, 128, 129, 700])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("members", MEMBERS)
def test_agrees_with_a_softmax_written_out(classes: int, biased: bool, members: str) -> None:
    rng = np.random.default_rng(classes)
    embeddings = unit_vectors(rng, 20, 16)
    text = texts(rng, MEMBERS[members](rng, classes), 16)
    bias = rng.normal(size=classes) if biased else np.zeros(classes)

    def logits(pixels: torch.Tensor, first: int, end: int) -> torch.Tensor:
        return 10.0 * text.cosines(pixels, first, end) + torch.from_numpy(bias)[first:end]

    found = nearest_classes(embeddings, logits, classes, most=3)
    k = min(3, classes)
    assert found.index.shape == found.logit.shape == found.confidence.shape == (20, k)
    for pixel in range(20):
        every = text.embeddings.numpy() @ embeddings[pixel].numpy()
        wanted = np.array(
            [10.0 * max(every[text.class_index.numpy() == c]) + bias[c] for c in range(classes)]
        )
        weights = np.exp(wanted - wanted.max())
        order = sorted(range(classes), key=lambda c: -wanted[c])[:k]
        assert found.index[pixel].tolist() == order
        np.testing.assert_allclose(found.logit[pixel], wanted[order], atol=1e-12)
        np.testing.assert_allclose(
            found.confidence[pixel], weights[order] / weights.sum(), atol=1e-12
        )


def test_percent_rounds() -> None:
    found = as_percent(torch.tensor([0.0, 0.004, 0.006, 0.555, 1.0]))
    assert found.dtype == torch.uint8
    assert found.tolist() == [0, 0, 1, 56, 100]


def test_a_large_logit_scale_does_not_overflow() -> None:
    found = nearest_classes(torch.eye(3), lambda pixels, first, end: 1e6 * pixels[:, first:end], 3)
    assert found.index[:, 0].tolist() == [0, 1, 2]
    assert found.confidence[:, 0].tolist() == [1, 1, 1]


def test_no_pixels_give_no_classes() -> None:
    found = nearest_classes(torch.empty(0, 3), lambda pixels, first, end: pixels[:, first:end], 3)
    assert found.index.shape == found.confidence.shape == (0, 1)
