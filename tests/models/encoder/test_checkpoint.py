import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.encoder.checkpoint import load_checkpoint, save_checkpoint
from models.encoder.checkpoint_folder import shipped_checkpoints
from models.encoder.preprocessing import AUTHORS
from models.encoder.registry import empty_encoder
from models.encoder.timesenclip import TimeSenClipArchitecture, TimeSenClipEncoder
from models.errors import CheckpointError
from tests.made_card import made_card

CONFIG = TimeSenClipArchitecture(dim=24, depth=2, heads=3, feedforward=20, embedding_dim=12)
CARD = made_card(CONFIG, training={"epochs": 3, "seeds": [1, 2]}, metrics={"top1": 0.5})


def _encoder(seed: int = 0) -> TimeSenClipEncoder:
    torch.manual_seed(seed)
    return TimeSenClipEncoder(CONFIG).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "tiny", _encoder(), CARD)
    return tmp_path / "tiny"


def _edit_card(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((folder / "card.json").read_text())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def _edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_what_is_saved_is_loaded(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    series = torch.rand(3, 12, 10)
    assert torch.equal(loaded.encoder(series), _encoder()(series))
    assert loaded.card == CARD
    assert loaded.path == folder
    assert not loaded.encoder.training
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_float16_halves_the_file_and_loads_as_float32(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "half", _encoder(), CARD, dtype=torch.float16)
    sizes = [(place / "model.safetensors").stat().st_size for place in (folder, tmp_path / "half")]
    assert sizes[1] < 0.6 * sizes[0]
    loaded = load_checkpoint(tmp_path / "half").encoder
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    series = torch.rand(3, 12, 10)
    assert (loaded(series) - _encoder()(series)).abs().max() < 0.01


def test_the_fingerprint_is_of_weights_and_card_only(folder: Path, tmp_path: Path) -> None:
    first = load_checkpoint(folder).fingerprint
    assert len(first) == 64
    assert save_checkpoint(tmp_path / "again", _encoder(), CARD) == first
    text = (folder / "card.json").read_text()
    (folder / "card.json").write_text(json.dumps(json.loads(text), indent=7))
    assert load_checkpoint(folder).fingerprint == first  # laid out otherwise
    _edit_card(folder, lambda card: card.update(logit_scale=15.0))
    assert load_checkpoint(folder).fingerprint != first
    assert save_checkpoint(tmp_path / "other", _encoder(1), CARD) != first


def test_a_card_without_optional_bands_keeps_its_fingerprint(folder: Path, tmp_path: Path) -> None:
    before = load_checkpoint(folder)
    _edit_card(folder, lambda card: card["preprocessing"].pop("optional_bands"))
    earlier = load_checkpoint(folder)
    assert earlier.fingerprint == before.fingerprint
    assert earlier.card.preprocessing.optional_bands == ()
    # As it was computed before cards had the field.
    fields = earlier.card.model_dump(mode="json")
    del fields["trained_steps"], fields["architecture"]["kind"], fields["calibrations"]
    del fields["preprocessing"]["optional_bands"]
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes())
    digest.update(json.dumps(fields, sort_keys=True).encode())
    assert earlier.fingerprint == digest.hexdigest()
    preprocessing = replace(AUTHORS, optional_bands=("B8A",))
    card = CARD.model_copy(update={"preprocessing": preprocessing})
    assert save_checkpoint(tmp_path / "other", _encoder(), card) != before.fingerprint
    assert load_checkpoint(tmp_path / "other").card.preprocessing == preprocessing


def test_a_checkpoint_travels_to_a_worker(folder: Path) -> None:
    loaded = load_checkpoint(folder)
    again = pickle.loads(pickle.dumps(loaded))
    series = torch.rand(2, 12, 10)
    assert torch.equal(again.encoder(series), loaded.encoder(series))
    assert again.card == loaded.card


def test_unknown_names_list_the_shipped() -> None:
    with pytest.raises(CheckpointError, match="no-such: neither a checkpoint's folder") as caught:
        load_checkpoint("no-such")
    for name in shipped_checkpoints():
        assert name in str(caught.value)


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_shipped_checkpoints_load_by_name(name: str) -> None:
    assert load_checkpoint(name).card.name == name


@pytest.mark.parametrize("name", ["card.json", "model.safetensors"])
def test_missing_files_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"no {name} in it"):
        load_checkpoint(folder)


