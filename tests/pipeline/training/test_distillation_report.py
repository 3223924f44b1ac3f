"""How far a student agrees with its teacher, and what its card says of it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.encoder.checkpoint import Checkpoint
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.towers.text_embeddings import TextEmbeddings
from models.vocabulary.vocabulary import Vocabulary, make_vocabulary
from pipeline.training.distillation_report import student_agreement, student_card
from tests.made_card import made_card

NOTHING = TextEmbeddings.of_classes(np.eye(3, dtype=np.float32), np.empty((0, 3), np.float32))


def vocabulary(**changes: object) -> Vocabulary:
    classes = [{"name": name} for name in ("wood", "field", "lake")]
    raw = {"name": "three", "title": "t", "source": "s", "licence": "l", "classes": classes}
    return make_vocabulary(raw | changes, "test")


def unit(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


TEACHER = unit([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [0, 1, 0]])
STUDENT = unit([[1, 0, 0], [0.1, 1, 0], [0, 1, 0], [0, 1, 0]])


def test_agreement_by_class() -> None:
    found = student_agreement(TEACHER, STUDENT, vocabulary(), NOTHING, 20.0)
    assert (found.vocabulary, found.pixels, found.same) == ("three", 4, 0.75)
    assert found.cosine == pytest.approx((3 + 0.2 / 1.01) / 4, abs=1e-6)
    assert [(c.name, c.pixels, c.same) for c in found.by_class] == [
        ("wood", 2, 0.5),
        ("field", 2, 1.0),
    ]
    assert found.markdown().splitlines() == [
        "| three, the teacher's class | series | same |",
        "|---|---:|---:|",
        "| wood | 2 | 50.0% |",
        "| field | 2 | 100.0% |",
        "| all | 4 | 75.0% |",
    ]
    same = "same class as the teacher, three"
    assert found.metrics() == {
        "held-out series": 4,
        "mean cosine to the teacher": round(found.cosine, 4),
        same: 0.75,
        f"{same}, by the teacher's class": {
            "wood": {"series": 2, "same": 0.5},
            "field": {"series": 2, "same": 1.0},
        },
    }


def test_pixels_without_a_finite_embedding_agree_on_nothing() -> None:
    teacher = torch.cat((torch.full((1, 3), torch.nan), TEACHER))
    student = torch.cat((STUDENT[:1], STUDENT))
    found = student_agreement(teacher, student, vocabulary(), NOTHING, 20.0)
    plain = student_agreement(TEACHER, STUDENT, vocabulary(), NOTHING, 20.0)
    assert (found.left_out, plain.left_out) == (1, 0)
    assert found.metrics() == plain.metrics() | {"held-out series left out": 1}
    student[4] = torch.nan
    worse = student_agreement(teacher, student, vocabulary(), NOTHING, 20.0)
    assert (worse.pixels, worse.same) == (4, 0.5)
    assert worse.cosine == pytest.approx(plain.cosine - 0.25)


def test_classes_are_those_that_a_map_shows() -> None:
    bare = TextEmbeddings.of_classes(NOTHING.members[:2], NOTHING.members[2:])
    two = [{"name": "wood"}, {"name": "field", "bias": 30.0}]
    biased = student_agreement(TEACHER, STUDENT, vocabulary(classes=two), bare, 20.0)
    assert [c.name for c in biased.by_class] == ["field"]
    assert biased.same == 1.0
    with_sky = vocabulary(classes=[{"name": "wood"}, {"name": "field"}], background=["sky"])
    none = student_agreement(unit([[0, 0, 1]]), unit([[1, 0, 0]]), with_sky, bare, 20.0)
    assert [(c.name, c.same) for c in none.by_class] == [("none of these", 0.0)]


@pytest.mark.parametrize("demonstration", [True, False])
def test_a_card_names_its_teacher(demonstration: bool) -> None:
    card = made_card(
        TimeSenClipArchitecture(dim=32, heads=2, embedding_dim=3),
        name="big",
        demonstration=demonstration,
        licence="CC-BY-4.0",
        logit_scale=31.0,
        training={"data": "theirs"},
        metrics={"accuracy": 1.0},
    )
    teacher = Checkpoint(TimeSenClipEncoder(card.architecture), card, "f" * 64, Path("big"))
    config = TimeSenClipArchitecture(
        dim=16, depth=1, heads=2, feedforward=8, embedding_dim=3, dropout=0
    )
    measured = student_agreement(TEACHER, STUDENT, vocabulary(), NOTHING, 20.0)
    made = student_card("small", teacher, config, {"steps": 7}, measured)
    assert (made.name, made.architecture) == ("small", config)
    assert made.description.startswith("A student of big: ")
    assert made.training == {"teacher": "big", "teacher's fingerprint": "f" * 64, "steps": 7}
    assert made.metrics == measured.metrics()
    kept = {"demonstration", "licence", "logit_scale", "preprocessing", "text_tower"}
    assert made.model_dump(include=kept) == card.model_dump(include=kept)
