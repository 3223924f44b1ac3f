"""Examples beside words: the formula, its leave-one-block-out choice, and what must do no harm."""

import numpy as np
import pytest
import torch

from pipeline.classification.class_scores import ClassTexts
from pipeline.classification.classify import Classifier
from pipeline.classification.examples import (
    EXAMPLE_WEIGHTS,
    RIDGE,
    SHARPNESSES,
    ExampleCache,
    ExampleFit,
    fit_examples,
)

DIM, CLASSES, SCALE = 16, 4, 14.0


def unit(values: np.ndarray) -> np.ndarray:
    normed: np.ndarray = values / np.linalg.norm(values, axis=-1, keepdims=True)
    return normed


class Land:
    """Classes around centres, and words that point at some of the centres."""

    def __init__(self, seed: int = 0, right: tuple[int, ...] = ()) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = unit(self.rng.normal(size=(CLASSES, DIM)))
        text = unit(self.rng.normal(size=(CLASSES, DIM)))
        for place in right:
            text[place] = self.centres[place]
        self.text = text

    def pixels(self, classes: np.ndarray) -> np.ndarray:
        noise = 0.15 * self.rng.normal(size=(len(classes), DIM))
        return unit(self.centres[classes] + noise).astype(np.float32)

    def words(self, pixels: np.ndarray) -> np.ndarray:
        logits: np.ndarray = SCALE * pixels @ self.text.T
        return logits

    def fit(self, pixels: np.ndarray, classes: np.ndarray, blocks: np.ndarray) -> ExampleFit:
        arrays = (pixels, classes, blocks, self.words(pixels))
        return fit_examples(*(torch.from_numpy(array) for array in arrays))


def found(land: Land, fit: ExampleFit, pixels: np.ndarray) -> np.ndarray:
    logits = land.words(pixels)
    if fit.cache is not None:
        logits = logits + fit.cache.logits(torch.from_numpy(pixels), 0, CLASSES).numpy()
    best: np.ndarray = logits.argmax(axis=1)
    return best


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    normed: np.ndarray = shares / shares.sum(axis=1, keepdims=True)
    return normed


def reference(
    keys: np.ndarray,
    classes: np.ndarray,
    words: np.ndarray,
    wanted: np.ndarray,
    sharpness: float,
    balance: np.ndarray,
) -> np.ndarray:
    """What examples add at `wanted`, before the weight, the slow and plain way."""
    wrong = np.eye(CLASSES)[classes] - softmax(words)
    within = np.exp(-sharpness * (1 - keys @ keys.T)) + RIDGE * np.diag(balance)
    to_wanted = np.exp(-sharpness * (1 - wanted @ keys.T))
    added: np.ndarray = to_wanted @ np.linalg.solve(within, wrong)
    return added


