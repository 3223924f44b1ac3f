"""The card of an imported encoder: stated, read off the tensors, or the authors'."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from models.checkpoint_import.timesenclip_card import imported_card, read_partial_card
from models.checkpoint_import.timesenclip_checkpoint import read_authors_checkpoint
from models.encoder.preprocessing import AUTHORS, BANDS
from models.encoder.timesenclip import TimeSenClipArchitecture
from models.errors import CheckpointError
from tests.authors_file import CONFIG, encoder, lightning, saved, under


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "model.ckpt"


def test_a_card_is_derived_from_the_tensors(place: Path) -> None:
    found = read_authors_checkpoint(saved(lightning(under("learner.TS_ViT.")), place))
    order = ["B04", "B03", "B02", *BANDS[3:]]
    card, assumed = imported_card(found, "mine", {}, order)
    assert card.architecture == CONFIG
    assert card.preprocessing.bands == tuple(order)
    limits = dict(zip(BANDS, zip(AUTHORS.low, AUTHORS.high, strict=True), strict=True))
    made = zip(card.preprocessing.low, card.preprocessing.high, strict=True)
    assert list(made) == [limits[band] for band in order]
    assert card.text_tower == "clip:openai/clip-vit-base-patch32"
    assert card.training.keys() == {"sha256", "epoch", "global_step"}
    assert assumed.keys() == {
        "architecture",
        "preprocessing",
        "text_tower",
        "licence",
        "logit_scale",
    }


def test_the_papers_sizes_give_its_heads(place: Path) -> None:
    paper = TimeSenClipArchitecture(depth=1)
    found = read_authors_checkpoint(saved(under("", encoder(config=paper)), place))
    card, _ = imported_card(found, "mine", {}, BANDS)
    assert card.architecture == paper
    assert card.logit_scale == pytest.approx(1 / 0.07)


@pytest.mark.parametrize(
    ("log_scale", "stated", "expected"),
    [(3.0, {}, math.exp(3.0)), (4.6052, {}, 100.0), (3.0, {"logit_scale": 16.0}, 16.0)],
)
def test_the_logit_scale_is_stated_or_learned(
    place: Path, log_scale: float, stated: dict[str, Any], expected: float
) -> None:
    state = under("TS_ViT.") | {"logit_scale": torch.tensor(log_scale)}
    found = read_authors_checkpoint(saved(lightning(state), place))
    card, assumed = imported_card(found, "mine", stated, BANDS)
    assert card.logit_scale == pytest.approx(expected, rel=1e-4)
    assert ("logit_scale" in assumed) is not bool(stated)


@pytest.mark.parametrize("log_scale", [math.nan, math.inf, -1.0, 14.3])
def test_a_logit_scale_that_cannot_be_is_not_guessed(place: Path, log_scale: float) -> None:
    state = under("TS_ViT.") | {"logit_scale": torch.tensor(log_scale)}
    found = read_authors_checkpoint(saved(lightning(state), place))
    with pytest.raises(CheckpointError, match="no logarithm between 0 and ln 100"):
        imported_card(found, "mine", {}, BANDS)
    assert imported_card(found, "mine", {"logit_scale": 9.0}, BANDS)[0].logit_scale == 9.0


def test_what_a_card_states_holds(place: Path) -> None:
    found = read_authors_checkpoint(saved(lightning(under("TS_ViT.")), place))
    stated = {
        "name": "theirs",
        "licence": "MIT",
        "text_tower": "clip:folder",
        "architecture": {"heads": 8, "dropout": 0.2},
        "preprocessing": {"bands": list(BANDS), "scl_keep": [4, 5], "add": 0.0},
        "training": {"data": "LUCAS 2018"},
    }
    card, assumed = imported_card(found, "mine", stated)
    assert (card.name, card.licence, card.text_tower) == ("theirs", "MIT", "clip:folder")
    assert (card.architecture.heads, card.architecture.dropout) == (8, 0.2)
    assert (card.preprocessing.scl_keep, card.preprocessing.add) == ((4, 5), 0.0)
    assert card.preprocessing.low == AUTHORS.low
    assert card.training["data"] == "LUCAS 2018"
    assert card.training["epoch"] == 12
    assert assumed == {
        "preprocessing": "low, high, gap_fill as the authors'",
        "logit_scale": "14.29, of the paper's temperature of 0.07",
    }
    whole = json.loads(card.model_dump_json())
    assert imported_card(found, "other", whole) == (card, {})


SMALL = TimeSenClipArchitecture(dim=24, depth=1, heads=3, feedforward=8, embedding_dim=12)


@pytest.mark.parametrize(
    ("config", "stated", "bands", "problem"),
    [
        (CONFIG, {}, None, "in which order .*settings name B4, B3, B2.*B02,B03,B04.*B04,B03,B02"),
        (CONFIG, {}, BANDS[:9], "names 9 bands, the architecture has 10"),
        (CONFIG, {}, [*BANDS[:9], "B99"], "unknown band B99"),
        (CONFIG, {}, [*BANDS[:9], "B02"], "each once"),
        (CONFIG, {"preprocessing": {"bands": list(BANDS)}}, BANDS[::-1], "states bands .*Give one"),
        (CONFIG, {"preprocessing": {"bands": "B02"}}, None, "preprocessing.bands: "),
        (CONFIG, {"preprocessing": 5}, BANDS, "preprocessing: "),
        (CONFIG, {"preprocessing": {"low": [1.0]}}, BANDS, "low holds 1 values for 10 bands"),
        (CONFIG, {"colour": "red"}, BANDS, "colour: unknown key"),
        (CONFIG, {"logit_scale": -2}, BANDS, "logit_scale: "),
        (SMALL, {"text_tower": "clip:x"}, BANDS, "width of 24 is no multiple.*architecture.heads"),
        (SMALL, {"architecture": {"heads": 3}}, BANDS, "text tower, .* 512 .* the encoder 12"),
        (
            TimeSenClipArchitecture(dim=64, depth=1, heads=1, months=4),
            {},
            BANDS,
            "12 months, the arch.* 4",
        ),
    ],
)
def test_what_cannot_be_known_must_be_stated(
    place: Path,
    config: TimeSenClipArchitecture,
    stated: dict[str, Any],
    bands: list[str],
    problem: str,
) -> None:
    state = under("TS_ViT.", encoder(config=config))
    found = read_authors_checkpoint(saved(lightning(state), place))
    with pytest.raises(CheckpointError, match=problem):
        imported_card(found, "mine", stated, bands)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"3", b"[" * 99999])
def test_cards_that_are_none_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"card.json: no (JSON|card)"):
        read_partial_card(tmp_path / "card.json")
    with pytest.raises(CheckpointError, match="no such file"):
        read_partial_card(tmp_path / "none.json")
