"""The card's logit scale of a vocabulary: its calibration's, else the checkpoint's."""

import json
from pathlib import Path

import pytest
import torch

from models.encoder.card import Card
from models.encoder.checkpoint import load_checkpoint, save_checkpoint, save_with_card
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.encoder.vocabulary_calibration import VocabularyCalibration
from models.errors import CheckpointError
from models.vocabulary.vocabulary import load_vocabulary, vocabulary_from_words
from tests.made_card import made_card

SIZES = TimeSenClipArchitecture(dim=24, depth=1, heads=3, feedforward=20, embedding_dim=12)
CROPLAND = load_vocabulary("cropland")


def calibrated(scale: float = 7.5, steps: int = 12) -> VocabularyCalibration:
    return VocabularyCalibration(
        vocabulary=CROPLAND.identity,
        steps=steps,
        logit_scale=scale,
        points=100,
        data="made points",
        ece_before=0.2,
        ece_after=0.04,
        reliability=(),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_checkpoint(
        tmp_path / "c", TimeSenClipEncoder(SIZES), made_card(SIZES), dtype=torch.float16
    )
    return tmp_path / "c"


def test_a_scale_is_of_one_vocabulary_and_one_length_of_series() -> None:
    card = made_card(SIZES, calibrations=(calibrated(),))
    assert card.logit_scale_of(CROPLAND.identity, 12) == 7.5
    for other, steps in (
        (CROPLAND, 4),
        (load_vocabulary("lucas-land-cover"), 12),
        (vocabulary_from_words("cropland, other land"), 12),
    ):
        assert card.logit_scale_of(other.identity, steps) == 20.0
        assert card.calibration_of(other.identity, steps) is None
    again = card.with_calibration(calibrated(9.0)).with_calibration(calibrated(3.0, steps=1))
    assert [one.logit_scale for one in again.calibrations] == [9.0, 3.0]


def test_an_edited_vocabulary_of_the_same_name_is_another() -> None:
    first = CROPLAND.classes[0]
    for change, same in (
        ({"prompts": ("ploughed field",)}, False),
        ({"bias": 0.5}, False),
        ({"colour": "#123456"}, True),
        ({"value": 77}, True),
    ):
        classes = (first.model_copy(update=change), *CROPLAND.classes[1:])
        edited = CROPLAND.model_copy(update={"classes": classes})
        assert (edited.identity == CROPLAND.identity) is same, change
    for update in ({"templates": ("{}",)}, {"background": ("sky",)}, {"threshold": 0.1}):
        assert CROPLAND.model_copy(update=update).identity != CROPLAND.identity
    assert CROPLAND.model_copy(update={"title": "Other"}).identity == CROPLAND.identity
    assert CROPLAND.identity.startswith("cropland ")
    habitats = load_vocabulary("eunis-habitats")
    parents = habitats.model_copy(update={"level": "parent"})
    assert parents.identity != habitats.identity


def test_a_card_has_one_calibration_for_a_vocabulary_and_a_length() -> None:
    made_card(SIZES, calibrations=(calibrated(), calibrated(steps=4)))
    with pytest.raises(ValueError, match=r"more than one for cropland .* at 12 steps"):
        made_card(SIZES, calibrations=(calibrated(), calibrated(9.0)))


def test_cards_without_calibrations_keep_their_fingerprint(folder: Path) -> None:
    before = load_checkpoint(folder).fingerprint
    raw = json.loads((folder / "card.json").read_text())
    del raw["calibrations"]
    (folder / "card.json").write_text(json.dumps(raw))
    assert load_checkpoint(folder).fingerprint == before
    # The fingerprint that the shipped checkpoint had when its card knew of no calibrations.
    assert load_checkpoint("sample").fingerprint.startswith("cac342bef0aee3a1")


def test_a_card_is_replaced_and_the_weights_stay_to_the_byte(folder: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(folder)
    weights = (folder / "model.safetensors").read_bytes()
    card = loaded.card.with_calibration(calibrated())
    copied = save_with_card(loaded, card, tmp_path / "copy")
    assert load_checkpoint(folder).card == loaded.card
    with pytest.raises(CheckpointError, match="exists already"):
        save_with_card(loaded, card, folder)
    replaced = save_with_card(loaded, card, folder, replace=True)
    assert copied == replaced == load_checkpoint(folder).fingerprint != loaded.fingerprint
    assert load_checkpoint(folder).card == card
    for place in (folder, tmp_path / "copy"):
        assert (place / "model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "copy"]


def test_files_that_changed_meanwhile_are_not_given_another_card(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    torch.manual_seed(1)
    save_checkpoint(folder, TimeSenClipEncoder(SIZES), loaded.card, replace=True)
    with pytest.raises(CheckpointError, match="have changed meanwhile"):
        save_with_card(loaded, loaded.card, folder, replace=True)


def test_a_card_of_another_encoder_is_refused(folder: Path, tmp_path: Path) -> None:
    other: Card = made_card(TimeSenClipArchitecture())
    with pytest.raises(CheckpointError, match="its architecture is not the encoder's"):
        save_with_card(load_checkpoint(folder), other, tmp_path / "copy")
