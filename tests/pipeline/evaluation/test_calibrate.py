"""A calibration recovers a known scale, and is measured on points that it was not fitted to."""

import numpy as np
import pytest
from scipy.special import softmax

from models.errors import UserError
from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.labels import UNMATCHED
from models.vocabulary.vocabulary import vocabulary_from_words
from pipeline.evaluation.calibrate import LEAST_POINTS, calibrate_vocabulary

VOCABULARY = vocabulary_from_words("forest, lake, town")
TEXT = TextEmbeddings.of_classes(np.eye(3, 8, dtype=np.float32), np.empty((0, 8), np.float32))
TRUE_SCALE = 6.0


def made_points(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings, and classes that are drawn by the softmax at `TRUE_SCALE`."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(count, 8)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    shares = softmax(TRUE_SCALE * embeddings @ TEXT.members.T, axis=1)
    references = (shares.cumsum(axis=1) < rng.uniform(size=(count, 1))).sum(axis=1)
    return embeddings, references


def test_confidence_becomes_the_share_of_right_points() -> None:
    embeddings, references = made_points(4000)
    blocks = np.arange(4000) % 40
    found = calibrate_vocabulary(
        embeddings, references, VOCABULARY, TEXT, 30.0, blocks=blocks, data="made points"
    )
    assert found.logit_scale == pytest.approx(TRUE_SCALE, rel=0.1)
    assert found.ece_before > 0.1
    assert found.ece_after < 0.03
    assert (found.vocabulary, found.steps) == (VOCABULARY.identity, 12)
    assert (found.points, found.data) == (4000, "made points")
    assert sum(one.points for one in found.reliability) == 4000
    for one in found.reliability:
        if one.points > 300:
            assert one.accuracy == pytest.approx(one.confidence, abs=0.06)


def test_the_error_is_of_blocks_that_had_no_part_in_the_fit() -> None:
    embeddings, references = made_points(400)
    # In one of two blocks the classes go against the words: the other block's scale is wrong there.
    blocks = np.arange(400) % 2
    turned = np.where(blocks == 1, (references + 1) % 3, references)
    apart = calibrate_vocabulary(embeddings, turned, VOCABULARY, TEXT, 30.0, blocks=blocks)
    together = calibrate_vocabulary(embeddings, turned, VOCABULARY, TEXT, 30.0)
    assert apart.logit_scale == together.logit_scale
    assert apart.ece_after > together.ece_after + 0.05


def test_rows_of_other_classes_do_not_count() -> None:
    embeddings, references = made_points(600)
    some = np.where(np.arange(600) < 200, UNMATCHED, references)
    found = calibrate_vocabulary(embeddings, some, VOCABULARY, TEXT, 30.0)
    assert found == calibrate_vocabulary(embeddings[200:], references[200:], VOCABULARY, TEXT, 30.0)


def test_points_that_say_nothing_are_refused() -> None:
    few = made_points(LEAST_POINTS - 1)
    with pytest.raises(UserError, match="49 points for words: a calibration takes 50"):
        calibrate_vocabulary(*few, VOCABULARY, TEXT, 30.0)
    embeddings, _ = made_points(200)
    all_right = (embeddings @ TEXT.members.T).argmax(axis=1)
    with pytest.raises(UserError, match="no logit scale suits them best"):
        calibrate_vocabulary(embeddings, all_right, VOCABULARY, TEXT, 30.0)
