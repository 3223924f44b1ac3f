import numpy as np
import torch

from pipeline.classify import classify


def test_agrees_with_a_softmax_written_out() -> None:
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(200, 16))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    text = rng.normal(size=(5, 16))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    index, percent = classify(torch.from_numpy(embeddings), torch.from_numpy(text), 10.0)
    for pixel in range(200):
        logits = [10.0 * float(embeddings[pixel] @ text[k]) for k in range(5)]
        weights = [np.exp(value) for value in logits]
        assert index[pixel] == int(np.argmax(logits))
        expected = 100 * max(weights) / sum(weights)
        assert abs(int(percent[pixel]) - expected) <= 0.5 + 1e-9
    assert percent.dtype == np.uint8


def test_a_large_logit_scale_does_not_overflow() -> None:
    text = torch.eye(3)
    index, percent = classify(torch.eye(3), text, 1e6)
    assert index.tolist() == [0, 1, 2]
    assert percent.tolist() == [100, 100, 100]


def test_no_pixels_give_no_classes() -> None:
    index, percent = classify(torch.empty(0, 3), torch.eye(3), 10.0)
    assert index.shape == percent.shape == (0,)
