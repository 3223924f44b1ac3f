"""Rows without a finite embedding are left out of every metric of a checkpoint, and counted."""

import numpy as np
import pytest

from models.encoder.checkpoint import load_checkpoint
from models.encoder.inference import embed_all
from models.errors import UserError
from models.vocabulary.vocabulary import load_vocabulary
from pipeline.evaluation.checkpoint_evaluation import (
    CheckpointMetrics,
    Embed,
    EvaluationRows,
    LabelledSamples,
    ProbeRows,
    compare_label,
    compare_numbers,
    measure_checkpoint,
)
from pipeline.evaluation.samples import Samples
from pipeline.evaluation.tables import plain
from pipeline.sample.series import sample_series

CHECKPOINT = load_checkpoint("sample")
VOCABULARY = load_vocabulary("sample-landscape")
COUNT = 240
LOST = np.arange(COUNT) % 10 == 3


def embed(series: np.ndarray) -> np.ndarray:
    return embed_all(CHECKPOINT, series).numpy()


def overflowing(lost: np.ndarray) -> Embed:
    """The encoder, but for some series its float16 products overflow."""

    def embed_most(series: np.ndarray) -> np.ndarray:
        embeddings = embed(series)
        is_lost = (series[:, None] == lost[None]).all(axis=(2, 3)).any(axis=1)
        embeddings[is_lost] = np.nan
        return embeddings

    return embed_most


@pytest.fixture(scope="module")
def samples() -> Samples:
    land, series = sample_series(17, COUNT)
    rng = np.random.default_rng(0)
    labels = {
        "land": np.array([VOCABULARY.classes[k].name for k in land], object),
        "region": np.array(["FR" if k % 3 else "BE" for k in range(COUNT)], object),
        "height": rng.uniform(0, 100, COUNT).astype(str).astype(object),
    }
    ground = rng.normal(size=(COUNT, CHECKPOINT.card.architecture.embedding_dim))
    ground = (ground / np.linalg.norm(ground, axis=1, keepdims=True)).astype(np.float32)
    return Samples(series, labels, np.arange(COUNT) % 7, ground, land[:, None], 0)


def measured(samples: Samples, encode: Embed) -> CheckpointMetrics:
    comparison = compare_label(samples, "land", VOCABULARY, None, CHECKPOINT.card)
    numbers = compare_numbers(samples, "height", ("forest",), ("sand",), CHECKPOINT.card)
    labelled = LabelledSamples(samples, comparison.matched.index)
    rows = EvaluationRows(
        "test", samples, comparison, numbers, ProbeRows(labelled, labelled, labelled), ()
    )
    return measure_checkpoint(rows, 12, encode, CHECKPOINT.card, "region", draws=1, seed=0)


def test_embeddings_that_are_no_numbers_are_left_out_and_counted(samples: Samples) -> None:
    found = measured(samples, overflowing(samples.series[LOST]))
    assert found.without_embedding == LOST.sum() == 24
    assert found.notes == ("24 rows are left out: their embedding is not a finite number.",)
    expected = measured(samples.take(~LOST), embed)
    assert expected.without_embedding == 0
    assert found.zero_shot is not None
    assert found.zero_shot.classes.rows == COUNT - 24
    for name in ("zero_shot", "retrieval", "retrieval_by_label", "regression", "probes"):
        assert plain(getattr(found, name)) == plain(getattr(expected, name)), name


def test_a_checkpoint_without_any_finite_embedding_is_refused(samples: Samples) -> None:
    with pytest.raises(UserError, match="all 240 rows are not finite"):
        measured(samples, overflowing(samples.series))


def test_labels_and_numbers_may_be_lost_with_their_rows(samples: Samples) -> None:
    some = {"land": samples.labels["land"].copy(), "height": samples.labels["height"].copy()}
    some["land"][~LOST], some["height"][~LOST] = None, None
    rows = Samples(samples.series, samples.labels | some, samples.blocks, None, None, 0)
    found = measured(rows, overflowing(samples.series[LOST]))
    assert (found.zero_shot, found.probes, found.regression) == (None, None, None)
    assert len(found.notes) == 4