@pytest.mark.parametrize("keep", [0, 5, 300, -1])
def test_truncated_weights_are_refused(folder: Path, keep: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model.safetensors: truncated or corrupt"):
        load_checkpoint(folder)


def test_a_pickle_in_the_weights_place_is_refused_and_not_run(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"class_token": Trap()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="truncated or corrupt"):
        load_checkpoint(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"name": "x"}'])
def test_corrupt_cards_are_refused(folder: Path, content: bytes) -> None:
    (folder / "card.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"card.json: "):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(colour="red"), "colour: unknown key"),
        (lambda c: c["architecture"].update(width=3), "architecture.width: unknown key"),
        (lambda c: c["preprocessing"].update(mean=[1]), "preprocessing.mean: unknown key"),
        (lambda c: c.pop("licence"), "licence: it is missing"),
        (lambda c: c["preprocessing"].pop("add"), "preprocessing.add: it is missing"),
        (lambda c: c.update(logit_scale=0), "logit_scale"),
        (lambda c: c.update(logit_scale="14"), "logit_scale"),
        (lambda c: c["architecture"].update(bands=9), "names 10 bands, the architecture has 9"),
        (lambda c: c["architecture"].update(months=6), "12 months, the architecture has 6"),
        (lambda c: c["preprocessing"].update(months=4), "preprocessing: months is 4; series are"),
        (lambda c: c["architecture"].update(dim=25), "dim 25 cannot be shared by 3 heads"),
        (lambda c: c["preprocessing"]["bands"].__setitem__(0, "B99"), "unknown band B99"),
        (lambda c: c["preprocessing"]["low"].pop(), "low holds 9 values for 10 bands"),
        (lambda c: c["preprocessing"]["high"].append(1.0), "high holds 11 values for 10 bands"),
        (lambda c: c["preprocessing"].update(gap_fill="none"), "gap_fill"),
        (lambda c: c["architecture"].update(kind="other"), "kind 'other' is unknown.* timesenclip"),
        (lambda c: c.update(trained_steps=[6]), r"trained_steps is \[6\]"),
        (lambda c: c.update(trained_steps=[]), "trained_steps"),
    ],
)
def test_cards_that_contradict_themselves_are_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    _edit_card(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


HEAD = "mlp_head.1.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(HEAD), f"missing {HEAD}"),
        (lambda t: t.update(queue=torch.zeros(3)), "unexpected queue"),
        (lambda t: t.update({HEAD: t[HEAD][:5].clone()}), r"weight is \(5, 24\), .* \(12, 24\)"),
        (lambda t: t[HEAD].view(-1)[3].fill_(float("nan")), f"{HEAD} holds NaN or infinity"),
        (lambda t: t["mlp_head.1.bias"][0].fill_(float("inf")), "bias holds NaN or infinity"),
        (lambda t: t[HEAD].zero_(), f"{HEAD} is all zero"),
        (lambda t: t.update({HEAD: t[HEAD].to(torch.int8)}), "is I8, not floating point"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    _edit_weights(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    _edit_card(folder, lambda card: card["architecture"].update(depth=3))
    with pytest.raises(CheckpointError, match=r"missing transformer.layers.2"):
        load_checkpoint(folder)


def test_saving_does_not_overwrite_unasked(folder: Path) -> None:
    before = load_checkpoint(folder).fingerprint
    with pytest.raises(CheckpointError, match="exists already"):
        save_checkpoint(folder, _encoder(1), CARD)
    assert load_checkpoint(folder).fingerprint == before
    new = save_checkpoint(folder, _encoder(1), CARD, replace=True)
    assert load_checkpoint(folder).fingerprint == new != before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_saving_replaces_checkpoints_only(folder: Path) -> None:
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match=r"also holds thesis.txt"):
        save_checkpoint(folder, _encoder(), CARD, replace=True)
    assert (folder / "thesis.txt").exists()


def test_saving_refuses_what_loading_would(tmp_path: Path) -> None:
    encoder = _encoder()
    with torch.no_grad():
        encoder.mlp_head[1].weight[0, 0] = 1e6  # infinite as float16
    with pytest.raises(CheckpointError, match="holds NaN or infinity"):
        save_checkpoint(tmp_path / "a", encoder, CARD, dtype=torch.float16)
    other = CARD.model_copy(update={"architecture": TimeSenClipArchitecture()})
    with pytest.raises(CheckpointError, match="its architecture is not the encoder's"):
        save_checkpoint(tmp_path / "a", _encoder(), other)
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_what_was_there(folder: Path) -> None:
    before = load_checkpoint(folder).fingerprint
    # A real failure of writing: the process may write no file above 1000 bytes.
    code = (
        "import resource, sys\n"
        "from tests.models.encoder.test_checkpoint import CARD, _encoder, save_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "save_checkpoint(sys.argv[1], _encoder(1), CARD, replace=True)\n"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-B", "-c", code, str(folder)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "WorldError" in run.stderr
    assert "cannot be written: File too large" in run.stderr
    assert load_checkpoint(folder).fingerprint == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_a_file_is_no_checkpoint(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="neither a checkpoint's folder"):
        load_checkpoint(folder / "card.json")
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="neither a checkpoint's folder"):
        load_checkpoint(folder)


@pytest.mark.parametrize("sizes", [{"depth": 10**9}, {"dim": 3 * 10**12}, {"feedforward": 10**15}])
def test_sizes_far_beyond_the_file_are_refused_before_building(
    folder: Path, sizes: dict[str, int]
) -> None:
    _edit_card(folder, lambda card: card["architecture"].update(sizes))
    with pytest.raises(CheckpointError, match="the card's architecture has"):
        load_checkpoint(folder)


@pytest.mark.parametrize("config", [CONFIG, TimeSenClipArchitecture()])
def test_weights_are_counted_without_building(config: TimeSenClipArchitecture) -> None:
    built = sum(weight.numel() for weight in empty_encoder(config).parameters())
    assert config.weight_count == built


def test_a_card_without_kind_or_trained_steps_is_the_first_encoders(folder: Path) -> None:
    before = load_checkpoint(folder)

    def as_of_old(card: dict[str, Any]) -> None:
        del card["trained_steps"], card["architecture"]["kind"]

    _edit_card(folder, as_of_old)
    again = load_checkpoint(folder)
    assert again.card == before.card
    assert again.fingerprint == before.fingerprint


def test_steps_that_a_checkpoint_was_not_trained_on_are_refused() -> None:
    load_checkpoint("real-land").card.require_trained_steps(4)
    sample = load_checkpoint("sample").card
    sample.require_trained_steps(12)
    with pytest.raises(CheckpointError, match=r"trained on series of 12 steps.*allow_untrained"):
        sample.require_trained_steps(4)