def test_the_chosen_weight_is_that_of_the_plain_formula() -> None:
    land = Land(1)
    classes = np.repeat(np.arange(CLASSES), (9, 4, 6, 5))
    blocks = land.rng.integers(0, 7, len(classes))
    keys = land.pixels(classes).astype(np.float64)
    words = land.words(keys)
    counts = np.bincount(classes)
    balance = counts[classes] / counts.mean()
    share = 1 / counts[classes] / CLASSES
    spread = (1 - keys @ keys.T)[classes[:, None] != classes].mean()

    def likelihood(logits: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = np.log(softmax(logits))[np.arange(len(classes)), classes]
        return chosen

    bounds = {}
    for scaled in SHARPNESSES:
        said = np.zeros_like(words)
        for block in np.unique(blocks):
            out = blocks == block  # the others are solved anew without it
            said[out] = reference(
                keys[~out], classes[~out], words[~out], keys[out], scaled / spread, balance[~out]
            )
        for weight in EXAMPLE_WEIGHTS:
            gain = likelihood(words + weight * said) - likelihood(words)
            mean = (share * gain).sum()
            error = np.sqrt((share**2 * (gain - mean) ** 2).sum())
            right = ((words + weight * said).argmax(axis=1) == classes) * 1.0
            more = right - (words.argmax(axis=1) == classes)
            unsure = np.sqrt((share**2 * (more - (share * more).sum()) ** 2).sum())
            at_least = (share * more).sum() - 1.7138715 * unsure  # t, 95 %, 23
            if at_least > 0:
                bounds[scaled, weight] = (mean - 1.7138715 * error, (share * right).sum())
    before = float((share * (words.argmax(axis=1) == classes)).sum())
    scaled, weight = max(bounds, key=lambda k: bounds[k][0])
    fit = land.fit(keys, classes, blocks)
    assert fit.weight == weight
    assert fit.sharpness == pytest.approx(scaled / spread)
    assert fit.accuracy == pytest.approx(bounds[scaled, weight][1])
    assert fit.words_accuracy == pytest.approx(before)
    wanted = land.pixels(np.arange(CLASSES)).astype(np.float64)
    expected = weight * reference(keys, classes, words, wanted, scaled / spread, balance)
    assert fit.cache is not None
    added = fit.cache.logits(torch.from_numpy(wanted).float(), 0, CLASSES).numpy()
    np.testing.assert_allclose(added, expected, atol=2e-4)


def test_a_few_examples_mend_words_that_are_wrong() -> None:
    land = Land(2, right=(0,))
    classes = np.repeat(np.arange(CLASSES), 5)
    fit = land.fit(land.pixels(classes), classes, np.arange(20))
    truth = land.rng.integers(0, CLASSES, 400)
    pixels = land.pixels(truth)
    assert (land.words(pixels).argmax(axis=1) == truth).mean() < 0.6
    assert (found(land, fit, pixels) == truth).mean() > 0.95
    assert fit.accuracy > fit.words_accuracy + 0.3


def test_examples_that_say_nothing_are_hardly_ever_used() -> None:
    used = 0
    for seed in range(60):
        land = Land(seed)
        classes = np.repeat(np.arange(CLASSES), 5)
        fit = land.fit(land.pixels(land.rng.permutation(classes)), classes, np.arange(20))
        used += fit.cache is not None
        assert (fit.weight == 0) == (fit.cache is None)
    assert used <= 6


def test_words_that_find_all_are_left_alone() -> None:
    land = Land(3, right=(0, 1, 2, 3))
    classes = np.repeat(np.arange(CLASSES), 5)
    fit = land.fit(land.pixels(classes), classes, np.arange(20))
    assert fit.cache is None
    assert fit.judged == 20


def test_copies_in_one_block_do_not_vouch_for_each_other() -> None:
    rng = np.random.default_rng(4)
    land = Land(4)
    # Each block has examples of one class that are nearly the same, and unlike those of any other.
    fields = unit(rng.normal(size=(12, DIM)))
    classes = np.repeat(np.arange(12) % CLASSES, 5)
    pixels = unit(np.repeat(fields, 5, axis=0) + 0.01 * rng.normal(size=(60, DIM)))
    pixels = pixels.astype(np.float32)
    one_by_one = land.fit(pixels, classes, np.arange(60))
    by_block = land.fit(pixels, classes, np.repeat(np.arange(12), 5))
    assert one_by_one.accuracy > 0.9
    assert by_block.accuracy < 0.6
    in_one_block = land.fit(pixels, classes, np.zeros(60, int))
    assert in_one_block.cache is None
    assert in_one_block.judged == 0


def test_a_class_of_many_examples_does_not_drown_one_of_few() -> None:
    land = Land(5)
    classes = np.repeat(np.arange(CLASSES), (200, 6, 6, 6))
    fit = land.fit(land.pixels(classes), classes, np.arange(len(classes)))
    truth = np.repeat(np.arange(CLASSES), 100)
    right = found(land, fit, land.pixels(truth)) == truth
    assert right.reshape(CLASSES, 100).mean(axis=1).min() > 0.9


def test_a_class_without_examples_keeps_its_words() -> None:
    land = Land(6, right=(3,))
    classes = np.repeat(np.arange(3), 6)
    fit = land.fit(land.pixels(classes), classes, np.arange(18))
    truth = np.repeat(np.arange(CLASSES), 100)
    pixels = land.pixels(truth)
    assert fit.cache is not None
    added = fit.cache.logits(torch.from_numpy(pixels), 0, CLASSES)
    assert (added[:, 3] == 0).all()
    right = (found(land, fit, pixels) == truth).reshape(CLASSES, 100).mean(axis=1)
    assert right.min() > 0.9


def test_examples_of_one_class_alone_say_nothing() -> None:
    land = Land(7)
    classes = np.zeros(8, int)
    assert land.fit(land.pixels(classes), classes, np.arange(8)).cache is None


def _normal(pixels: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(9).normal(size=(pixels, DIM))).float()


def cache(examples: int, seed: int = 0) -> ExampleCache:
    rng = np.random.default_rng(seed)
    keys = unit(rng.normal(size=(examples, DIM))).astype(np.float32)
    values = 40 * rng.normal(size=(examples, CLASSES)).astype(np.float32)
    return ExampleCache(torch.from_numpy(keys), torch.from_numpy(values), 5.0)


def test_any_part_of_the_classes_and_of_many_examples() -> None:
    many = cache(2500)
    pixels = torch.nn.functional.normalize(_normal(7), dim=1)
    near = torch.exp(-5.0 * (1 - pixels @ many.embeddings.T))
    every = many.logits(pixels, 0, CLASSES)
    torch.testing.assert_close(every, near @ many.values, atol=2e-2, rtol=1e-4)
    torch.testing.assert_close(many.logits(pixels, 1, 3), every[:, 1:3], atol=2e-2, rtol=1e-4)
    beyond = many.logits(pixels, 2, 6)
    torch.testing.assert_close(beyond[:, :2], every[:, 2:], atol=2e-2, rtol=1e-4)
    assert (beyond[:, 2:] == 0).all()
    assert (many.logits(pixels, 4, 6) == 0).all()
    torch.testing.assert_close(
        many.logits_of(pixels, torch.full((7, 1), 2)), every[:, 2:3], atol=2e-2, rtol=1e-4
    )


def classifier(threshold: float | None, examples: ExampleCache | None) -> Classifier:
    text = unit(np.random.default_rng(8).normal(size=(CLASSES + 1, DIM))).astype(np.float32)
    return Classifier(
        text=ClassTexts.on_device(text, np.arange(CLASSES + 1), torch.device("cpu")),
        bias=torch.arange(CLASSES + 1) / 10,
        groups=torch.arange(CLASSES + 1),
        values=np.array([1, 2, 3, 4, 255, 0], np.uint8),
        logit_scale=SCALE,
        threshold=threshold,
        examples=examples,
    )


def test_a_classifier_adds_what_examples_say_to_the_words() -> None:
    pixels = torch.nn.functional.normalize(_normal(50), dim=1)
    words, both = classifier(None, None), classifier(None, cache(30))
    added = cache(30).logits(pixels, 0, CLASSES + 1)
    logits = words.logits(pixels, 0, CLASSES + 1) + added
    place, share = both.shares(pixels, 1)
    assert (place[:, 0] == logits.argmax(dim=1)).all()
    torch.testing.assert_close(share[:, 0], logits.softmax(dim=1).amax(dim=1))
    assert (place != words.shares(pixels, 1)[0]).any()


def test_the_threshold_compares_the_words_alone() -> None:
    pixels = torch.nn.functional.normalize(_normal(50), dim=1)
    both = classifier(0.3, cache(30))
    first = classifier(None, cache(30)).shares(pixels, 1)[0][:, 0]
    cosines = both.text.cosines(pixels, 0, CLASSES + 1).gather(1, first[:, None])[:, 0]
    place = both.shares(pixels, 1)[0][:, 0]
    assert ((place == CLASSES) == ((cosines < 0.3) | (first == CLASSES))).all()
    assert 0 < int((place == CLASSES).sum()) < 50
